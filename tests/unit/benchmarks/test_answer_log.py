from typing import Any

from benchmarks.online.answer_log import section

MEASURED: dict[str, Any] = {
    "measured_at": "2026-11-21T16:00:00+00:00",
    "git_commit": "abc",
    "machine": {"cores": 2, "processor": "a processor", "load_average_before": 0.5},
    "inputs": 27,
    "writing": {
        "put_us": 0.44,
        "batch_us": 7.2,
        "pseudonyms_us": 12.1,
        "single_us": 30.0,
        "open_bytes": 900.0,
        "parquet_bytes": 150.0,
    },
    "jobs": [{"what": "`make labels`", "rows": 240_000, "seconds": 7.1, "peak_rss_mb": 746.0, "cpu_seconds": 6.0}],
}


def test_what_writing_costs_and_each_job_are_shown_with_their_units() -> None:
    text = section(MEASURED)

    assert "| handing a request over | 0.4 µs |" in text
    assert "| … in Parquet | 150 bytes a row |" in text
    assert "| `make labels` | 240,000 | 7 | 746 |" in text


def test_nothing_measured_is_said() -> None:
    assert section(None) == "Not measured yet."
