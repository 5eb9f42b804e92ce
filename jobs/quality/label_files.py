"""Reads labels from a Parquet or CSV file."""

from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb

from artefacts.process.printable import printable
from jobs.errors import JobError
from jobs.inference_log.logged_scores import LoggedScores
from jobs.offline_store.latest_rows import read_path, rows_of


@dataclass(frozen=True)
class LabelCounts:
    """Counts of the labels of a file.

    labels: number of different labels.
    repeated: rows that repeat another row.
    unknown: labels of requests that are not in the part of the log that was read.
    ambiguous: labels of request ids that were used for different customers.
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
            "of request ids used for several customers": self.ambiguous,
            "of rows without a score": self.unscored,
        }
        return ", ".join([f"{self.labels:,} labels", *(f"{n:,} {what}" for what, n in others.items() if n)])


def read_labels(scores: LoggedScores, file: Path) -> LabelCounts:
    """Make the table `labels` (request_id, row, churned) beside `scores`; without a column `row` every row is 0.

    Raises:
        JobError: the file cannot be read or lacks a column; a value is invalid; a row has both labels; or `label_days`
            differs from the days in the model's contract.
    """
    connection = scores.connection
    try:
        _as_text(connection, file)
    except duckdb.Error as error:
        raise JobError(f"{file}: cannot be read as {file.suffix[1:]}: {str(error).splitlines()[0]}") from None
    _check(connection, file)
    connection.execute(
        "CREATE TABLE labels AS SELECT request_id, row::INTEGER AS row, any_value(churned IN ('true', '1')) AS churned "
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


def _as_text(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
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
    for wanted in ("request_id", "churned"):
        if wanted not in columns:
            raise JobError(f"{file}: has no column {wanted!r}; found {printable(', '.join(columns))}")
    row = "trim(row::VARCHAR)" if "row" in columns else "'0'"
    days = "trim(label_days::VARCHAR)" if "label_days" in columns else "NULL::VARCHAR"
    connection.execute(
        "CREATE TABLE label_text AS SELECT row_number() OVER () AS line, request_id::VARCHAR AS request_id, "  # noqa: S608
        f"{row} AS row, lower(trim(churned::VARCHAR)) AS churned, {days} AS label_days FROM {source}"
    )


def _check(connection: duckdb.DuckDBPyConnection, file: Path) -> None:
    checks = {
        "request_id": ("coalesce(request_id, '') = ''", "a request id"),
        "row": (r"NOT coalesce(regexp_full_match(row, '\d{1,9}'), false)", "a number from 0"),
        "churned": ("coalesce(churned, '') NOT IN ('true', 'false', '1', '0')", "true, false, 1 or 0"),
    }
    for column, (wrong, expected) in checks.items():
        first = connection.execute(
            f"SELECT line, {column} FROM label_text WHERE {wrong} ORDER BY line LIMIT 1"  # noqa: S608
        ).fetchone()
        if first:
            found = repr(first[1]) if first[1] else "nothing"
            raise JobError(f"{file}: column {column}, row {first[0]}: expected {expected}, found {found}")
    both = connection.execute(
        "SELECT request_id, row::INTEGER, count(*) OVER () FROM label_text GROUP BY 1, 2 "
        "HAVING count(DISTINCT churned IN ('true', '1')) > 1 ORDER BY 1, 2 LIMIT 1"
    ).fetchone()
    if both:
        others = f", and {both[2] - 1:,} others" if both[2] > 1 else ""
        raise JobError(f"{file}: request {both[0]!r}, row {both[1]} is labelled churned and not churned{others}")
