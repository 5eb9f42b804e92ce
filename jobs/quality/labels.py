"""Labels logged answers from orders: did the customer churn?

An answer gets its label once the days that its model predicts are over. The model's contract says how many they are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa

from artefacts.addresses import Artefacts
from artefacts.process.atomic_files import replaced_file
from jobs.errors import ArgumentError, JobError
from jobs.inference_log.logged_scores import LoggedScores, open_scores
from jobs.inference_log.reading import LogReading, Opener, explain_nothing_found
from jobs.offline_store.latest_rows import rows_of
from jobs.times import format_range
from scoring.errors import ModelError
from scoring.models.model_store import open_model, pinned_tag
from scoring.pseudonyms import PREFIX, Pseudonyms
from training.churn.source.addresses import OrderAddresses
from training.churn.source.orders_file import Orders, find_orders

_CUSTOMERS_AT_ONCE = 100_000


class NothingDueError(JobError):
    """No answered row in the time range is old enough for a label."""

    exit_code = 4


@dataclass(frozen=True)
class LabelRequest:
    """The labels to make.

    out: the Parquet file to write, with request_id, row, customer_id as it is logged, as_of, churned and label_days.
    days: a customer who orders nothing in [as_of, as_of + days) has churned. None takes the days from the contract of
        the model that answered or, if that model is not in the store, of the pinned model.
    since, until: answers of [since, until), UTC; None is an open end.
    id_key_file: the key with which the log's customer ids were made pseudonyms.

    Raises:
        ArgumentError: a value is out of range.
    """

    out: Path
    days: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    id_key_file: Path | None = None

    def __post_init__(self) -> None:
        if self.days is not None and not 1 <= self.days <= 3650:
            raise ArgumentError(f"--days {self.days}: expected 1 to 3,650 days")


@dataclass(frozen=True)
class LabelSummary:
    """Number of rows that got a label, and of rows that did not, by reason.

    days: lengths of the labels in days; more than one if the log holds models that predict different lengths.
    not_due: the orders are not observed for long enough.
    ambiguous: the request id was used for different customers.
    due_until: answers before this time are due, UTC.
    """

    labels: int
    churned: int
    days: tuple[int, ...]
    not_due: int
    ambiguous: int
    due_until: datetime

    def __str__(self) -> str:
        ambiguous = f"; {self.ambiguous:,} rows of request ids used for several customers have none"
        return (
            f"{self.labels:,} labels of answers until {self.due_until.isoformat()}, {self.churned:,} churned, "
            f"which is no order in {' or '.join(map(str, self.days))} days; "
            f"{self.not_due:,} later answers are not yet due{ambiguous if self.ambiguous else ''}"
        )


def make_labels(
    artefacts: Artefacts, environ: Mapping[str, str], request: LabelRequest, opened: Opener = open_model
) -> LabelSummary:
    """Label every answered row that is due, and write the labels in one step.

    Orders count as they do for features: if rows share customer and order id, the orders file comes before streamed
    orders, and the earliest row counts.

    Args:
        opened: a model by its tag.

    Raises:
        NothingDueError: no row is due, and nothing was written.
        JobError: orders or key cannot be used, and nothing was written; or the labels are written and files of the log
            could not be read.
    """
    orders = find_orders(OrderAddresses.of(environ))
    reading = LogReading(artefacts.inference_log, request.since, request.until)
    with open_scores(reading) as scores:
        lengths = label_lengths(artefacts, _answered_by(scores), request.days, opened)
        days = tuple(sorted(set(lengths.values())))
        due_until = orders.observed_until - timedelta(days=min(days, default=0))
        scores.connection.execute("CREATE TABLE lengths (model_tag VARCHAR, days INTEGER)")
        for length in lengths.items():
            scores.connection.execute("INSERT INTO lengths VALUES (?, ?)", list(length))
        scores.connection.execute(
            "CREATE TABLE due AS SELECT request_id, row, key AS customer_id, min(as_of) AS as_of, "
            "arg_max(days, role) AS days FROM scores JOIN lengths USING (model_tag) "  # the champion's
            "GROUP BY request_id, row, key HAVING min(as_of) + to_hours(24 * arg_max(days, role)) <= ?",
            [orders.observed_until],
        )
        due = scores.count("SELECT count(*) FROM due")
        not_due = scores.count("SELECT count(*) FROM (SELECT DISTINCT request_id, row FROM scores)") - due
        damaged = "; ".join(reading.damaged)
        if not due:
            if damaged:
                raise JobError(f"no label could be made: {damaged}")
            if not not_due:
                nothing = f"no answered row {format_range(request.since, request.until)}"
                raise NothingDueError(explain_nothing_found(artefacts.inference_log, nothing))
            raise NothingDueError(
                f"{artefacts.inference_log}: answers found: {not_due:,}; none is due for a label: a label takes "
                f"{' or '.join(map(str, days))} days of orders after the answer, and orders are observed until "
                f"{orders.observed_until.isoformat()}; so only answers until {due_until.isoformat()} can have one"
            )
        _load_orders(scores, orders, request.id_key_file)
        churned = _write(scores, request)
        made = LabelSummary(due, churned, days, not_due, scores.count("SELECT count(*) FROM reused"), due_until)
    if damaged:
        raise JobError(f"not every file of the log could be read, the other labels are in {request.out}: {damaged}")
    return made


def label_lengths(
    artefacts: Artefacts, tags: Sequence[str], days: int | None, opened: Opener = open_model
) -> dict[str, int]:
    """Model tag → length of its labels in days.

    Args:
        days: the requested length; None if none was requested.
        opened: a model by its tag.

    Raises:
        JobError: the requested length is not the contract's; or none was requested and no contract has one.
    """
    promised = {tag: _promised(tag, opened) for tag in tags}
    other = next((tag for tag, found in promised.items() if days is not None and found not in (None, days)), None)
    if other is not None:
        raise JobError(
            f"model {other} predicts who orders nothing in {promised[other]} days, and --days is {days}: leave it out, "
            "and each answer is labelled as its model has it"
        )
    if None in promised.values() and days is None:
        days = _promised(pinned_tag(artefacts), opened)
        if days is None:
            unknown = next(tag for tag, found in promised.items() if found is None)
            raise JobError(
                f"how many days the labels of model {unknown} have is not known: neither it nor a model that is pinned "
                "here is in the store and says so; --days says it (DAYS=90 with make)"
            )
    return {tag: found or days or 0 for tag, found in promised.items()}


def _promised(tag: str, opened: Opener) -> int | None:
    try:
        return opened(tag).contract.label_days
    except ModelError:
        return None


def _answered_by(scores: LoggedScores) -> list[str]:
    found = scores.connection.execute("SELECT DISTINCT model_tag FROM scores ORDER BY 1").fetchall()
    return [tag for (tag,) in found]


def _load_orders(scores: LoggedScores, orders: Orders, id_key_file: Path | None) -> None:
    """Make the table `bought`: the times of each customer's orders, under the logged id.

    Raises:
        JobError: the log has pseudonyms, and the key is missing or not the one that made them.
    """
    rows = rows_of([str(file) for file in orders.files])
    connection = scores.connection
    connection.execute("CREATE TABLE names AS SELECT DISTINCT customer_id AS logged_as, customer_id FROM due")
    if hidden := scores.count("SELECT count(*) FROM names WHERE starts_with(logged_as, ?)", PREFIX):
        if id_key_file is None:
            raise JobError("the log's customer ids are pseudonyms; name the file of their key: --id-key-file")
        pseudonyms = Pseudonyms.from_file(id_key_file)
        connection.execute("DELETE FROM names WHERE starts_with(logged_as, ?)", [PREFIX])
        with connection.cursor() as cursor:
            everybody = cursor.execute(f"SELECT DISTINCT customer_id FROM {rows}")  # noqa: S608
            for batch in everybody.to_arrow_reader(_CUSTOMERS_AT_ONCE):
                made = pseudonyms.of(batch["customer_id"].to_pylist())
                connection.register("made", pa.table({"logged_as": made, "customer_id": batch["customer_id"]}))
                connection.execute("INSERT INTO names FROM made SEMI JOIN due ON made.logged_as = due.customer_id")
                connection.unregister("made")
        if not scores.count("SELECT count(*) FROM names WHERE starts_with(logged_as, ?)", PREFIX):
            raise JobError(
                f"{id_key_file}: no customer of the orders has one of the log's {hidden:,} pseudonyms under this key"
            )
    columns = "customer_id, order_id, event_timestamp"
    files = [str(file) for file in orders.files]
    known = f"SELECT {columns}, 0 AS streamed FROM {rows_of(files[:1])}"  # noqa: S608
    if files[1:]:
        known += f" UNION ALL SELECT {columns}, 1 AS streamed FROM {rows_of(files[1:])}"  # noqa: S608
    connection.execute(
        "CREATE TABLE bought AS SELECT logged_as AS customer_id, "  # noqa: S608
        "struct_extract(min({'streamed': streamed, 'at': event_timestamp}), 'at') AS bought_at "
        f"FROM ({known}) JOIN names USING (customer_id) GROUP BY logged_as, order_id"
    )


def _write(scores: LoggedScores, request: LabelRequest) -> int:
    """Write the file; return how many customers churned."""
    try:
        scores.connection.execute(
            "CREATE TABLE made AS SELECT request_id, row, due.customer_id, as_of, "
            "coalesce(bought_at >= as_of + to_hours(24 * days), true) AS churned, days AS label_days FROM due "
            "ASOF LEFT JOIN bought ON due.customer_id = bought.customer_id AND due.as_of <= bought.bought_at"
        )
        with replaced_file(request.out) as partial:
            scores.connection.sql("FROM made ORDER BY as_of, request_id, row").write_parquet(str(partial))
    except (OSError, duckdb.IOException) as error:
        raise JobError(f"{request.out}: the labels cannot be written: {str(error).splitlines()[0]}") from None
    return scores.count("SELECT count(*) FROM made WHERE churned")
