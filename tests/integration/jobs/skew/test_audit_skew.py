"""The audit of what was served: real rows from a real Redis, scored by the service's predictor, logged and replayed.

Each class of fault is planted where it would arise: in Redis, in the offline store, in the registry, in the contract.
"""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pytest
from prometheus_client import CollectorRegistry

from jobs import feature_store
from jobs.feature_store import apply
from jobs.skew.audit import SkewError
from service.features.guard import GuardedFeatures, LastKnownGood
from service.features.port import OnlineFeatures
from service.telemetry.metrics import ServiceMetrics
from tests.integration.jobs.audited_shop import (
    CUSTOMERS,
    FEW,
    LIFETIME,
    MIDNIGHT,
    NOW,
    RECENCY,
    SPEND,
    WINDOWED,
    FailsLater,
    Shop,
    date_build,
    in_redis,
    of_class,
    some_orders,
    take,
)
from tests.models.churn_model import churn_model
from training.data.dataset import TrainingData


def test_a_clean_run_over_ten_thousand_served_rows_differs_in_nothing(shop: Shop) -> None:
    everybody = [f"{n:05d}" for n in range(1, CUSTOMERS + 1)] + ["nobody"]
    # At three snapshots, between two, and past the TTL of the newest that there is.
    for days in (10, 6, 2.5, 0):
        until = MIDNIGHT - timedelta(days=days)
        shop.fill(until)
        shop.serve(everybody, at=until)

    report = shop.audit(max_unexplained=0, max_moved=0.0)

    assert report["rows"] >= 10_000
    assert report["values"] >= 27 * 10_000
    assert (0, 0, {}) == (report["differences"], report["unexplained"], of_class(report))
    assert (0, 0.0) == (report["moved"]["answers"], report["moved"]["score_max"])
    assert "ok" == report["outcome"]
    assert report["defaulted_alike"] >= 12 * 2_000, "the windowed features of the first time have expired on both sides"
    assert 4 == report["statuses"]["unknown_customer"]


def test_every_replayed_vector_is_that_of_feasts_own_historical_join(shop: Shop) -> None:
    """Feast is the referee: times differ from row to row, ties of event times included."""
    rows = shop.stored(LIFETIME).groupby("customer_id").tail(1).head(3)
    with shop.streamed(LIFETIME, rows.assign(total_spend=77.0, created_timestamp=NOW)):
        shop.fill()
        times = [MIDNIGHT - timedelta(days=40), MIDNIGHT - timedelta(days=2, hours=5), datetime.now(UTC)]
        for at in times:
            shop.serve(at=at)
        audited = shop.audit()
        entities = pd.DataFrame([(customer, at) for at in times for customer in FEW], columns=["customer_id", "at"])
        entities["event_timestamp"] = pd.to_datetime(entities.pop("at"), utc=True).astype("datetime64[us, UTC]")
        joined = TrainingData(shop.artefacts, "churn_v1").features_at(entities).to_numpy(np.float64)
    logged = ds.dataset(shop.artefacts.inference_log).to_table().sort_by([("as_of", "ascending"), ("row", "ascending")])
    served = np.array(logged["inputs"].to_pylist(), dtype=np.float32)
    defaults = np.array([given.default for given in shop.model.contract.inputs], dtype=np.float32)
    by_feast = np.where(np.isnan(joined), defaults, joined.astype(np.float32))

    # Served in the past by rows of today: some differ. Those that the audit says agree are Feast's, and no other.
    assert int(np.not_equal(served, by_feast).sum()) == audited["differences"] > 0


def test_rows_that_were_not_materialized_yet_are_lag_with_its_seconds(shop: Shop) -> None:
    shop.fill(MIDNIGHT - timedelta(hours=12))
    shop.serve()

    report = shop.audit()

    assert {"materialization_lag"} == set(of_class(report))
    # The snapshot of yesterday instead of today's for all; for those who ordered since, their lifetime and recency too.
    assert {name.split("__")[0] for name in report["features"]} == {LIFETIME, WINDOWED, RECENCY}
    assert {86_400.0} <= {example["lag_seconds"] for example in report["examples"]}
    assert report["largest_lag_seconds"] > 86_400


