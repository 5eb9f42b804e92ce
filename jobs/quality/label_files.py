"""Reads labels from a Parquet or CSV file."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

from artefacts.process.printable import printable
from contract import MulticlassTask
from contract.version_1 import LABEL_COLUMN as OLDER_COLUMN
from jobs.errors import JobError
from jobs.inference_log.logged_scores import LoggedScores
from jobs.offline_store.latest_rows import quoted, read_path, rows_of
from jobs.quality.label_values import LABEL_VALUES, LabelValues

LABEL = "label"
"""The column of labels; in files of version 1 it is `OLDER_COLUMN`."""


@dataclass(frozen=True)
class LabelCounts:
    """Counts of the labels of a file.

    labels: number of different labels.
    repeated: rows that repeat another row.
    unknown: labels of requests that are not in the part of the log that was read.
    ambiguous: labels of request ids that were used for different keys.
    unscored: labels of rows that were answered without a score.
    """

    labels: int
    repeated: int
    unknown: int
    ambiguous: int
    unscored: int

    def to_dict(self) -> dict[str, int]:
        """Plain values for JSON."""
        return asdict(self)

    def __str__(self) -> str:
        others = {
            "repeated": self.repeated,
            "of unknown requests": self.unknown,
            "of request ids used for several keys": self.ambiguous,
            "of rows without a score": self.unscored,
        }
        return ", ".join([f"{self.labels:,} labels", *(f"{n:,} {what}" for what, n in others.items() if n)])


def read_labels(scores: LoggedScores, file: Path) -> LabelCounts:
    """Make the table `labels` (request_id, row, label) beside `scores`; without a column `row` every row is 0.

    Labels are of the task of the log: BOOLEAN, VARCHAR (names of classes), or DOUBLE.

    Raises:
        JobError: the file cannot be read or lacks a column; a value does not fit the task; a row has several labels; a
            class is not the model's; or `label_days` differs from the days in the model's contract.
    """
    connection, kind = scores.connection, LABEL_VALUES[scores.task]
    try:
        column = _as_text(connection, file)
    except duckdb.Error as error:
        raise JobError(f"{file}: cannot be read as {file.suffix[1:]}: {str(error).splitlines()[0]}") from None
    _check(connection, file, column, kind)
    _refuse_unknown_classes(scores, file, column)
    connection.execute(
        f"CREATE TABLE labels AS SELECT request_id, row::INTEGER AS row, any_value({kind.value}) AS label "  # noqa: S608
        "FROM label_text GROUP BY 1, 2"
    )
    _refuse_other_days(scores, file)
    labels = scores.count("SELECT count(*) FROM labels")
    ambiguous = scores.count("SELECT count(*) FROM labels SEMI JOIN reused USING (request_id, row)")
    return LabelCounts(
        labels=labels,
        repeated=scores.count("SELECT count(*) FROM label_text") - labels,
        unknown=scores.count("SELECT count(*) FROM labels ANTI JOIN scores USING (request_id, row)") - ambiguous,
        ambiguous=ambiguous,
        unscored=scores.count(
            "SELECT count(*) FROM labels SEMI JOIN scores USING (request_id, row) "
            "ANTI JOIN (FROM scores WHERE score IS NOT NULL) USING (request_id, row)"
        ),
    )


def _refuse_other_days(scores: LoggedScores, file: Path) -> None:
    """Raise JobError if labels are over other days than a model predicts: they do not tell how good it is."""
    for tag, contract in scores.contracts.items():
        if contract.label_days is None:
            continue
        found = scores.connection.execute(
            "SELECT min(label_days) FROM label_text JOIN scores ON label_text.request_id = scores.request_id "
            "AND label_text.row::INTEGER = scores.row WHERE model_tag = ? AND label_days <> '' "
            # Compared as numbers, because pandas may have written 90.0.
            "AND coalesce(TRY_CAST(label_days AS DOUBLE) <> ?, true)",
            [tag, contract.label_days],
        ).fetchone()
        if found and found[0] is not None:
            raise JobError(
                f"{file}: labels over {found[0]} days of model {tag}, which has labels over "
                f"{contract.label_days} days; `make labels` makes them as the model has it"
            )


def _as_text(connection: duckdb.DuckDBPyConnection, file: Path) -> str:
    """Make the table `label_text`; returns the name of the file's column of labels."""
    if not file.is_file():
        raise JobError(f"{file}: no such file; `make labels` writes one")
    if file.suffix == ".csv":
        name = read_path(str(file))
        source = f"read_csv({name}, all_varchar = true, header = true, delim = ',', quote = '\"', escape = '\"')"
    elif file.suffix == ".parquet":
        source = rows_of([str(file)])
    else:
        raise JobError(f"{file}: expected a .csv or .parquet file")
    columns = [column[0] for column in connection.execute(f"DESCRIBE FROM {source}").fetchall()]
    label = OLDER_COLUMN if LABEL not in columns and OLDER_COLUMN in columns else LABEL
    for wanted in ("request_id", label):
        if wanted not in columns:
            raise JobError(f"{file}: has no column {wanted!r}; found {printable(', '.join(columns))}")
    row = "trim(row::VARCHAR)" if "row" in columns else "'0'"
    days = "trim(label_days::VARCHAR)" if "label_days" in columns else "NULL::VARCHAR"
    connection.execute(
        "CREATE TABLE label_text AS SELECT row_number() OVER () AS line, request_id::VARCHAR AS request_id, "  # noqa: S608
        f"{row} AS row, trim({quoted(label)}::VARCHAR) AS label, {days} AS label_days FROM {source}"
    )
    return label


