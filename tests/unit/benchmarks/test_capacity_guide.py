from typing import Any

import pytest
import yaml

from artefacts.addresses import PROJECT_ROOT
from benchmarks.online.capacity_guide import BUSY, capacity_guide, planned_rate
from benchmarks.results import load_all
from tests.unit.benchmarks.test_report import ABOUT


def rate(per_second: float, cores: float, redis_us: float = 20.0) -> dict[str, float]:
    return {"rate": per_second, "requests_per_second": per_second, "server_cores": cores, "redis_us": redis_us}


def document() -> dict[str, Any]:
    def of(**scenarios: float) -> dict[str, Any]:
        unit = {"single_32": "requests_per_second", "batch_100_4": "predictions_per_second"}
        return {"scenarios": {name: {unit[name]: {"median": value}} for name, value in scenarios.items()}}

    size = {
        "features": {"offline_bytes": 200e6, "duckdb": {"peak_rss_mb": 1400.0}},
        "materialization": {
            "ours": {"rows": 2e6, "rows_per_second": 40e3, "peak_rss_mb": 500.0},
            "redis": {"used_mb": 501.0, "empty_mb": 1.0, "customers": 1e6},
        },
        "day": {"materialize": {"rows": 1e6, "rows_per_second": 50e3}},
    }
    return {
        "capacity": {
            **ABOUT,
            "rates": [rate(1000, 0.4), rate(2000, 0.8, redis_us=25.0)],
            "batch": {"redis_us": 5.0},
            "memory_mb": 400.0,
        },
        "jobs": {"sizes": {"1000000": size}},
        "online": {"peers": {"ours": of(single_32=8000.0, batch_100_4=70_000.0)}},
        "beside": {"variants": {"ours": of(single_32=8000.0), "log": of(single_32=6000.0)}},
    }


def test_replicas_cores_and_redis_follow_from_what_was_measured() -> None:
    guide = " ".join(capacity_guide(document()).split())

    # 0.6 of a core lies between 1,000 and 2,000 requests/s: 1,500. Redis: 25 µs each.
    assert "full at 1,500 requests/s" in guide
    assert "With the inference log, a replica reaches 75% of the rate" in guide
    assert "| 100 | 2 | 2 | 0.8 GB | 0.2% | 1 |" in guide
    assert "| 5,000 | 5 | 5 | 2.0 GB | 12.5% | 1 |" in guide
    assert "| 100,000 | 68 | 68 | 27.2 GB | 250.0% | 5 |" in guide


def test_memory_and_times_grow_with_the_customers() -> None:
    guide = capacity_guide(document())

    # 500 bytes a customer in Redis, 200 in the offline store, 2 rows at 40,000/s, 1 row a day at 50,000/s
    assert "| 1,000,000 | 0.50 GB | 0.7 GB | 50 s | 20 s | 0.2 GB |" in guide
    assert "| 50,000,000 | 25.00 GB | 35.7 GB | 42 min | 17 min | 10.0 GB |" in guide


@pytest.mark.parametrize("missing", ["capacity", "jobs", "online", "beside"])
def test_a_guide_needs_every_measurement(missing: str) -> None:
    measured = document()
    del measured[missing]

    assert capacity_guide(measured) == "Not measured yet."


def test_a_replica_that_never_filled_its_core_is_planned_with_the_highest_rate_that_was_tried() -> None:
    assert planned_rate([rate(1000, 0.2), rate(4000, 0.5)]) == 4000
    assert planned_rate([rate(1000, 0.4), rate(2000, 0.6), rate(3000, 0.8)]) == 2000


def test_the_chart_s_replicas_are_as_large_and_scaled_as_the_guide_says() -> None:
    values = yaml.safe_load((PROJECT_ROOT / "deploy/helm/model-service/values.yaml").read_text())
    requests = values["service"]["resources"]["requests"]
    memory = load_all()["capacity"]["memory_mb"]

    assert values["autoscaling"]["targetCPUPercent"] == pytest.approx(100 * BUSY)
    assert (requests["cpu"], requests["memory"]) == ("1", "768Mi")
    assert memory < 768 * 1.048576 * 0.8