def test_a_row_that_became_known_after_the_decision_is_a_late_event(shop: Shop) -> None:
    shop.fill()
    at = shop.serve()
    last = shop.stored(LIFETIME).groupby("customer_id").tail(1)
    late = last[last["customer_id"] == FEW[0]]
    late = late.assign(total_spend=late["total_spend"] + 5, created_timestamp=at + timedelta(seconds=1))

    with shop.streamed(LIFETIME, late):
        report = shop.audit()

    assert {"late_event": 1} == of_class(report)
    assert [SPEND] == list(report["features"])
    (example,) = report["examples"]
    assert FEW[0] == example["customer_id"]
    assert example["offline"] == pytest.approx(example["served"] + 5)


def test_an_order_that_a_later_build_added_is_a_late_event_by_the_build_before(tmp_path: Path, world: Shop) -> None:
    orders = [*some_orders()[:200], ("00010", MIDNIGHT - timedelta(hours=9), 20.5)]  # windows end with the orders
    shop = world.anew(tmp_path, orders)
    shop.fill()
    shop.serve()
    # A build stamps its rows with the midnight before it: only its name says that this one was made after the decision.
    take(shop.artefacts, [*orders, (FEW[0], MIDNIGHT - timedelta(days=1, hours=3), 9.0)])

    report = shop.audit()

    assert {"late_event"} == set(of_class(report))
    assert {FEW[0]} == {example["customer_id"] for example in report["examples"]}
    assert report["features"].keys() >= {SPEND, f"{RECENCY}__days_since_last_order", f"{WINDOWED}__order_count_7d"}

    shop.serve(at=datetime.now(UTC) + timedelta(seconds=1))  # the new build is there and not materialized
    assert {"late_event", "materialization_lag"} == set(of_class(shop.audit()))


def test_a_default_for_a_row_past_its_ttl_is_told_apart_from_lag(shop: Shop) -> None:
    shop.fill(MIDNIGHT - timedelta(days=4))
    shop.serve()

    report = shop.audit()

    assert {"expired_defaulted", "materialization_lag"} == set(of_class(report))
    windowed = {name: set(counts) for name, counts in report["features"].items() if name.startswith(WINDOWED)}
    assert {"expired_defaulted"} == set().union(*windowed.values())


def test_a_value_that_is_missing_online_only_is_default_used(shop: Shop) -> None:
    shop.fill()
    with in_redis(shop, FEW[1]) as (client, key, field_of):
        client.hdel(key, field_of(SPEND))
        client.hdel(key, *(field for field in client.hkeys(key) if field == f"_ts:{WINDOWED}".encode()))
    shop.serve()

    report = shop.audit()

    assert {"default_used"} == set(of_class(report))
    assert report["features"][SPEND] == {"default_used": 1}


def test_a_customer_who_is_in_the_offline_store_alone_was_not_really_unknown(shop: Shop) -> None:
    shop.fill()
    with in_redis(shop, FEW[1]) as (client, key, _):
        client.delete(key)
    shop.serve([*FEW, "nobody"])

    report = shop.audit()

    assert {"(the whole row)": {"materialization_lag": 1}} == report["features"]
    assert (1, 41) == (report["moved"]["answers"], report["moved"]["rows"])
    assert {"ok": 39, "unknown_customer": 2} == report["statuses"]


def test_values_that_the_request_gave_are_compared_with_nothing(shop: Shop) -> None:
    shop.fill()
    shop.serve(overrides={SPEND: 12345.0})

    report = shop.audit(max_moved=0.0)

    assert {"override": len(FEW)} == of_class(report)
    assert (0, 0) == (report["differences"], report["moved"]["answers"])


