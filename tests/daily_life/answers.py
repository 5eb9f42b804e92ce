"""What the service answered, value by value, held against what it should have."""

import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from artefacts.log_rows import log_files
from scoring.inference_log import read_log
from tests.daily_life.expected import Expected, Placed, expected, same, unix_us
from tests.daily_life.place import Place
from tests.servers.redis_servers import until

AT_ONCE = 500
EXAMPLES = 5


@dataclass
class Tally:
    """What was compared.

    answers: of customers, unknown ones among them.
    values: model inputs that were compared.
    different: of these, the ones that are not as computed, of another age, or said to be what they are not.
    wrong_ok: answers that said `ok` though one of their values is different, too old or of nobody.
    defaulted: values for which the contract's default stood in, in answers that said so.
    """

    answers: int = 0
    values: int = 0
    different: int = 0
    wrong_ok: int = 0
    wrong_statuses: int = 0
    defaulted: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)

    def add(self, other: "Tally") -> None:
        for name in ("answers", "values", "different", "wrong_ok", "wrong_statuses", "defaulted"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.statuses.update(other.statuses)
        self.examples = [*self.examples, *other.examples][:EXAMPLES]

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "statuses": dict(self.statuses)}

    def differs(self, what: str) -> None:
        self.different += 1
        if len(self.examples) < EXAMPLES:
            self.examples.append(what)


def compare(
    place: Place, customers: Sequence[str], orders: Mapping[str, list[Placed]], snapshot: datetime, explained: int = 3
) -> Tally:
    """Ask for customers and compare every value that the service says it gave its model.

    Args:
        orders: customer → orders that are known.
        snapshot: the midnight of the windows.
        explained: of so many customers `/explain` is compared, too.
    """
    names = [one["name"] for one in call_model(place)["contract"]["inputs"]]
    asked = {f"{uuid.uuid4()}": customers[start : start + AT_ONCE] for start in range(0, len(customers), AT_ONCE)}
    said: dict[str, str] = {}
    for request_id, some in asked.items():
        answer = place.ask("/predict_batch", request_id, {"customer_ids": list(some)})
        assert answer.status == 200, answer.body
        said.update({row["customer_id"]: row["status"] for row in answer.body["predictions"]})
    rows = _logged(place.root / "var" / "inference_log", asked)
    assert sorted(said) == sorted(row["customer_id"] for row in rows)
    tally = Tally()
    for row in rows:
        assert row["status"] == said[row["customer_id"]]
        right = expected(orders.get(row["customer_id"], ()), unix_us(row["as_of"]), unix_us(snapshot))
        tally.add(_compared(row, names, right))
    for customer in [customer for customer in customers if said[customer] == "ok"][:explained]:
        tally.add(_explained(place, customer, orders[customer], snapshot))
    return tally


def call_model(place: Place) -> dict[str, Any]:
    from tests.loop import call

    found: dict[str, Any] = call(place.url, "GET", "/model").body
    return found


def _logged(folder: Path, asked: Mapping[str, Sequence[str]]) -> list[dict[str, Any]]:
    wanted = sum(map(len, asked.values()))
    found: list[dict[str, Any]] = []

    def all_there() -> bool:
        tables = [
            table.filter(pa.compute.is_in(table["request_id"], pa.array(list(asked))))
            for table in map(read_log, log_files(folder))
        ]
        found[:] = [row for table in tables for row in table.to_pylist()]
        return len(found) == wanted

    until(all_there, 30)
    return found


def _compared(row: Mapping[str, Any], names: Sequence[str], right: Expected | None) -> Tally:
    status, customer = row["status"], row["customer_id"]
    tally = Tally(answers=1, statuses=Counter([status]))
    should = "unknown_customer" if right is None else "degraded" if right.stale else "ok"
    if right is None:
        if status != should:
            tally.differs(f"{customer}: {status}, and has no order")
    elif row["inputs"] is None:
        tally.differs(f"{customer}: {status}, and has orders")
    else:
        columns = zip(names, row["inputs"], row["event_timestamps"], row["states"], row["defaulted"], strict=True)
        for name, value, event, state, defaulted in columns:
            _compare_value(
                tally, customer, right, name, value, None if event is None else unix_us(event), state, defaulted
            )
    tally.wrong_statuses += status != should
    tally.wrong_ok += status == "ok" and (tally.different > 0 or should != "ok")
    return tally


def _compare_value(
    tally: Tally,
    customer: str,
    right: Expected,
    name: str,
    value: float,
    event_us: int | None,
    state: str,
    defaulted: bool,
) -> None:
    view = name.split("__")[0]
    stale = right.stale and view == "customer_orders_windowed"
    tally.values += 1
    tally.defaulted += defaulted
    if state != ("stale" if stale else "fresh"):
        tally.differs(f"{customer} {name}: {state}")
    elif event_us != right.event_us[view]:
        tally.differs(f"{customer} {name}: event time {event_us}, expected {right.event_us[view]}")
    elif not defaulted and not same(value, right.values[name]):
        tally.differs(f"{customer} {name}: {value!r}, expected {right.values[name]!r}")


def _explained(place: Place, customer: str, orders: Iterable[Placed], snapshot: datetime) -> Tally:
    before = unix_us(place.clock.now())
    answer = place.ask("/explain", f"{uuid.uuid4()}", {"customer_id": customer})
    after = unix_us(place.clock.now())
    assert answer.status == 200, answer.body
    tally = Tally(answers=1, statuses=Counter([answer.body["status"]]))
    known = list(orders)
    early, late = (expected(known, at, unix_us(snapshot)) for at in (before - 2_000_000, after + 2_000_000))
    for one in answer.body["contributions"]:
        tally.values += 1
        name, value = one["feature"], one["value"]
        low, high = sorted(right.values[name] for right in (early, late) if right is not None)
        if not (low <= value <= high or same(low, value) or same(high, value)):
            tally.differs(f"{customer} {name}: /explain says {value!r}, expected {low!r} to {high!r}")
    tally.wrong_ok += answer.body["status"] == "ok" and tally.different > 0
    return tally
