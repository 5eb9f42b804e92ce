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
    """What `live-quality` and `compare-live` have in common; the command is given `active` for its two options."""

    def declare(command: Declared) -> Declared:
        @between_option("requested")
        @click.option("--labels", type=Path, required=labels_required, help=".parquet or .csv: request_id, churned.")
        @click.option("--out", type=Path, default=Path("var/live_quality"), show_default=True, help="Report's folder.")
        @click.option("--resamples", type=int, default=200, show_default=True, help="Of the bootstrap.")
        @click.option("--active-feature", help="Feature that tells who is active; default the contract's.")
        @click.option("--active-days", type=float, help="Its highest value of an active one; default the contract's.")
        @wraps(command)
        def with_active(active_feature: str | None, active_days: float | None, **others: Any) -> None:
            from jobs.inference_log.logged_scores import Active

            command(active=Active(active_feature, active_days), **others)

        return with_active

    return declare
