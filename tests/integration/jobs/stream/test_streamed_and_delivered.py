"""Orders that were streamed, and the orders file that comes after them: each order counts once, with its own data."""

import json
import shutil
from datetime import timedelta

import pytest
import redis

from jobs.errors import JobError
from jobs.features import build as build_features_module
from jobs.features.build import build_features
from jobs.materialization.materialize import materialize
from jobs.materialization.owners import OtherOwnerError
from jobs.stream.micro_batch import BatchRecord
from jobs.stream.order_events import read_json, split_events
from tests.integration.jobs.stream.test_micro_batch import NEW, SOON
from tests.integration.jobs.streaming_shop import HISTORY, MIDNIGHT, NOW, SETTINGS, Order, StreamingShop
from training.churn.data_set_id import count_other_batches
from training.churn.own_orders import write_own
from training.churn.source.orders_file import find_orders


@pytest.fixture
def shop(streaming: StreamingShop) -> StreamingShop:
    """The history has been delivered and materialized, nothing streamed."""
    streaming.orders.orders.unlink()
    delivered(streaming, HISTORY)
    streaming.reset()
    return streaming


def delivered(shop: StreamingShop, orders: list[Order], ids: bool = True) -> None:
    """The orders file that is there from now on."""
    lines = [f"{o}," * ids + f"{c},{at.isoformat()},{amount},1" for o, c, at, amount in orders]
    own = shop.folder / "delivered.csv"
    own.write_text("\n".join(["order_id," * ids + "customer_id,event_timestamp,amount,items", *lines]) + "\n")
    write_own(shop.orders.orders, own, NOW)


def brought_online(shop: StreamingShop) -> None:
    build_features(shop.artefacts, shop.orders, SETTINGS, NOW)
    materialize(shop.artefacts)


def streamed(shop: StreamingShop, number: int, orders: list[Order], **other: object) -> BatchRecord:
    """As JSON; `other` members replace those of each order."""
    lines = [
        json.dumps(
            {"order_id": o, "customer_id": c, "event_timestamp": at.isoformat(), "amount": amount, "items": 1} | other
        )
        for o, c, at, amount in orders
    ]
    table, refused = split_events([read_json(line, NOW, with_ids=False) for line in lines], with_ids=False)
    assert [] == refused
    return shop.batches().process(number, table, (), NOW)


def test_streamed_orders_stay_with_a_file_that_grew_and_count_once_when_they_are_in_it(shop: StreamingShop) -> None:
    shop.process(0, NEW)

    delivered(shop, [*HISTORY, *NEW[:2], ("h-late", "00004", MIDNIGHT - timedelta(days=9), 3.0)])
    brought_online(shop)

    assert 0 == count_other_batches(shop.orders.orders, shop.orders.streamed_orders)
    assert shop.online_from_nothing() == shop.online()
    assert b"brand-new" in b" ".join(shop.online())


@pytest.mark.parametrize("more", [100.0, -5.0])
def test_what_the_next_file_says_of_a_streamed_order_counts_also_in_the_batches_after_it(
    shop: StreamingShop, more: float
) -> None:
    order, customer, at, amount = NEW[0]
    before = spend_of(shop, customer)
    shop.process(0, NEW)
    delivered(shop, [*HISTORY, (order, customer, at, amount + more)])
    brought_online(shop)
    corrected = spend_of(shop, customer)

    shop.process(1, [NEW[0], ("s-next", customer, SOON, 1.0)])

    others = sum(a for o, c, _, a in NEW if c == customer and o != order)
    assert before + amount + more + others == pytest.approx(corrected)
    assert corrected + 1 == pytest.approx(spend_of(shop, customer))
    assert shop.online_from_nothing() == shop.online()


@pytest.mark.parametrize("seen", [True, False], ids=["materialized before", "not materialized before"])
def test_streamed_orders_do_not_outlive_the_data_set_that_they_came_with(shop: StreamingShop, seen: bool) -> None:
    shop.process(0, NEW)
    if seen:
        materialize(shop.artefacts)
    later = timedelta(minutes=1)
    others = [(f"x-{o}", c if int(c) < 20 else f"other-{c}", at + later, a + 1) for o, c, at, a in HISTORY]

    delivered(shop, others)
    brought_online(shop)

    assert shop.online_from_nothing() == shop.online()
    assert b"brand-new" not in b" ".join(shop.online())
    assert 1 == count_other_batches(shop.orders.orders, shop.orders.streamed_orders)
    assert (shop.orders.streamed_orders / "batch=0" / "part-0.parquet").exists()
    assert [] == shop.batches().interrupted()
    again = shop.process(0, NEW)  # now they come with the new data
    assert (4, 0) == (again.orders, again.repeated)
    assert shop.online_from_nothing() == shop.online()


def test_the_rows_of_a_batch_whose_orders_were_removed_go(shop: StreamingShop) -> None:
    """No materialization has ever seen its file."""
    shop.process(0, NEW)
    shutil.rmtree(shop.orders.streamed_orders / "batch=0")

    for _ in range(2):  # of the second build on, its file is in no build that is kept
        build_features(shop.artefacts, shop.orders, SETTINGS, NOW)
    materialize(shop.artefacts)

    assert shop.online_from_nothing() == shop.online()
    assert b"brand-new" not in b" ".join(shop.online())


