"""Options that several commands of the jobs have."""

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any

import click

from artefacts.process.command_line import past_time
from jobs.times import refuse_empty_range

ENGINES = click.Choice(["duckdb", "spark"])

Declared = Callable[..., None]

model_option = click.option("--model", help="Tag in the BentoML store; default the imported model.")
id_key_option = click.option("--id-key-file", type=Path, help="Key of the log's pseudonyms, if it has them.")


def between_option(what: str) -> Callable[[Declared], Declared]:
    """`--since` and `--until`, in UTC or as how long ago; nothing between them is refused.

    Args:
        what: happened in that time, as "answered".
    """

    def declare(command: Declared) -> Declared:
        @click.option("--since", type=past_time, help=f"ISO time, UTC, or as 2d (days ago), 36h: {what} then or later.")
        @click.option("--until", type=past_time, help=f"ISO time, UTC, or as --since: {what} before it.")
        @wraps(command)
        def checked(since: datetime | None, until: datetime | None, **others: Any) -> None:
            refuse_empty_range(since, until)
            command(since=since, until=until, **others)

        return checked

    return declare


def quality_options(labels_required: bool) -> Callable[[Declared], Declared]:
    """What `live-quality` and `compare-live` have in common; the command is given `populations`."""

    def declare(command: Declared) -> Declared:
        @between_option("requested")
        @click.option("--labels", type=Path, required=labels_required, help=".parquet or .csv: request_id, row, label.")
        @click.option("--out", type=Path, default=Path("var/live_quality"), show_default=True, help="Report's folder.")
        @click.option("--resamples", type=int, default=200, show_default=True, help="Of the bootstrap.")
        @click.option("--population", help="The population to judge beside all rows; default all of the contract's.")
        @click.option("--population-feature", help="Feature that tells its rows; default the contract's.")
        @click.option("--population-at-most", type=float, help="Highest value of its rows; default the contract's.")
        @click.option("--active-feature", hidden=True)  # this and the next: older names, for the population `active`
        @click.option("--active-days", type=float, hidden=True)
        @wraps(command)
        def with_populations(
            population: str | None,
            population_feature: str | None,
            population_at_most: float | None,
            active_feature: str | None,
            active_days: float | None,
            **others: Any,
        ) -> None:
            from jobs.inference_log.logged_scores import Populations

            populations = Populations(population, population_feature, population_at_most)
            if active_feature is not None or active_days is not None:
                populations = Populations("active", active_feature, active_days)
            command(populations=populations, **others)

        return with_populations

    return declare