def test_swapped_columns_are_a_fault_of_order(shop: Shop) -> None:
    inputs = list(shop.model.contract.inputs)
    inputs[3], inputs[8] = inputs[8], inputs[3]
    swapped = replace(shop.model, contract=shop.model.contract.model_copy(update={"inputs": tuple(inputs)}))
    shop.fill()
    shop.serve(model=swapped)

    report = shop.audit()

    names = {shop.model.contract.feature_names[column] for column in (3, 8)}
    assert {name: {"type_or_order_fault": len(FEW)} for name in names} == report["features"]
    assert report["moved"]["score_max"] > 1e-3
    with pytest.raises(SkewError, match=f"^{2 * len(FEW)} type_or_order_fault: 0 faults are allowed; see "):
        shop.audit(max_faults=0)


@pytest.mark.parametrize("as_what", ["int64", "float16"])
def test_values_stored_under_a_narrower_type_are_a_fault_of_type(shop: Shop, as_what: str) -> None:
    from feast.protos.feast.types.Value_pb2 import Value

    shop.fill()
    spend = shop.stored(LIFETIME).groupby("customer_id").tail(1).set_index("customer_id")["total_spend"]
    values = [float(spend[customer]) for customer in FEW]
    narrower = [int(value) if as_what == "int64" else float(np.float16(value)) for value in values]
    for customer, value in zip(FEW, narrower, strict=True):
        stored = Value(int64_val=value) if isinstance(value, int) else Value(double_val=value)
        with in_redis(shop, customer) as (client, key, field_of):
            client.hset(key, field_of(SPEND), stored.SerializeToString())
    shop.serve()

    report = shop.audit()

    differing = sum(np.float32(a) != np.float32(b) for a, b in zip(values, narrower, strict=True))
    assert differing > 30
    assert {SPEND: {"type_or_order_fault": differing}} == report["features"]


def test_a_changed_on_demand_function_is_found_whichever_side_it_is_on(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feature_store, "feature_repositories", tuple)  # the copy is no other use case
    shop.fill()
    shop.serve()
    repo = tmp_path / "feature_repo"
    shutil.copytree(shop.artefacts.feature_repo, repo)
    definition = repo / "on_demand_feature_views.py"
    definition.write_text(
        definition.read_text().replace("ratio.append(since_last / gap", "ratio.append(since_first / gap")
    )
    apart = {"feast_registry": str(tmp_path / "registry.db"), "use_case": tmp_path}
    changed = shop.artefacts.model_copy(update=apart)
    apply(changed)
    ratio = f"{RECENCY}__recency_over_mean_gap"

    after_the_decisions = replace(shop, artefacts=changed).audit()
    shutil.rmtree(shop.artefacts.inference_log)
    newer = replace(shop, artefacts=changed, model=churn_model(changed, tmp_path / "newer"))
    newer.serve()
    before_the_decisions = replace(newer, artefacts=shop.artefacts.model_copy()).audit()

    for report in (after_the_decisions, before_the_decisions):
        assert [ratio] == list(report["features"])
        assert {"transformation_changed"} == set(of_class(report))
        assert ["customer_recency"] == [re.search(r"view (\w+)", note)[1] for note in report["notes"]]  # type: ignore[index]


def test_values_that_were_computed_otherwise_under_the_same_event_time_are_a_changed_transformation(shop: Shop) -> None:
    from feast.protos.feast.types.Value_pb2 import Value

    shop.fill()
    with in_redis(shop, FEW[2]) as (client, key, field_of):
        client.hset(key, field_of(SPEND), Value(double_val=123_456.5).SerializeToString())
    shop.serve()

    assert {SPEND: {"transformation_changed": 1}} == shop.audit()["features"]


