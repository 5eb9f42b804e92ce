"""What is counted of each answer."""

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry

from service.telemetry.metrics import LiveRuntime, ServiceMetrics, metrics_of_process
from tests.models.fakes import DAY, ORDERS_30D, SPEND
from tests.unit.service.api.test_routing import live_customer
from tests.unit.service.conftest import Api, OpenApi


def counted(api: Api) -> dict[str, float]:
    statuses = ("ok", "degraded", "refused", "unknown_customer")
    return {status: api.metric("model_service_predictions_total", status=status) for status in statuses}


async def test_customers_are_counted_by_status_alone_and_in_batches(open_api: OpenApi) -> None:
    api = open_api(
        {"a": live_customer(), "b": live_customer(spend=None), "c": live_customer(orders_30d=None)},
        policies={ORDERS_30D: {"on_missing": "refuse"}},
    )

    await api.predict_batch("a", "b", "c", "nobody", "a", "nobody")
    batch = counted(api)
    for customer_id in ("a", "b", "c", "nobody"):
        await api.predict(customer_id)
    await api.client.post("/explain", json={"customer_id": "a"})

    assert {"ok": 1, "degraded": 1, "refused": 1, "unknown_customer": 1} == batch, "a customer of a batch counts once"
    assert {"ok": 3, "degraded": 2, "refused": 2, "unknown_customer": 2} == counted(api)


async def test_a_request_that_is_refused_counts_no_customer(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer()})

    await api.predict(7)
    await api.predict("a", features={"nope": 1})

    assert {0} == set(counted(api).values())


async def test_the_share_of_stale_features_can_be_computed(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer(), "b": live_customer(activity_age=3 * DAY)})

    await api.predict_batch("a", "b")
    await api.predict("b", features={SPEND: 1})

    assert 2 == api.metric("model_service_feature_issues_total", feature=ORDERS_30D, state="stale")
    assert 3 == sum(counted(api).values())


async def test_a_call_is_timed_whatever_comes_of_it(open_api: OpenApi) -> None:
    api = open_api({"a": live_customer()})

    for asked in ("a", "nobody", 7):
        await api.predict(asked)

    assert 3 == api.metric("model_service_request_seconds_count", call="predict")
    assert 3 == api.metric("model_service_request_seconds_bucket", call="predict", le="10.0")


async def test_a_path_that_is_not_there_makes_no_series_of_its_own(open_api: OpenApi) -> None:
    """A client could otherwise fill the memory with names."""
    api = open_api({})

    for path in ("/a", "/b", "/c"):
        await api.client.get(path)

    assert 3 == api.metric(
        "model_service_requests_total", call="unknown", outcome="not_found", client="unauthenticated"
    )


def test_a_champion_of_another_name_has_series_of_its_own_and_takes_the_state_over() -> None:
    registry = CollectorRegistry()
    metrics = ServiceMetrics("first", registry)

    def counted(name: str, **labels: str) -> list[float | None]:
        return [registry.get_sample_value(f"model_service_{name}", {"model": m, **labels}) for m in ("first", "second")]

    metrics.live({"name": "first", "version": "1", "role": "champion"})
    metrics.contract_mismatch(True)
    assert ([1, None], [0, None]) == (counted("contract_mismatch"), counted("log_failing"))

    metrics.answered("predict", "ok", "shop", 0.1)
    metrics.age("view", 5.0)
    metrics.live(
        {"name": "second", "version": "7", "role": "champion"}, {"name": "first", "version": "2", "role": "challenger"}
    )
    for _ in range(2):
        metrics.answered("predict", "ok", "shop", 0.1)
        metrics.age("view", 5.0)

    assert [0, 1] == counted("contract_mismatch")
    assert [1, 2] == counted("requests_total", call="predict", outcome="ok", client="shop")
    assert [1, 2] == counted("feature_age_seconds_count", view="view")
    assert [0, None] == counted("model_live", version="1", role="champion")
    assert [1, None] == counted("model_live", version="2", role="challenger")
    assert [None, 1] == counted("model_live", version="7", role="champion")


def test_what_a_live_model_runs_on_is_there_until_it_is_replaced() -> None:
    metrics = ServiceMetrics("small_churn", CollectorRegistry())
    first, second = ({"name": "small_churn", "version": version, "role": "champion"} for version in "12")

    metrics.runtimes(LiveRuntime(first, "scikit-learn", "its trees split categories"))
    metrics.runtimes(LiveRuntime(second, "onnx", ""))

    named = 'model_service_model_runtime_info{model="small_churn"'
    assert {
        named + ',reason="its trees split categories",role="champion",runtime="scikit-learn",version="1"} 0.0',
        named + ',reason="none",role="champion",runtime="onnx",version="2"} 1.0',
    } == {line for line in metrics.exposition().decode().splitlines() if line.startswith(named)}


def test_a_second_service_object_in_a_process_counts_in_the_same_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus_client, "REGISTRY", CollectorRegistry())
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)  # Feast sets it when its server is imported
    metrics_of_process.cache_clear()
    try:
        assert metrics_of_process("churn") is metrics_of_process("churn")
    finally:
        metrics_of_process.cache_clear()
