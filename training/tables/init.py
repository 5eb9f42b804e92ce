"""Writes a use case for a table: reads it, proposes features, looks for leakage, writes the folder."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import yaml

from artefacts.addresses import PROJECT_ROOT
from contract import outputs_of
from contract.tasks import RESERVED_JOIN_KEYS, RESERVED_OUTPUTS
from scoring.evaluation import TaskKind
from training.errors import DatasetError, UseCaseError
from training.row_splits.table_splits import bounds
from training.tables.columns import Feature, LeftOut, propose
from training.tables.csv_file import import_csv
from training.tables.labels import check_rows
from training.tables.opened_table import OpenedTable, open_table
from training.tables.outcome import Outcome, check_target, fewest_rows, outcome_of, telling_columns
from training.tables.proposal import Proposal
from training.tables.table import ImportedTable
from training.tables.written_features import feature_files
from training.tables.written_use_case import use_case_files

_VALUE_TYPES = {pa.int32(): "INT32", pa.int64(): "INT64"}
_CALIBRATION = {"regression": 0.5}
"""Task → what its gate tolerates; of classes, what chance does to so many rows."""


@dataclass(frozen=True)
class Asked:
    """What the user said.

    table: path of a CSV or Parquet file or of a folder of Parquet files, or
        `postgresql://[user[:password]@]host[:port]/database?table=name`.
    time: None if the table has none.
    task: None: by the target's values.
    label_days: days until the outcome is known; 0 for none.
    zone: of times in a CSV file that name none.
    """

    name: str
    table: str
    keys: tuple[str, ...]
    time: str | None
    target: str
    task: TaskKind | None = None
    label_days: int = 0
    zone: str | None = None


@dataclass(frozen=True)
class Written:
    """A use case that was written.

    folder: where.
    notes: what the user should know, a line each.
    """

    folder: Path
    proposal: Proposal
    notes: Sequence[str]


def write_use_case(asked: Asked, environ: Mapping[str, str], root: Path = PROJECT_ROOT) -> Written:
    """Read a table and write a use case for it to `use_cases/<name>/` of the project.

    Raises:
        UseCaseError: the folder is there already, or the name is no name.
        DatasetError: the table cannot be used; names the column and the way out.
    """
    needed = {"NAME": asked.name, "TABLE": asked.table, "KEY": asked.keys, "TARGET": asked.target}
    if lacking := [f"{variable}=" for variable, value in needed.items() if not value]:
        raise UseCaseError(f"{', '.join(lacking)}: needed by make init")
    folder = root / "use_cases" / asked.name
    if not asked.name.isidentifier() or asked.name != asked.name.lower() or not asked.name.isascii():
        raise UseCaseError(f"NAME: {asked.name!r} is no name; use small letters, digits and _")
    if folder.exists():
        raise UseCaseError(f"NAME: {folder} is there already; remove it, or take another name")
    if asked.label_days and asked.time is None:
        raise DatasetError("OUTCOME_AFTER: needs TIME, from which the days count")
    opened = open_table(asked.table, asked.keys, asked.time, asked.target, asked.zone, environ, root)
    proposal, notes = _proposed(asked, opened, root)
    if not proposal.features:
        raise DatasetError(f"TABLE: {opened.words} has no column that can be a feature: " + "; ".join(notes))
    texts = use_case_files(proposal) | {f"feature_repo/{k}": text for k, text in feature_files(proposal).items()}
    (folder / "feature_repo").mkdir(parents=True)
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    if opened.imported:
        out = ImportedTable().path({**environ, "USE_CASE": str(folder)}, root)
        import_csv(root / opened.location.address, out, opened.imported, opened.zone, opened.stamped)
    return Written(folder, proposal, [*opened.notes, *notes])


def _check_names(keys: Sequence[str], outcome: Outcome) -> None:
    if reserved := sorted({*keys} & RESERVED_JOIN_KEYS):
        raise DatasetError(f"KEY: requests and answers have a member {reserved[0]!r} already; rename the column")
    for output in outputs_of(outcome.kind, outcome.target):
        if output.name in RESERVED_OUTPUTS | {*keys}:
            raise DatasetError(f"TARGET: answers have a member {output.name!r} already; rename the column")


def _proposed(asked: Asked, opened: OpenedTable, root: Path) -> tuple[Proposal, list[str]]:
    """The proposal, and what to say of it."""
    if opened.stamped and opened.rows.num_rows > len(opened.rows.group_by(list(opened.keys)).aggregate([])):
        raise DatasetError(
            f"TIME: {opened.words} has several rows of a key; name the column with the time of a row, TIME=…"
        )
    check_rows(opened.words, opened.rows, opened.keys, opened.time)
    rows = _known(opened, asked.label_days)
    outcome = outcome_of(opened.target, rows[opened.target].to_pandas(), asked.task)
    _check_names(asked.keys, outcome)
    codes = outcome.codes(rows[opened.target].to_pandas())
    if said := fewest_rows(outcome, codes):
        raise DatasetError(f"TABLE: {opened.words}: {said}")
    columns = propose(opened.rows, opened.keys, opened.time, opened.target)
    told = telling_columns(
        outcome,
        codes,
        {c.name: rows[c.name].to_pandas() for c in columns if isinstance(c, Feature) and c.kind != "embedding"},
    )
    columns = [_unless_told(column, told, opened.target) for column in columns]
    by_time, notes = _by_time(opened, rows, asked.label_days)
    tested = 0.15 * len(codes)
    proposal = Proposal(
        name=asked.name,
        project=_project(asked.name, root),
        location=opened.location,
        keys={key: _VALUE_TYPES.get(rows.schema.field(key).type, "STRING") for key in opened.keys},
        time=opened.time,
        outcome=outcome,
        columns=columns,
        imported=opened.imported,
        zone=opened.zone,
        stamped=opened.stamped,
        by_time=by_time,
        label_days=asked.label_days,
        max_calibration_error=_CALIBRATION.get(outcome.kind, max(0.05, round(2.5 / float(np.sqrt(tested)), 2))),
    )
    out = [column for column in columns if isinstance(column, LeftOut)]
    warned = [f"warning: {column.name!r} is left out: {column.why}" for column in out if column.warns]
    others = [f"{column.name!r} is left out: {column.why}" for column in out if not column.warns]
    return proposal, [*warned, *others, *notes]


def _known(opened: OpenedTable, label_days: int) -> pa.Table:
    """The rows whose target is known; nulls are refused but for rows that are too young."""
    rows, known = opened.rows, pc.is_valid(opened.rows[opened.target])
    if label_days:
        times = rows[opened.time]
        young = pc.greater(times, pa.scalar(pc.max(times).as_py() - timedelta(days=label_days), times.type))
        rows = rows.filter(pc.or_(known, pc.invert(young)))
        known = pc.is_valid(rows[opened.target])
    check_target(opened.words, opened.target, pc.sum(known).as_py() or 0, rows.num_rows, label_days)
    return rows.filter(known)


def _unless_told(column: Feature | LeftOut, told: Mapping[str, str], target: str) -> Feature | LeftOut:
    if column.name not in told:
        return column
    return LeftOut(
        column.name,
        f"alone it predicts {target!r} ({told[column.name]} on rows held out), as if it had been filled in afterwards",
        warns=True,
    )


def _by_time(opened: OpenedTable, rows: pa.Table, label_days: int) -> tuple[bool, list[str]]:
    """Whether splits can go by time, and what to say if not."""
    times = pd.Series(rows[opened.time].to_pandas())
    try:
        bounds(times, timedelta(days=label_days))
    except DatasetError as error:
        if label_days:
            raise
        if opened.stamped:
            return False, ["the table has no time: entities are drawn for training, validation and test"]
        return False, [f"entities are drawn for training, validation and test: {error}"]
    return True, []


def _project(name: str, root: Path) -> str:
    """A name for the Feast project that neither ends with another's nor is its end, see `make apply`."""
    files = [*root.glob("feature_repo/feature_store.yaml"), *root.glob("use_cases/*/feature_repo/feature_store.yaml")]
    taken = [str(yaml.safe_load(file.read_text("utf-8")).get("project")) for file in files]
    names = [name, *(f"{name}_table{number}" for number in ("", *range(2, len(taken) + 3)))]
    return next(n for n in names if not any(n.endswith(other) or other.endswith(n) for other in taken))