def test_last_known_good_values_are_named_cached(shop: Shop) -> None:
    shop.fill(MIDNIGHT - timedelta(hours=12))
    failing: list[FailsLater] = []

    def through(features: OnlineFeatures) -> OnlineFeatures:
        failing.append(FailsLater(features))
        metrics = ServiceMetrics("small_churn", CollectorRegistry())
        return GuardedFeatures(failing[0], 5.0, metrics, LastKnownGood(100, 60.0))

    shop.serve([*FEW[:5], *[f"{n:05d}" for n in range(1000, 1095)], *FEW[:5]], through=through)

    report = shop.audit()
    cached = pc.sum(pc.is_valid(ds.dataset(shop.artefacts.inference_log).to_table()["cached_seconds"])).as_py()
    assert 5 == cached
    assert {"cached", "materialization_lag"} == set(of_class(report))


@pytest.mark.parametrize(
    ("built", "kind"),
    [
        (timedelta(days=2, hours=-2), "missed_build"),
        (timedelta(days=1, hours=3), "not_built_yet"),
        (timedelta(days=1, hours=-2), "late_event"),
    ],
    ids=["two days ago", "yesterday before the snapshot", "yesterday after the snapshot"],
)
def test_what_a_build_did_not_have_is_late_only_if_the_build_came_after_it(
    tmp_path: Path, world: Shop, built: timedelta, kind: str
) -> None:
    """Yesterday at 21:00 the snapshot of that day's midnight, with an order of before it, is not there yet."""
    orders = some_orders()[:200]
    shop = world.anew(tmp_path, [order for order in orders if order[1] < MIDNIGHT - timedelta(days=3)])
    made = MIDNIGHT - built
    shutil.rmtree(shop.artefacts.offline_store)
    take(shop.artefacts, orders, made)
    date_build(shop.artefacts, made)
    decided = MIDNIGHT - timedelta(hours=3)
    shop.fill(decided)
    shop.serve([*FEW[:5], "new"], at=decided)
    # Of before the midnight that the snapshot is of, and after the build of two days ago.
    added = MIDNIGHT - timedelta(days=1, minutes=30)
    take(shop.artefacts, [*orders, (FEW[0], added, 9.0), ("new", added, 7.0)])

    report = shop.audit()

    assert {kind} == set(of_class(report))
    assert {SPEND, f"{WINDOWED}__order_count_7d", "(the whole row)"} <= report["features"].keys()
    assert (0, 0) == (report["unexplained"], report["faults"])
    if kind != "late_event":  # what a lost build had said cannot be proved; that none was made can
        take(
            shop.artefacts,
            [*orders, (FEW[0], added, 9.0), ("new", added, 7.0), (FEW[9], MIDNIGHT - timedelta(hours=1), 5.0)],
        )
        assert {kind} == set(of_class(shop.audit())), "the build before the decision is kept no more"


@pytest.mark.parametrize("shift", [timedelta(hours=-1), timedelta(minutes=2)], ids=["an hour back", "within the skew"])
@pytest.mark.parametrize("view", [LIFETIME, WINDOWED])
def test_event_times_that_are_shifted_are_a_fault_though_no_value_differs(
    shop: Shop, view: str, shift: timedelta
) -> None:
    shop.fill()
    shift_event_times(shop, FEW[:3], view, shift)
    shop.serve()

    report = shop.audit()

    names = {name for name in shop.model.contract.feature_names if name.startswith(view)}
    computed = {name for name in shop.model.contract.feature_names if name.startswith(RECENCY)}
    assert {name: {"event_time_fault": 3} for name in names | (computed if view == LIFETIME else set())} == (
        report["features"]
    )
    assert (0, 0.0) == (report["moved"]["answers"], report["moved"]["score_max"])
    with pytest.raises(SkewError, match=r"^\d+ event_time_fault: 0 faults are allowed"):
        shop.audit(max_faults=0)


