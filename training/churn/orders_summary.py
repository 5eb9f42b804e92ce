"""Summarises an orders file, and checks before the feature build whether it is enough to train on."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from artefacts.cutoffs import Cutoffs
from scoring.evaluation import FEWEST_OF_A_CLASS
from training.churn.observed import observed_until
from training.churn.order_history import ACTIVE_DAYS, open_order_history
from training.churn.source.addresses import OrderAddresses
from training.errors import DatasetError
from training.row_splits.label_windows import choose_cutoffs
from training.settings import TrainingSettings

_CHURN_DAYS = (30, 60, 90)
_OLD_DAYS = 2
"""Age from which the last order is reported as old: windowed features are stale by then."""


@dataclass(frozen=True)
class ChurnCount:
    """How many of the customers known `days` before the end did not order again."""

    days: int
    churned: int
    known: int


@dataclass(frozen=True)
class OrdersSummary:
    """Counts of an orders file.

    repeated: rows that repeat an earlier row's customer and order_id; they count once.
    first, last: times of the first and the last order; UTC.
    """

    rows: int
    repeated: int
    customers: int
    first: datetime
    last: datetime
    churn: tuple[ChurnCount, ...]

    @property
    def orders(self) -> int:
        """Number of distinct orders."""
        return self.rows - self.repeated

    def to_text(self, now: datetime, until: datetime | None = None) -> str:
        """The counts as lines of text.

        Args:
            until: the file holds every order before this time; default the last order's time.
        """
        again = f", {self.repeated:,} rows repeat an order_id and count once" if self.repeated else ""
        age = (now - self.last).days
        ended = f"{age} days ago" if age > 1 else "in the last two days"
        old = "; later ones are missing, if there were any" if (now - (until or self.last)).days >= _OLD_DAYS else ""
        gone = ", ".join(
            f"{each.churned / each.known:.0%} of {each.known:,} in {each.days} days"
            for each in self.churn
            if each.known
        )
        return (
            f"{self.rows:,} rows, {self.orders:,} orders of {self.customers:,} customers{again}\n"
            f"first order {self.first:%Y-%m-%d}, last {self.last:%Y-%m-%d}, {ended}{old}\n"
            f"did not order again: {gone or 'unknown, all customers are too new'}"
        )


def summarise(path: Path, until: datetime) -> OrdersSummary:
    """Count an orders file.

    Args:
        until: the file holds every order before this time; UTC.
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
        churn = []
        for days in _CHURN_DAYS:
            since = until - timedelta(days=days)
            known, churned = _row(
                connection,
                "SELECT count(*), count(*) FILTER (last < $since) FROM "
                "(SELECT min(event_timestamp) AS first, max(event_timestamp) AS last FROM rows GROUP BY customer_id) "
                "WHERE first < $since",
                since=since,
            )
            churn.append(ChurnCount(days, churned, known))
    return OrdersSummary(
        rows=int(rows),
        repeated=int(rows) - distinct,
        customers=customers,
        first=first.astimezone(UTC),
        last=last.astimezone(UTC),
        churn=tuple(churn),
    )


def check_enough(addresses: OrderAddresses, settings: TrainingSettings) -> str:
    """Check, without features, whether there are enough orders to train on.

    Returns:
        One line about the training set.

    Raises:
        DatasetError: there are too few; names the setting that helps.
    """
    until = observed_until(addresses)
    active_days = _active_days(settings)
    with open_order_history(addresses.orders) as history:
        first = history.first_order
        if first is None:
            raise DatasetError(f"{addresses.orders}: holds no orders")
        cutoffs = choose_cutoffs(first, until, settings)
        counted = {
            split: _sum_counts([history.class_counts(cutoff, settings, settings.seed, active_days) for cutoff in times])
            for split, times in (
                ("training", cutoffs.training),
                ("validation", (cutoffs.validation,)),
                ("test", (cutoffs.test,)),
            )
        }
    for split, (all_churned, all_stayed, active_churned, active_stayed) in counted.items():
        for population, churned, stayed in (
            ("all", all_churned, all_stayed),
            ("active", active_churned, active_stayed),
        ):
            if min(churned, stayed) < FEWEST_OF_A_CLASS:
                raise DatasetError(
                    f"{split} split, {population} customers: {churned} churned and {stayed} stayed; at least "
                    f"{FEWEST_OF_A_CLASS} of each are needed. " + _advice(churned, stayed, population, settings)
                )
    return _training_set_line(cutoffs, counted["test"])


def _active_days(settings: TrainingSettings) -> float:
    return ACTIVE_DAYS if settings.active_days is None else settings.active_days


def _sum_counts(counts: list[tuple[int, int, int, int]]) -> tuple[int, int, int, int]:
    churned, stayed, active_churned, active_stayed = (sum(each) for each in zip(*counts, strict=True))
    return churned, stayed, active_churned, active_stayed


def _advice(churned: int, stayed: int, population: str, settings: TrainingSettings) -> str:
    if churned < FEWEST_OF_A_CLASS <= stayed:
        advice = f"A shorter TRAINING_LABEL_DAYS than {settings.label_days} finds more who churned"
    elif stayed < FEWEST_OF_A_CLASS <= churned:
        advice = f"A longer TRAINING_LABEL_DAYS than {settings.label_days} finds more who stayed"
    else:
        advice = "More customers are needed"
    if population == "active":
        advice += f", a longer TRAINING_ACTIVE_DAYS than {_active_days(settings):g} more who were active"
    return advice


def _training_set_line(cutoffs: Cutoffs, test: tuple[int, int, int, int]) -> str:
    return (
        f"enough to train on: {len(cutoffs.training)} training cut-offs from {cutoffs.training[0]:%Y-%m-%d} on, "
        f"tested at {cutoffs.test:%Y-%m-%d} on {test[0] + test[1]:,} customers ({test[0]:,} churned), "
        f"of whom {test[2] + test[3]:,} active ({test[2]:,} churned)"
    )


def _row(connection: duckdb.DuckDBPyConnection, query: str, **values: datetime) -> tuple[Any, ...]:
    found: tuple[Any, ...] = connection.execute(query, values or None).fetchone()
    return found
