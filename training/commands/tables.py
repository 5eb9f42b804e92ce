"""The command that writes a use case for a table."""

import os
import re
from typing import Any

import click

from artefacts.process.command_line import Commands

COMMANDS = Commands()


def _days(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,4})d", text)
    if found is None:
        raise click.BadParameter(f"{text!r} is no number of days, as 28d")
    return int(found[1])


@COMMANDS.command("init")
@click.option("--name", required=True, help="Of the use case: small letters, digits and _.")
@click.option("--table", required=True, help="CSV file, Parquet file or folder, or postgresql://…/database?table=name.")
@click.option("--key", required=True, help="Column by which rows are asked for, or several: a,b.")
@click.option("--time", help="Column with the time at which a row was true.")
@click.option("--target", required=True, help="Column to predict.")
@click.option(
    "--task", type=click.Choice(["binary", "multiclass", "regression"]), help="Default: by the target's values."
)
@click.option("--outcome-after", type=_days, default=None, help="The target is known so much later, as 28d.")
@click.option("--zone", help="Of times in a CSV file that name none; default UTC.")
def init_command(name: str, table: str, key: str, outcome_after: int | None, **given: Any) -> None:
    """Write a use case for a table: Feast's files, use_case.py and a test."""
    from training.tables.init import Asked, write_use_case

    keys = tuple(part.strip() for part in key.split(",") if part.strip())
    asked = Asked(name=name, table=table, keys=keys, label_days=outcome_after or 0, **given)
    written = write_use_case(asked, os.environ)
    for note in written.notes:
        print(note)
    proposal = written.proposal
    counted = f"{len(proposal.features)} features by {', '.join(proposal.keys)}"
    print(f"{written.folder}: {proposal.outcome.kind} {proposal.outcome.target!r} from {counted}")
    print(f"Read it, change it, then: USE_CASE=use_cases/{name} make run")