def test_an_event_time_of_tomorrow_is_not_fresh_and_the_audit_names_it(shop: Shop) -> None:
    """The guarded service answers 503 for such a row. Here it is read unguarded: its values are missing."""
    shop.fill()
    shift_event_times(shop, FEW[:3], WINDOWED, timedelta(days=1, hours=23))
    shop.serve()
    logged = ds.dataset(shop.artefacts.inference_log).to_table().to_pylist()
    column = shop.model.contract.feature_names.index(f"{WINDOWED}__spend_90d")

    report = shop.audit()

    assert {"missing"} == {row["states"][column] for row in logged if row["customer_id"] in FEW[:3]}
    assert {"fresh"} == {row["states"][column] for row in logged if row["customer_id"] not in FEW[:3]}
    assert {"event_time_fault": 12 * 3} == of_class(report)
    (evidence,) = report["evidence"]
    assert evidence["evidence"].endswith("it lies after the decision")


def test_an_event_time_that_makes_a_row_expire_and_that_nobody_stored_is_no_missed_materialization(shop: Shop) -> None:
    shop.fill()
    shift_event_times(shop, FEW[:3], WINDOWED, timedelta(days=-2, hours=-5))
    shop.serve()

    assert {"event_time_fault": 12 * 3} == of_class(shop.audit())


ON_DEMAND_INPUTS = ("first_order_unix_us", "last_order_unix_us", "mean_gap_days")


@pytest.mark.parametrize(
    "zeroed", [ON_DEMAND_INPUTS, ON_DEMAND_INPUTS[:2], ON_DEMAND_INPUTS[1:2], ON_DEMAND_INPUTS[2:]], ids="+".join
)
def test_zeroed_inputs_of_an_on_demand_view_are_named_so(shop: Shop, zeroed: tuple[str, ...]) -> None:
    shop.fill()
    zero(shop, FEW[:20], *zeroed)
    shop.serve()

    report = shop.audit()

    assert {"zeroed_input"} == set(of_class(report))
    assert {name for name in report["features"] if name.startswith(RECENCY)}
    with pytest.raises(SkewError, match=r"^\d+ zeroed_input: 0 faults are allowed"):
        shop.audit(max_faults=0)


def test_a_zeroed_stored_value_is_named_so_and_not_a_cut_one(shop: Shop) -> None:
    shop.fill()
    zero(shop, FEW[:20], "total_spend", "mean_order_value")
    shop.serve()

    names = (SPEND, f"{LIFETIME}__mean_order_value")
    assert {name: {"zeroed_input": 20} for name in names} == shop.audit()["features"]


def test_a_row_that_nobody_stored_is_unexplained(shop: Shop) -> None:
    from feast.protos.feast.types.Value_pb2 import Value

    shop.fill()
    shift_event_times(shop, FEW[:1], LIFETIME, timedelta(hours=-1))
    with in_redis(shop, FEW[0]) as (client, key, field_of):
        client.hset(key, field_of(SPEND), Value(double_val=123_456.5).SerializeToString())
    shop.serve()

    assert {SPEND: {"unexplained": 1}} == shop.audit()["features"]


def shift_event_times(shop: Shop, customers: Sequence[str], view: str, by: timedelta) -> None:
    """The times of a view's rows in Redis; their values stay."""
    from google.protobuf.timestamp_pb2 import Timestamp

    for customer in customers:
        with in_redis(shop, customer) as (client, key, _):
            at = Timestamp.FromString(client.hget(key, f"_ts:{view}"))
            at.FromMicroseconds(at.ToMicroseconds() + by // timedelta(microseconds=1))
            client.hset(key, f"_ts:{view}", at.SerializeToString())


def zero(shop: Shop, customers: Sequence[str], *fields: str) -> None:
    """Values of `customer_lifetime` in Redis, of the type that they have."""
    from feast.protos.feast.types.Value_pb2 import Value

    for customer in customers:
        with in_redis(shop, customer) as (client, key, field_of):
            for name in fields:
                field = field_of(f"{LIFETIME}__{name}")
                kind = Value.FromString(client.hget(key, field)).WhichOneof("val")
                zeroed = Value(int64_val=0) if kind == "int64_val" else Value(double_val=0.0)
                client.hset(key, field, zeroed.SerializeToString())