def test_a_cancelled_last_order_is_gone_online(shop: StreamingShop) -> None:
    last: Order = ("h-last", "00005", MIDNIGHT - timedelta(hours=5), 900.0)
    only: Order = ("h-only", "once", MIDNIGHT - timedelta(hours=6), 700.0)
    delivered(shop, [*HISTORY, last, only])
    brought_online(shop)
    before = shop.online()

    delivered(shop, HISTORY)
    brought_online(shop)

    assert shop.online_from_nothing() == shop.online() != before
    assert b"once" in b" ".join(before)
    assert b"once" not in b" ".join(shop.online())


@pytest.mark.parametrize("called", [{}, {"order_id": "whatever"}, {"order_id": None}])
def test_an_order_without_an_id_that_was_streamed_and_is_in_the_next_file_counts_once(
    shop: StreamingShop, called: dict[str, object]
) -> None:
    """The file has no ids, so those that a stream gives are not looked at."""
    twins: list[Order] = [("", "00007", MIDNIGHT - timedelta(days=8, minutes=1), 5.0)] * 2
    new: list[Order] = [("s-1", "00001", SOON, 20.25), ("s-2", "fresh", SOON, 7.0)]
    delivered(shop, [*HISTORY, *twins], ids=False)
    brought_online(shop)
    before = orders_of(shop, "00001"), orders_of(shop, "00007")

    first = streamed(shop, 0, [*new, *new], **called)
    again = streamed(shop, 1, new, **called)
    assert ((2, 2), (0, 2)) == ((first.orders, first.repeated), (again.orders, again.repeated))
    assert before[0] + 1 == orders_of(shop, "00001")

    delivered(shop, [*new, *HISTORY[::-1], *twins], ids=False)
    brought_online(shop)

    assert 0 == count_other_batches(shop.orders.orders, shop.orders.streamed_orders)
    assert (before[0] + 1, before[1], 1) == (
        orders_of(shop, "00001"),
        orders_of(shop, "00007"),
        orders_of(shop, "fresh"),
    )
    assert shop.online_from_nothing() == shop.online()


def orders_of(shop: StreamingShop, customer: str) -> int:
    return int(lifetime_of(shop, customer, "order_count"))


def spend_of(shop: StreamingShop, customer: str) -> float:
    return lifetime_of(shop, customer, "total_spend")


def lifetime_of(shop: StreamingShop, customer: str, feature: str) -> float:
    return stored_of(shop, customer, f"customer_lifetime:{feature}")


def stored_of(shop: StreamingShop, customer: str, feature: str) -> float:
    from jobs.feature_store import open_feature_store

    store = open_feature_store(shop.artefacts)
    asked = store.get_online_features([feature], [{"customer_id": customer}]).to_dict()
    return float(asked[feature.partition(":")[2]][0])


def test_who_was_taken_for_new_today_and_ordered_before_has_the_windows_of_the_last_midnight(
    shop: StreamingShop,
) -> None:
    def windows() -> tuple[int, float]:
        values = [
            stored_of(shop, "came-late", f"customer_orders_windowed:{name}_7d") for name in ("order_count", "spend")
        ]
        return int(values[0]), values[1]

    shop.process(0, [("s-1", "came-late", MIDNIGHT, 7.5)])
    assert (0, 0.0) == windows()

    shop.process(1, [("s-2", "came-late", MIDNIGHT - timedelta(days=3), 2.0)])
    assert (1, 2.0) == windows()
    shop.process(2, [("s-3", "came-late", MIDNIGHT - timedelta(days=5), 4.0)])
    assert (2, 6.0) == windows()

    brought_online(shop)
    assert (2, 6.0) == windows()
    assert shop.online_from_nothing() == shop.online()


def test_an_order_that_comes_while_the_next_midnights_features_are_built_is_in_them(
    shop: StreamingShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.build(NOW - timedelta(days=1))
    known = find_orders(shop.orders)

    shop.process(0, [("s-1", "00001", MIDNIGHT - timedelta(minutes=10), 20.0)])
    with monkeypatch.context() as patched:
        patched.setattr(build_features_module, "find_orders", lambda _: known)
        brought_online(shop)

    assert shop.online_from_nothing() == shop.online()


@pytest.mark.usefixtures("printed_logs")
def test_the_same_orders_under_another_name_change_nothing_online(
    shop: StreamingShop, capsys: pytest.CaptureFixture[str]
) -> None:
    before = shop.online()
    delivered(shop, HISTORY[::-1])
    shutil.copy(shop.folder / "delivered.csv", shop.folder / f"export-{NOW:%Y-%m-%d}.csv")
    write_own(shop.orders.orders, shop.folder / f"export-{NOW:%Y-%m-%d}.csv", NOW)
    capsys.readouterr()

    brought_online(shop)

    said = capsys.readouterr().out
    assert 2 == said.count(" 0 partitions written")
    assert 2 == said.count(": 0 rows written, 0 already newer")
    assert before == shop.online()


def test_the_stream_does_not_write_over_the_rows_of_another_owner(shop: StreamingShop) -> None:
    other = {"id": "other", "host": "there", "path": "/its/store", "declared": False, "at": "2026-01-01"}
    with redis.Redis.from_url(str(shop.artefacts.redis_url)) as client:
        client.hset("churn:materialized", "owner", json.dumps(other))
    before = shop.online()

    with pytest.raises(OtherOwnerError, match=r"belong to other \(/its/store on there"):
        shop.process(0, NEW)
    with pytest.raises(JobError, match="belong to other"):
        shop.batches().claim()

    assert before == shop.online()
