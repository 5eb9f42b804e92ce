"""A month, day by day: what the shop delivers, which commands its user runs, and what the service then answers."""

import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from pathlib import Path

import pandas as pd

from tests.daily_life.answers import Tally, compare
from tests.daily_life.expected import Orders, known, midnight, of_lines, snapshot
from tests.daily_life.place import Place, Stream
from tests.daily_life.shop import Shop
from tests.servers.redis_servers import until

STREAM_SECONDS = 120
NOBODY = "nobody at all"


@dataclass(frozen=True)
class Day:
    """What is special about a day.

    delivers: False: no file comes.
    streams: False: no order is streamed.
    renamed: the file comes under another name.
    says_until: the delivery says up to when it is complete.
    skipped: so many days pass before it on which nothing comes and no command is run.
    kills: how often the stream is killed and started again while orders come.
    """

    delivers: bool = True
    streams: bool = True
    renamed: bool = False
    says_until: bool = False
    skipped: int = 0
    kills: int = 0


def usual_month(days: int = 30) -> list[Day]:
    """Appended, corrected, cancelled, given back, renamed, not delivered, killed."""
    special = {
        3: Day(kills=1),
        7: Day(renamed=True),
        10: Day(kills=2),
        13: Day(delivers=False, streams=False),
        14: Day(delivers=False, streams=False),
        15: Day(delivers=False, streams=False),
        18: Day(says_until=True),
        20: Day(delivers=False, kills=1),
        21: Day(delivers=False),
        25: Day(renamed=True, kills=1),
        28: Day(says_until=True, kills=2),
    }
    return [special.get(number, Day()) for number in range(days)]