def _check(connection: duckdb.DuckDBPyConnection, file: Path, label: str, kind: LabelValues) -> None:
    checks = {
        "request_id": ("coalesce(request_id, '') = ''", "a request id"),
        "row": (r"NOT coalesce(regexp_full_match(row, '\d{1,9}'), false)", "a number from 0"),
        "label": (kind.wrong, kind.expected),
    }
    for column, (wrong, expected) in checks.items():
        first = connection.execute(
            f"SELECT line, {column} FROM label_text WHERE {wrong} ORDER BY line LIMIT 1"  # noqa: S608
        ).fetchone()
        if first:
            found = repr(first[1]) if first[1] else "nothing"
            where = label if column == "label" else column
            raise JobError(f"{file}: column {where}, row {first[0]}: expected {expected}, found {found}")
    several = connection.execute(
        f"SELECT request_id, row::INTEGER, count(*) OVER (), min({kind.value}), max({kind.value}) "  # noqa: S608
        f"FROM label_text GROUP BY 1, 2 HAVING count(DISTINCT {kind.value}) > 1 ORDER BY 1, 2 LIMIT 1"
    ).fetchone()
    if several:
        request, row, rows, one, other = several
        others = f", and {rows - 1:,} others" if rows > 1 else ""
        labels = printable(f"{json.dumps(one)} and {json.dumps(other)}")
        raise JobError(f"{file}: request {request!r}, row {row} is labelled {labels}{others}")


def _refuse_unknown_classes(scores: LoggedScores, file: Path, column: str) -> None:
    for tag, contract in scores.contracts.items():
        if not isinstance(contract.task, MulticlassTask):
            continue
        classes = contract.task.classes
        found = scores.connection.execute(
            "SELECT line, label FROM label_text JOIN scores ON label_text.request_id = scores.request_id "
            "AND label_text.row::INTEGER = scores.row WHERE model_tag = ? AND NOT list_contains(?, label) "
            "ORDER BY line LIMIT 1",
            [tag, list(classes)],
        ).fetchone()
        if found:
            raise JobError(
                f"{file}: column {column}, row {found[0]}: model {tag} has no class {found[1]!r}; "
                f"it has {', '.join(classes)}"
            )
