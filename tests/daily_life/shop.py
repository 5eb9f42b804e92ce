"""A shop made of anybody's orders: what it delivers each day, with what happens to orders in daily life."""

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd

from tests.daily_life.expected import midnight

COLUMNS = ["order_id", "customer_id", "event_timestamp", "amount", "items"]


def lines_of(file: Path, ends_on: datetime) -> pd.DataFrame:
    """A file as `make data` takes it, moved by whole days so that its last order is of a certain day."""
    read = pd.read_parquet(file) if file.suffix == ".parquet" else pd.read_csv(file, dtype={"customer_id": str})
    times = pd.to_datetime(read["event_timestamp"], utc=True)
    ids = read["order_id"].astype(str) if "order_id" in read else pd.Series([f"row-{n}" for n in range(len(read))])
    moved = times + (midnight(ends_on) - midnight(times.max().to_pydatetime()))
    lines = read.assign(
        order_id=ids,
        customer_id=read["customer_id"].astype(str),
        event_timestamp=moved.astype("datetime64[us, UTC]"),
        items=read["items"].astype("int64"),
    )
    return lines[COLUMNS].sort_values("event_timestamp", kind="stable").reset_index(drop=True)


@dataclass
class Shop:
    """All lines there will ever be, and what has become of them so far.

    lines: `COLUMNS`; a return is a further line of its order.
    held: ids of orders that the shop delivers late.
    touched: ids of orders to which something has happened; nothing happens to one twice.
    """

    lines: pd.DataFrame
    random: random.Random
    held: set[str] = field(default_factory=set)
    done: dict[str, int] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)

    def until(self, end: datetime) -> pd.DataFrame:
        """What a delivery with all orders before a time holds."""
        return self.lines[(self.lines["event_timestamp"] < end) & ~self.lines["order_id"].isin(self.held)]

    def between(self, start: datetime, end: datetime) -> pd.DataFrame:
        """Orders of [start, end), a row each: what the stream is told."""
        first = self.lines.groupby(["customer_id", "order_id"], sort=False, as_index=False).agg(
            event_timestamp=("event_timestamp", "min"), amount=("amount", "sum"), items=("items", "sum")
        )
        return first[(first["event_timestamp"] >= start) & (first["event_timestamp"] < end)]

    def live_a_day(self, now: datetime, events: int) -> None:
        """Correct, cancel, give back, move and hold up some orders of the last months, and of yesterday.

        Args:
            events: of each kind.
        """
        self.held = set(self._some(midnight(now) - timedelta(days=1), midnight(now), min(events, 1)))
        for what in (self._correct, self._cancel, self._give_back):
            for order in self._some(now - timedelta(days=60), midnight(now), events):
                what(order)
        for what in (self._correct, self._cancel, self._give_back):  # of yesterday: the stream had them
            for order in self._some(midnight(now) - timedelta(days=1), midnight(now), min(events, 1)):
                what(order)
        for order in self._some(now - timedelta(days=3650), now - timedelta(days=60), min(events, 1)):
            self._correct(order)
        for order in self._some(now - timedelta(days=20), midnight(now), min(events, 1)):
            self._move(order)
        if events:
            self._cancel(self._last_order_of_somebody(now))
            self._cancel_all_of_somebody_new(now)
        self._count("late", len(self.held))

    def _some(self, start: datetime, end: datetime, count: int) -> list[str]:
        times = self.lines["event_timestamp"]
        ids = self.lines.loc[(times >= start) & (times < end), "order_id"].unique().tolist()
        free = sorted(set(ids) - self.touched)
        chosen = self.random.sample(free, min(count, len(free)))
        self.touched.update(chosen)
        return chosen

    def _last_order_of_somebody(self, now: datetime) -> str:
        past = self.lines[self.lines["event_timestamp"] < midnight(now)]
        customer = self.random.choice(past["customer_id"].unique().tolist())
        order = str(past.loc[past["customer_id"] == customer, "order_id"].iloc[-1])
        self.touched.add(order)
        return order

    def _cancel_all_of_somebody_new(self, now: datetime) -> None:
        """Of the customers with one order so far; nobody is left of one."""
        past = self.lines[self.lines["event_timestamp"] < midnight(now)]
        orders = past.groupby("customer_id")["order_id"].agg(["nunique", "first"])
        only = orders.loc[orders["nunique"] == 1, "first"].tolist()
        if only:
            self._cancel(str(self.random.choice(only)))

    def _correct(self, order: str) -> None:
        line = self.lines.index[self.lines["order_id"] == order][0]
        self.lines.loc[line, "amount"] = round(self.lines.loc[line, "amount"] * self.random.choice([0.5, 1.25]) + 1, 2)
        self.lines.loc[line, "items"] += 1
        self._count("corrected")

    def _move(self, order: str) -> None:
        self.lines.loc[self.lines["order_id"] == order, "event_timestamp"] -= timedelta(hours=5)
        self._count("moved in time")

    def _cancel(self, order: str) -> None:
        self.lines = self.lines[self.lines["order_id"] != order]
        self._count("cancelled")

    def _give_back(self, order: str) -> None:
        found = self.lines[self.lines["order_id"] == order]
        back = found.iloc[[0]].assign(amount=-round(found["amount"].sum() / 2, 2), items=0)
        self.lines = pd.concat([self.lines, back], ignore_index=True)
        self._count("given back")

    def _count(self, what: str, times: int = 1) -> None:
        self.done[what] = self.done.get(what, 0) + times
