"""What an orders file holds, counted, and whether it is enough to train on: known before the minutes of features."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from artefacts.addresses import Artefacts
from artefacts.cutoffs import Cutoffs
from scoring.evaluation import FEWEST_OF_A_CLASS
from training.data.dataset import choose_cutoffs, observed_until
from training.data.population import open_population
from training.errors import DatasetError
from training.settings import TrainingSettings

_LEAVING_DAYS = (30, 60, 90)
_OLD_DAYS = 2
"""After which the last order is told as old: windowed features are stale then."""


@dataclass(frozen=True)
class Leavers:
    """How many of the customers known `days` before the end did not order again."""

    days: int
    left: int
    known: int


@dataclass(frozen=True)
class OrdersSummary:
    """An orders file in figures.

    repeated: rows whose customer and order_id an earlier row has; they count once.
    first, last: time of the first and of the last order; UTC.
    """

    rows: int
    repeated: int
    customers: int
    first: datetime
    last: datetime
    leavers: tuple[Leavers, ...]

    @property
    def orders(self) -> int:
        """Distinct ones."""
        return self.rows - self.repeated

    def described(self, now: datetime, until: datetime | None = None) -> str:
        """For the user to hold against what they expect, in lines.

        Args:
            until: before when every order is in the file; the last order's time unless it is given.
        """
        again = f", {self.repeated:,} rows repeat an order_id and count once" if self.repeated else ""
        age = (now - self.last).days
        ended = f"{age} days ago" if age > 1 else "in the last two days"
        old = "; later ones are missing, if there were any" if (now - (until or self.last)).days >= _OLD_DAYS else ""
        gone = ", ".join(
            f"{each.left / each.known:.0%} of {each.known:,} in {each.days} days" for each in self.leavers if each.known
        )
        return (
            f"{self.rows:,} rows, {self.orders:,} orders of {self.customers:,} customers{again}\n"
            f"first order {self.first:%Y-%m-%d}, last {self.last:%Y-%m-%d}, {ended}{old}\n"
            f"did not order again: {gone or 'nobody could be asked yet'}"
        )


def summarise(path: Path, until: datetime) -> OrdersSummary:
    """Count an orders file.

    Args:
        until: before when every order is in it; UTC.
    """
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.read_parquet(str(path)).create_view("rows")
        distinct, customers, first, last, rows = _row(
            connection,
            "SELECT count(*), count(DISTINCT customer_id), min(ordered), max(ordered), sum(n) FROM "
            "(SELECT customer_id, min(event_timestamp) AS ordered, count(*) AS n FROM rows "
            "GROUP BY customer_id, order_id)",
        )
        leavers = []
        for days in _LEAVING_DAYS:
            since = until - timedelta(days=days)
            known, left = _row(
                connection,
                "SELECT count(*), count(*) FILTER (last < $since) FROM "
                "(SELECT min(event_timestamp) AS first, max(event_timestamp) AS last FROM rows GROUP BY customer_id) "
                "WHERE first < $since",
                since=since,
            )
            leavers.append(Leavers(days, left, known))
    return OrdersSummary(
        rows=int(rows),
        repeated=int(rows) - distinct,
        customers=customers,
        first=first.astimezone(UTC),
        last=last.astimezone(UTC),
        leavers=tuple(leavers),
    )


def check_enough(artefacts: Artefacts, settings: TrainingSettings) -> str:
    """Would training refuse these orders for their number? It needs no features to know.

    Returns:
        What it would train on, in one line.

    Raises:
        DatasetError: it would; names the setting that helps.
    """
    until = observed_until(artefacts)
    with open_population(artefacts.orders) as known:
        first = known.first_order
        if first is None:
            raise DatasetError(f"{artefacts.orders}: holds no orders")
        cutoffs = choose_cutoffs(first, until, settings)
        counted = {
            split: _summed([known.counts(cutoff, settings) for cutoff in times])
            for split, times in (
                ("training", cutoffs.training),
                ("validation", (cutoffs.validation,)),
                ("test", (cutoffs.test,)),
            )
        }
    for split, (churned, stayed, active_churned, active_stayed) in counted.items():
        for population, left, kept in (("all", churned, stayed), ("active", active_churned, active_stayed)):
            if min(left, kept) < FEWEST_OF_A_CLASS:
                raise DatasetError(
                    f"{split} split, {population} customers: {left} churned and {kept} stayed; at least "
                    f"{FEWEST_OF_A_CLASS} of each are needed. " + _way_out(left, kept, population, settings)
                )
    return _enough(cutoffs, counted["test"])


def _summed(counts: list[tuple[int, int, int, int]]) -> tuple[int, int, int, int]:
    churned, stayed, active_churned, active_stayed = (sum(each) for each in zip(*counts, strict=True))
    return churned, stayed, active_churned, active_stayed


def _way_out(left: int, kept: int, population: str, settings: TrainingSettings) -> str:
    if left < FEWEST_OF_A_CLASS <= kept:
        advice = f"A shorter TRAINING_LABEL_DAYS than {settings.label_days} finds more who churned"
    elif kept < FEWEST_OF_A_CLASS <= left:
        advice = f"A longer TRAINING_LABEL_DAYS than {settings.label_days} finds more who stayed"
    else:
        advice = "More customers are needed"
    if population == "active":
        advice += f", a longer TRAINING_ACTIVE_DAYS than {settings.active_days} more who were active"
    return advice


def _enough(cutoffs: Cutoffs, test: tuple[int, int, int, int]) -> str:
    return (
        f"enough to train on: {len(cutoffs.training)} training cut-offs from {cutoffs.training[0]:%Y-%m-%d} on, "
        f"judged at {cutoffs.test:%Y-%m-%d} on {test[0] + test[1]:,} customers ({test[0]:,} churned), "
        f"of whom {test[2] + test[3]:,} active ({test[2]:,} churned)"
    )


def _row(connection: duckdb.DuckDBPyConnection, query: str, **values: datetime) -> tuple[Any, ...]:
    found: tuple[Any, ...] = connection.execute(query, values or None).fetchone()
    return found