@dataclass
class Life:
    """One month of one shop.

    sample: customers that are asked for each day, besides those who ordered today; all if 0.
    events: corrected, cancelled, … orders of each kind and day.
    streaming: without it nothing is streamed.
    planted: what is found where the computation forgets orders on purpose: a comparison that cannot fail is none.
    """

    place: Place
    shop: Shop
    random: random.Random
    sample: int = 0
    events: int = 3
    streaming: bool = True
    say: Callable[[str], None] = print
    delivered: Orders = field(default_factory=dict)
    streamed: Orders = field(default_factory=dict)
    tallies: list[Tally] = field(default_factory=list)
    planted: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        self._stream = Stream(self.place)
        self._file = self.place.root.parent / "deliveries" / "orders.parquet"
        self._snapshot = datetime.min.replace(tzinfo=UTC)
        self._everybody = self.shop.lines["customer_id"].unique().tolist()

    @property
    def kills(self) -> int:
        return self._stream.kills

    def live(self, days: Sequence[Day], last: datetime) -> Tally:
        """All days, one after the other.

        Args:
            last: when the last of them is asked about; the others at that time of theirs.
        """
        ago = list(accumulate((1 + day.skipped for day in reversed(days[1:])), initial=0))[::-1]
        times = [last - timedelta(days=before) for before in ago]
        self.place.clock.set(times[0])
        self._deliver(days[0], "data", "LINES=1")
        self.place.make("features", "materialize")
        self._snapshot_of_build()
        total = Tally()
        with self.place.serving():
            try:
                if self.streaming:
                    self._stream.start()
                for number, (day, at) in enumerate(zip(days, times, strict=True)):
                    self.place.clock.set(at)
                    tally = self.live_one(number, day)
                    self.tallies.append(tally)
                    total.add(tally)
                self.planted = self._forgetting()
            finally:
                self._stream.kill()
        return total

    def _forgetting(self) -> Tally:
        """The last comparison again, but for the streamed orders that are in no file: what it must find."""
        orders = known(self.delivered, {})
        streamed = {customer for customer, order in self.streamed if (customer, order) not in self.delivered}
        return compare(self.place, sorted(streamed), orders, self._snapshot, explained=0) if streamed else Tally()

    def live_one(self, number: int, day: Day) -> Tally:
        now = self.place.clock.now()
        if day.delivers and number:
            self.shop.live_a_day(now, self.events)
            self._deliver(day, "data" if day.renamed else "daily", *(["LINES=1"] if day.renamed else []))
            if day.renamed:
                self.place.make("features", "materialize")
        elif number:  # the file of before is read once more, as whoever schedules it would
            self._end = self._last_day_of(self._lines, now)
            self.place.make("daily")
        self._snapshot_of_build()
        today = self._todays(now) if day.streams and self.streaming else []
        self._stream_orders(today, day.kills)
        tally = compare(
            self.place,
            self._whom([order["customer_id"] for order in today]),
            known(self.delivered, self.streamed),
            self._snapshot,
        )
        self.say(
            f"{now:%Y-%m-%d %H:%M} {'delivered' if day.delivers else 'nothing delivered'}, {len(today)} streamed, "
            f"windows of {self._snapshot:%m-%d}: {tally.answers:,} answers {dict(tally.statuses)}, "
            f"{tally.values:,} values, {tally.different} different, {tally.wrong_ok} wrong and ok, "
            f"{tally.wrong_statuses} other statuses"
        )
        for example in tally.examples:
            self.say(f"    {example}")
        return tally

    def _deliver(self, day: Day, target: str, *options: str) -> None:
        now = self.place.clock.now()
        if day.renamed:
            self._file.unlink(missing_ok=True)
            self._file = self._file.with_name(f"orders-{now:%Y-%m-%d}.parquet")
        lines = self.shop.until(midnight(now))
        self._file.parent.mkdir(parents=True, exist_ok=True)
        partial = self._file.with_suffix(".partial")
        lines.sample(frac=1, random_state=self.random.randrange(2**32)).to_parquet(partial, index=False)
        partial.replace(self._file)
        said = [f"UNTIL={midnight(now):%Y-%m-%dT%H:%M}"] if day.says_until else []
        named = [f"ORDERS={self._file}"] if target == "data" else []
        self._lines, self.delivered = lines, of_lines(lines)
        self._end = midnight(now) if day.says_until else self._last_day_of(lines, now)
        self.place.make(target, *named, *options, *said)

    def _last_day_of(self, lines: pd.DataFrame, now: datetime) -> datetime:
        last = lines["event_timestamp"].max().to_pydatetime()
        return min(midnight(last) + timedelta(days=1), now)

    def _snapshot_of_build(self) -> None:
        newest = max((placed.at_us for placed in self.streamed.values()), default=0)
        streamed = pd.Timestamp(newest, unit="us", tz="UTC").to_pydatetime()
        self._snapshot = snapshot(max(self._end, streamed), self.place.clock.now())

    def _todays(self, now: datetime) -> list[dict[str, object]]:
        orders = self.shop.between(midnight(now), now)
        return [dict(zip(orders.columns, row, strict=True)) for row in orders.itertuples(index=False, name=None)]

    def _stream_orders(self, orders: Sequence[dict[str, object]], kills: int) -> None:
        """In several files, each order once or twice; the stream is killed anywhere among them."""
        if not orders:
            return
        table = pd.DataFrame(orders)
        parts = max(2, 2 * kills)
        for part in range(parts):
            some = table.iloc[part::parts]
            again = table.sample(min(2, len(table)), random_state=part)
            if len(some):
                self._stream.drop(pd.concat([some, again]))
            if part < kills:
                until(lambda: self.random.random() < 0.1, 60)
                self._stream.kill()
                self._stream.start()
                self._stream.kills += 1
        for key, placed in of_lines(table).items():
            self.streamed[key] = placed
        wanted = {order for _, order in self.streamed}
        until(lambda: wanted <= self._stream.orders_done(), STREAM_SECONDS)

    def _whom(self, ordered: Sequence[object]) -> list[str]:
        """Customers to ask for, those of whom no order is left among them."""
        left = set(self.shop.lines["customer_id"])
        gone = [customer for customer in self._everybody if customer not in left]
        some = self.random.sample(self._everybody, self.sample) if self.sample else self._everybody
        return list(dict.fromkeys([*some, *gone, *map(str, ordered), NOBODY]))


def empty(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder
