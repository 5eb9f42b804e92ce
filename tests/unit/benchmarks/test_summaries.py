import numpy as np
import pytest

from benchmarks.summaries import intended_times, of_rounds, percentile, slope, spread, summary


def test_a_percentile_is_a_latency_that_was_measured() -> None:
    latencies = [0.001] * 98 + [0.5, 0.9]

    assert percentile(latencies, 50) == 0.001
    assert percentile(latencies, 98) == 0.001
    assert percentile(latencies, 99) == 0.5
    assert percentile(latencies, 100) == 0.9


def test_a_summary_is_in_milliseconds_and_counts_every_row_of_a_batch() -> None:
    found = summary(np.linspace(0.001, 0.2, 200), requests_per_second=50.0, rows=100)

    assert found["predictions_per_second"] == 5000
    assert found["p50_ms"] == pytest.approx(100)
    assert found["p99_ms"] == pytest.approx(198)


def test_a_few_requests_have_no_p99() -> None:
    assert summary(np.full(99, 0.1), 10.0, 1)["p99_ms"] is None
    assert summary(np.full(100, 0.1), 10.0, 1)["p99_ms"] == pytest.approx(100)


def test_no_answers_give_no_numbers() -> None:
    assert set(summary(np.empty(0), 0.0, 1).values()) == {None}


def test_a_spread_is_median_lowest_and_highest() -> None:
    assert spread([3.0, 1.0, 2.0]) == {"median": 2.0, "low": 1.0, "high": 3.0}


def test_a_round_without_a_value_leaves_no_spread() -> None:
    assert spread([1.0, None]) is None
    assert spread([]) is None


def test_a_slope_is_growth_per_unit() -> None:
    assert slope([1, 2, 3, 4], [10.0, 10.5, 11.0, 11.5]) == pytest.approx(0.5)
    assert slope([1, 2, 3], [7.0, 7.0, 7.0]) == pytest.approx(0.0, abs=1e-12)


def test_one_point_has_no_slope() -> None:
    with pytest.raises(ValueError, match="two different points"):
        slope([1.0], [1.0])


def test_requests_of_a_fixed_rate_are_equally_spaced_from_the_start_on() -> None:
    due = intended_times(rate=400, seconds=2)

    assert len(due) == 800
    assert due[0] == 0
    np.testing.assert_allclose(np.diff(due), 1 / 400)
    assert due[-1] < 2


def test_rounds_are_kept_beside_their_spread() -> None:
    rounds = [{**summary(np.full(200, at), 1 / at, 1), "errors": 1, "server_cpu_ms": at} for at in (0.1, 0.2, 0.4)]

    found = of_rounds(rounds)

    assert found["p50_ms"]["median"] == pytest.approx(200)
    assert found["requests_per_second"] == {"median": 5.0, "low": 2.5, "high": 10.0}
    assert found["errors"] == 3
    assert found["rounds"] == rounds
