import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.jobs.orders import NewOrders
from benchmarks.jobs.report import bytes_in_redis, jobs_section
from benchmarks.jobs.scale import per_customer, scale_figures
from benchmarks.jobs.scenarios import stages
from benchmarks.jobs.scratch import JOBS_SETTINGS, _own_artefacts
from benchmarks.jobs.stream import batch_lines
from benchmarks.jobs.targets import TARGETS, jobs_verdicts
from benchmarks.load.process_usage import StepError
from jobs.stream.order_events import read_json
from tests.unit.benchmarks.test_report import ABOUT
from tests.unit.benchmarks.test_targets import verdict
from training.churn.source.addresses import OrderAddresses

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def cost(seconds: float, mb: float = 400.0) -> dict[str, float]:
    return {"seconds": seconds, "cpu_seconds": seconds, "peak_rss_mb": mb}


def written(rows: int, seconds: float, mb: float = 400.0) -> dict[str, Any]:
    rates = {"rows_per_second": rows / seconds, "rows_per_second_of_command": rows / (seconds + 5)}
    return {**cost(seconds + 5, mb), "rows": rows, "working_seconds": seconds, **rates}


def one_size(customers: int, everything: bool = True) -> dict[str, Any]:
    scored = {"rows": customers, "read_seconds": 1.0, "score_seconds": 2.0, "write_seconds": 0.5}
    found: dict[str, Any] = {
        "features": {
            "orders": 2 * customers,
            "data": cost(2),
            "duckdb": {**cost(1 + customers / 1e5), "rows": 3 * customers},
            "offline_bytes": 100 * customers,
        },
        "materialization": {
            "ours": written(2 * customers, customers / 20_000),
            "redis": {"used_mb": 1 + customers * 500 / 1e6, "rss_mb": 2.0, "empty_mb": 1.0, "customers": customers},
        },
        "day": {"orders": customers // 250, "features": cost(1), "materialize": written(customers, 2)},
        "batch": {"ours": {**cost(9), **scored, "customers_per_second": 150_000.0}},
    }
    if everything:
        found["materialization"]["stock"] = {
            **written(2 * customers, customers / 4_000, 3000.0),
            "outcome": "done",
            "start_up_seconds": 5.0,
        }
        found["batch"]["one_core"] = found["batch"]["ours"]
        found["stream"] = {
            "orders_per_second": 9000.0,
            "lag_p50_seconds": 1.0,
            "lag_max_seconds": 2.5,
            "batch_p50_seconds": 0.5,
            "peak_rss_mb": 1400.0,
        }
    return found


def measured(**changes: Any) -> dict[str, Any]:
    sizes = {str(size): one_size(size) for size in (200_000, 1_000_000)}
    sizes["5000000"] = one_size(5_000_000, everything=False)
    document = {**ABOUT, "model": "churn:v1", "settings": JOBS_SETTINGS, "without_spark": None, "sizes": sizes}
    return {**document, "targets": jobs_verdicts(sizes), **changes}


def test_jobs_that_meet_every_target_say_so() -> None:
    found = measured()["targets"]

    assert [target["met"] for target in found] == [True] * len(TARGETS)
    assert verdict(found, "materialization of 200,000 customers, rows/s: ours ÷ stock")["median"] == pytest.approx(5)


def test_memory_counts_at_the_worst_size() -> None:
    sizes = measured()["sizes"]
    sizes["5000000"]["materialization"]["ours"]["peak_rss_mb"] = 1001.0

    found = verdict(jobs_verdicts(sizes), "materialization, peak memory of the job at any size")

    assert (found["median"], found["met"]) == (pytest.approx(1.001), False)


def test_the_slowest_order_counts() -> None:
    sizes = measured()["sizes"]
    sizes["200000"]["stream"]["lag_max_seconds"] = 10.5

    found = jobs_verdicts(sizes)

    assert not found[-1]["met"]
    assert found[-1]["median"] == 10.5


def test_a_stock_tool_that_did_not_end_is_not_compared_but_said() -> None:
    document = measured()
    stock = {**cost(900, 24_000), "outcome": "not done after 900 s", "start_up_seconds": 6.0}
    document["sizes"]["1000000"]["materialization"]["stock"] = stock
    document["targets"] = jobs_verdicts(document["sizes"])

    text = jobs_section(document)

    assert "1,000,000 customers, rows/s: ours ÷ stock | ≥ 4 × | – | not measured |" in text
    assert "| 1,000,000 | `feast materialize`: **not done after 900 s** | – | 900.0 | – | – | – | 24,000 |" in text


def test_nothing_measured_meets_nothing() -> None:
    assert not any(target["met"] for target in jobs_verdicts({}))
    assert jobs_section(None) == "## Jobs\n\nNot measured yet.\n"


def test_the_page_shows_what_every_size_cost() -> None:
    text = jobs_section(measured())

    assert "| 200,000 | `make materialize` | 400,000 | 15.0 | 10.0 | 40,000 | 26,667 | 400 |" in text
    assert "| features, DuckDB | 15.0, 2,000 | 11.0, 400 | 10.2, 80 |" in text
    assert "500 bytes at 5,000,000" in " ".join(text.split())  # lines are broken anywhere
    assert "| 1,000,000 | 9,000 | 1.00 | 2.50 | 0.50 | 1,400 |" in text


def test_without_java_the_page_says_what_is_missing() -> None:
    text = jobs_section(measured(without_spark="Spark needs Java 17 or later, and there is no java on the PATH"))

    assert "Not measured: Spark needs Java 17 or later, and there is no java on the PATH." in text


def test_one_more_customer_costs_what_the_growth_says() -> None:
    sizes = measured()["sizes"]

    assert per_customer(sizes, "features", "duckdb", "cpu_seconds") == pytest.approx(1e-5)
    assert per_customer({"200000": sizes["200000"]}, "features", "data", "seconds") == pytest.approx(1e-5)
    assert per_customer(sizes, "features", "absent") is None
    assert bytes_in_redis(sizes["200000"]) == pytest.approx(500)


def test_the_plan_is_computed_from_the_largest_size() -> None:
    text = scale_figures(measured())

    # 500 bytes × 10⁹ on nodes of 22.4 GB, and each twice
    assert "| Redis, data | 500 bytes × 10⁹ | 500 GB |" in text
    assert "| 46 nodes, 23 primaries |" in text
    assert (
        "| features from nothing | 10.0 µs of DuckDB's processor time × 4 for Spark × 10⁹ ÷ 256 cores | 0.04 h |"
        in text
    )


def test_the_seconds_of_a_batch_are_read_from_its_last_line() -> None:
    printed = ("  5 customers", "5 customers (5 ok) in /tmp/5.5 s", "  read 1.5 s, score 10.0 s, write 0.1 s")

    assert stages(printed) == {"read_seconds": 1.5, "score_seconds": 10.0, "write_seconds": 0.1}
    with pytest.raises(StepError, match="did not say"):
        stages(("error: no features",))


def line(**changes: Any) -> str:
    said = {"number": 3, "orders": 2, "repeated": 0, "late": 0, "refused": 0, "customers": 2, "seconds": 0.5}
    return json.dumps({**said, **changes})


def test_batches_are_found_among_what_the_stream_prints() -> None:
    (found,) = batch_lines([(1.0, "following incoming; Ctrl-C ends"), (2.5, line())])

    assert (found.at, found.number, found.orders, found.customers) == (2.5, 3, 2, 2)


@pytest.mark.parametrize(
    "said", [line(refused=1), line(repeated=2), line(late=1), "a batch failed, trying again in 1 s: Redis"]
)
def test_a_stream_that_did_not_take_every_order_is_not_measured(said: str) -> None:
    with pytest.raises(StepError, match="score-stream"):
        batch_lines([(1.0, said)])


def test_new_orders_are_orders_of_different_customers() -> None:
    rows = NewOrders(1000).rows("day", 500, NOW, hours=1)

    assert len({row["order_id"] for row in rows}) == len({row["customer_id"] for row in rows}) == 500
    assert sum(row["customer_id"].startswith("day") for row in rows) == 50
    assert all(NOW - timedelta(hours=1) <= row["event_timestamp"] < NOW for row in rows)
    assert read_json(json.dumps(rows[0], default=datetime.isoformat), NOW) == rows[0]
    assert rows == NewOrders(1000).rows("day", 500, NOW, hours=1)
    assert rows != NewOrders(1000).rows("other", 500, NOW, hours=1)


def test_more_orders_than_customers_bring_new_ones() -> None:
    rows = NewOrders(10).rows("day", 100, NOW, hours=1)

    assert len({row["customer_id"] for row in rows}) == 100


def test_every_artefact_that_is_written_lies_apart(tmp_path: Any) -> None:
    theirs = {
        "ORDERS_PATH": "/theirs",
        "REDIS_URL": "redis://theirs:1/0",
        "JOBS_MEMORY_LIMIT_MB": "128",
        "PATH": "/bin",
    }

    artefacts, environment = _own_artefacts(theirs, tmp_path, "redis://127.0.0.1:1/0")

    assert artefacts.redis_url == environment["REDIS_URL"] == "redis://127.0.0.1:1/0"
    written_to = [artefacts.offline_store, artefacts.materialize_runs, artefacts.feast_registry]
    written_to += OrderAddresses.of(environment).model_dump().values()
    assert all(str(address).startswith(str(tmp_path)) for address in written_to)
    assert environment["PATH"] == "/bin"
    assert "JOBS_MEMORY_LIMIT_MB" not in environment


@pytest.mark.parametrize("sizes", ["", "many", "200000,", "10"])
def test_sizes_that_are_none_are_refused(sizes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["jobs", "--sizes", sizes])

    assert "numbers of customers" in capsys.readouterr().err
