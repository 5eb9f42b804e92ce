"""Who is asked about after each cut-off, at which moment, and what became of them; in SQL over the orders file."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pandas as pd

from artefacts.cutoffs import HourRange
from training.settings import TrainingSettings

_HOUR_US = 3_600_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Population:
    """The orders, one row for each, and the customers who gave them.

    Of rows with one customer and order_id the earliest counts, as docs/features.md has it.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, orders: Path) -> None:
        self._connection = connection
        connection.execute("SET TimeZone = 'UTC'")
        connection.read_parquet(str(orders)).create_view("rows")
        connection.execute(
            "CREATE TEMP TABLE ordered AS SELECT customer_id, epoch_us(min(event_timestamp)) AS ordered_us "
            "FROM rows GROUP BY customer_id, order_id"
        )

    @property
    def first_order(self) -> datetime | None:
        """Time of the very first order, UTC; None without orders."""
        ((found,),) = self._connection.execute("SELECT min(ordered_us) FROM ordered").fetchall()
        return None if found is None else _EPOCH + timedelta(microseconds=found)

    def asked(self, cutoff: datetime, settings: TrainingSettings) -> pd.DataFrame:
        """Every customer with an order before a moment of their own, drawn from the hours after a cut-off.

        The moment depends on the seed, the customer and the cut-off alone.

        Returns:
            customer_id, sorted; event_timestamp, the moment (datetime64[us, UTC]); churned, no order in the label
            window that begins at it; active, an order in the `active_days` before it; same_day, one between the
            cut-off and it.
        """
        found: pd.DataFrame = self._connection.execute(f"{_asked(cutoff, settings)} ORDER BY customer_id").df()
        moments = pd.to_datetime(found.pop("moment_us"), unit="us", utc=True).astype("datetime64[us, UTC]")
        found.insert(1, "event_timestamp", moments)
        return found

    def counts(self, cutoff: datetime, settings: TrainingSettings) -> tuple[int, int, int, int]:
        """Who churned and who stayed of all of `asked`, and of the active ones."""
        query = (
            "SELECT count(*) FILTER (churned), count(*) FILTER (NOT churned), count(*) FILTER (active AND churned), "  # noqa: S608  # as below
            f"count(*) FILTER (active AND NOT churned) FROM ({_asked(cutoff, settings)})"
        )
        ((churned, stayed, active_churned, active_stayed),) = self._connection.execute(query).fetchall()
        return churned, stayed, active_churned, active_stayed


@contextmanager
def open_population(orders: Path) -> Iterator[Population]:
    """The orders of a file, for as long as the block lasts."""
    with duckdb.connect() as connection:
        yield Population(connection, orders)


def _asked(cutoff: datetime, settings: TrainingSettings) -> str:
    cutoff_us = round(cutoff.timestamp()) * 1_000_000
    label_us, active_us = settings.label_days * 24 * _HOUR_US, settings.active_days * 24 * _HOUR_US
    moment = f"{cutoff_us} + {_microseconds_after(settings.hours, f'{settings.seed}|{cutoff_us}|')}"
    return (
        f"WITH moments AS (SELECT customer_id, {moment} AS moment_us, min(ordered_us) AS first_us FROM ordered "  # noqa: S608  # numbers only
        "GROUP BY customer_id) "
        "SELECT customer_id, any_value(moment_us) AS moment_us, "
        f"NOT bool_or(ordered_us >= moment_us AND ordered_us < moment_us + {label_us}) AS churned, "
        f"bool_or(ordered_us < moment_us AND ordered_us >= moment_us - {active_us}) AS active, "
        f"bool_or(ordered_us < moment_us AND ordered_us >= {cutoff_us}) AS same_day "
        "FROM ordered JOIN moments USING (customer_id) WHERE first_us < moment_us GROUP BY customer_id"
    )


def _microseconds_after(hours: tuple[HourRange, ...], salt: str) -> str:
    """SQL for a time after midnight that depends on the salt and the customer alone; whole microseconds.

    A digest, since it says the same in every version and on every machine; its 53 upper bits are a number in [0, 1).
    """
    drawn = f"((md5_number_lower('{salt}' || customer_id) >> 11) / {2**53}.0)"
    cases, before = [], 0.0
    for each in hours:
        first, last = round(each.first * _HOUR_US), round(each.last * _HOUR_US)
        within = f"floor({first} + ({drawn} - {before!r}) / {each.share!r} * {last - first})::BIGINT"
        cases.append((before + each.share, f"greatest({first}, least({within}, {max(first, last - 1)}))"))
        before += each.share
    *earlier, (_, otherwise) = cases
    if not earlier:
        return otherwise
    whens = " ".join(f"WHEN {drawn} < {until!r} THEN {then}" for until, then in earlier)
    return f"CASE {whens} ELSE {otherwise} END"
