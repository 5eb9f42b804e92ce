"""A micro-batch: every order counts once in the features, every customer it touches is scored once, whatever fails."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import redis

from contract.tasks import TaskKind
from jobs.batch.score_batch import BatchRequest, score_batch
from jobs.errors import JobError
from jobs.features.build import build_features
from jobs.materialization.materialize import materialize
from jobs.stream.micro_batch import StreamBatches
from jobs.stream.order_events import RefusedEvent
from tests.integration.jobs.streaming_shop import HISTORY, MIDNIGHT, NOW, SETTINGS, Order, StreamingShop, orders_table
from tests.loop import free_port
from tests.models.churn_model import task_model_of

SOON = NOW - timedelta(minutes=5)
NEW: list[Order] = [
    ("s-1", "00001", SOON, 20.0),
    ("s-2", "00001", SOON + timedelta(minutes=1), 5.0),
    ("s-3", "brand-new", SOON, 7.5),
    ("s-4", "00002", MIDNIGHT - timedelta(days=3), 30.0),  # late: snapshots after it change
]


@pytest.fixture
def shop(streaming: StreamingShop) -> StreamingShop:
    streaming.reset()
    return streaming


def scored(shop: StreamingShop) -> dict[int, list[str]]:
    return {batch: [row["customer_id"] for row in rows] for batch, rows in shop.predictions().items()}


def test_orders_change_their_customers_features_as_a_build_from_nothing_would(shop: StreamingShop) -> None:
    before = shop.online()

    made = shop.process(0, NEW)

    assert (4, 0, 0, 3) == (made.orders, made.repeated, made.late, made.customers)
    assert shop.online_from_nothing() == shop.online()
    assert 3 == len([key for key, fields in shop.online().items() if before.get(key) != fields])


def test_the_customers_of_a_batch_are_scored_once_each_with_what_is_now_known(shop: StreamingShop) -> None:
    made = shop.process(0, NEW)

    (rows,) = shop.predictions().values()
    by_customer = {row["customer_id"]: row for row in rows}
    assert ["00001", "00002", "brand-new"] == [row["customer_id"] for row in rows]
    assert {NOW} == {row["as_of"] for row in rows}
    assert "ok" == by_customer["00001"]["status"]
    assert ("ok", []) == (by_customer["brand-new"]["status"], by_customer["brand-new"]["feature_issues"])
    assert {"ok": 3, "degraded": 0, "refused": 0, "unknown_customer": 0} == made.statuses


@pytest.mark.parametrize("kind", ["multiclass", "regression"])
def test_each_task_writes_its_own_outputs_as_a_batch_does(shop: StreamingShop, tmp_path: Path, kind: TaskKind) -> None:
    model = task_model_of(shop.model, kind, tmp_path / "model")
    replace(shop, model=model).process(0, NEW)

    batch = score_batch(shop.artefacts, model, BatchRequest(NOW, tmp_path / "out"), NOW).partition
    whole = {row["customer_id"]: row for row in pq.read_table(next(batch.glob("*.parquet"))).to_pylist()}
    (rows,) = shop.predictions().values()
    assert 3 == len(rows)
    for row in rows:
        for output in model.contract.outputs:
            assert row[output.name] is not None
            assert whole[row["customer_id"]][output.name] == (
                row[output.name] if output.kind == "class" else pytest.approx(row[output.name], rel=1e-5)
            )


def test_who_is_new_today_lacks_nothing_before_todays_build_either(shop: StreamingShop) -> None:
    tomorrow = NOW + timedelta(days=1)
    just_now = tomorrow - timedelta(minutes=5)

    made = shop.process(0, [("s-1", "00001", just_now, 20.0), ("s-3", "brand-new", just_now, 7.5)], now=tomorrow)

    assert {"ok": 2, "degraded": 0, "refused": 0, "unknown_customer": 0} == made.statuses
    (rows,) = shop.predictions().values()
    assert [[], []] == [row["feature_issues"] for row in rows]


def test_an_order_that_was_delivered_before_changes_nothing_and_is_counted(shop: StreamingShop) -> None:
    shop.process(0, [*NEW, NEW[0]])
    before = shop.online()

    made = shop.process(1, [NEW[0], HISTORY[0], ("s-5", "00003", SOON, 1.0), ("s-5", "00003", SOON, 1.0)])

    assert (1, 3, 1) == (made.orders, made.repeated, made.customers)
    assert {0: ["00001", "00002", "brand-new"], 1: ["00003"]} == scored(shop)
    assert 1 == len([key for key, fields in shop.online().items() if before.get(key) != fields])
    assert shop.online_from_nothing() == shop.online()


def test_an_order_behind_the_watermark_is_counted_and_waits_for_the_next_build(shop: StreamingShop) -> None:
    too_late = ("s-9", "00004", NOW - timedelta(days=31), 99.0)
    before = shop.online()

    made = shop.process(0, [too_late])

    assert (1, 1, 0) == (made.orders, made.late, made.customers)
    assert before == shop.online()
    build_features(shop.artefacts, shop.orders, SETTINGS, NOW)
    materialize(shop.artefacts, NOW)
    assert before != shop.online()
    assert shop.online_from_nothing() == shop.online()


def test_a_build_and_a_materialization_after_batches_change_nothing_that_is_served(shop: StreamingShop) -> None:
    shop.process(0, NEW)
    streamed = shop.online()

    materialize(shop.artefacts, NOW, full=True)
    assert streamed == shop.online()
    build_features(shop.artefacts, shop.orders, SETTINGS, NOW)
    materialize(shop.artefacts, NOW, full=True)
    assert streamed == shop.online()


def test_what_is_no_order_is_kept_with_its_reason_and_the_rest_goes_on(shop: StreamingShop) -> None:
    made = shop.process(0, NEW[:1], (RefusedEvent("{", "is not JSON"), RefusedEvent("[]", "is not a JSON object")))

    assert (1, 2) == (made.orders, made.refused)
    assert [{"event": "{", "reason": "is not JSON"}, {"event": "[]", "reason": "is not a JSON object"}] == (
        shop.dead_letters()
    )
    assert {0: ["00001"]} == scored(shop)


def test_a_batch_of_nothing_writes_nothing(shop: StreamingShop) -> None:
    before = shop.online()

    made = shop.process(0, [])

    assert (0, {}) == (made.orders, made.statuses)
    assert (before, {}, []) == (shop.online(), scored(shop), shop.dead_letters())


STEPS = ("_write_dead_letters", "_store_orders", "_feature_rows", "_write_features", "_add", "_score")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_batch_that_is_cut_off_at_any_step_is_done_again_and_counts_once(
    shop: StreamingShop, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    refused = (RefusedEvent("{", "is not JSON"),)
    with monkeypatch.context() as patched:
        patched.setattr(StreamBatches, step, _cut_off(getattr(StreamBatches, step), when))
        with pytest.raises(KeyboardInterrupt):
            shop.process(0, NEW, refused)

    shop.process(0, NEW, refused, now=NOW + timedelta(seconds=1))

    assert {0: ["00001", "00002", "brand-new"]} == scored(shop)
    assert 1 == len(shop.dead_letters())
    assert shop.online_from_nothing() == shop.online()


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", ["_feature_rows", "_write_features", "_score"])
def test_a_batch_that_was_cut_off_is_finished_by_what_it_took_in_if_the_checkpoint_is_gone(
    shop: StreamingShop, monkeypatch: pytest.MonkeyPatch, step: str, when: str
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(StreamBatches, step, _cut_off(getattr(StreamBatches, step), when))
        with pytest.raises(KeyboardInterrupt):
            shop.process(0, NEW)
    restarted = shop.batches()

    for number in restarted.interrupted():
        restarted.process_again(number, NOW)
    again = restarted.process(1, orders_table([*NEW, ("s-5", "00003", SOON, 1.0)]), (), NOW)

    assert ([], 1, 4) == (restarted.interrupted(), again.orders, again.repeated)
    assert {0: ["00001", "00002", "brand-new"], 1: ["00003"]} == scored(shop)
    assert shop.online_from_nothing() == shop.online()


def test_a_number_that_is_given_to_other_orders_takes_none_away(shop: StreamingShop) -> None:
    shop.process(0, NEW[:2])
    shop.process(0, NEW[2:])
    shop.process(0, [("s-5", "00001", SOON, 1.0)])

    files = shop.orders.streamed_orders.glob("batch=0/*.parquet")
    assert ["s-1", "s-2", "s-3", "s-4", "s-5"] == [i for f in files for i in pq.read_table(f)["order_id"].to_pylist()]
    assert shop.online_from_nothing() == shop.online()


def _cut_off(step: Callable[..., Any], when: str) -> Callable[..., Any]:
    def cut(*arguments: Any) -> Any:
        if when == "after":
            step(*arguments)
        raise KeyboardInterrupt

    return cut


def test_a_batch_that_cannot_reach_redis_says_so_and_can_be_done_again(
    shop: StreamingShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    batches = shop.batches()
    with monkeypatch.context() as patched:
        patched.setattr(batches, "_client", redis.Redis(port=free_port()))
        with pytest.raises(JobError, match="Redis did not answer"):
            batches.process(0, orders_table(NEW), (), NOW)
        assert {} == scored(shop)

    batches.process(0, orders_table(NEW), (), NOW)

    assert {0: ["00001", "00002", "brand-new"]} == scored(shop)
    assert shop.online_from_nothing() == shop.online()
