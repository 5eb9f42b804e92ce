"""Summarizes latencies and rounds. Pure."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

FEWEST_FOR_P99 = 100
"""Fewest requests for a p99; with fewer, it is just the slowest request."""


def percentile(latencies: ArrayLike, q: float) -> float:
    """The measured latency within which `q` percent were answered; not interpolated."""
    return float(np.percentile(np.asarray(latencies, dtype=np.float64), q, method="inverted_cdf"))


def summary(latencies: NDArray[np.float64], requests_per_second: float, rows: int) -> dict[str, float | None]:
    """Rates and percentiles of one measurement.

    Args:
        latencies: seconds, one per request.
        rows: predictions in one request.
    """
    if not len(latencies):
        return dict.fromkeys(("requests_per_second", "predictions_per_second", "p50_ms", "p90_ms", "p99_ms"))
    return {
        "requests_per_second": requests_per_second,
        "predictions_per_second": requests_per_second * rows,
        "p50_ms": percentile(latencies, 50) * 1e3,
        "p90_ms": percentile(latencies, 90) * 1e3,
        "p99_ms": percentile(latencies, 99) * 1e3 if len(latencies) >= FEWEST_FOR_P99 else None,
    }


def spread(values: Sequence[float | None]) -> dict[str, float] | None:
    """Median, lowest and highest of the rounds; None if a round has no value."""
    present = [value for value in values if value is not None]
    if not present or len(present) < len(values):
        return None
    return {"median": float(np.median(present)), "low": min(present), "high": max(present)}


def slope(x: Sequence[float], y: Sequence[float]) -> float:
    """Growth of `y` per unit of `x`, by least squares."""
    if len(x) < 2 or min(x) == max(x):
        raise ValueError("a slope needs two different points")
    return float(np.polyfit(x, y, 1)[0])


def intended_times(rate: float, seconds: float) -> NDArray[np.float64]:
    """Send times at a fixed rate: seconds from the start, equally spaced, the first 0."""
    return np.arange(int(rate * seconds), dtype=np.float64) / rate


def of_rounds(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The rounds of one peer and scenario, and the spread of every number in them."""
    names = ("requests_per_second", "predictions_per_second", "p50_ms", "p90_ms", "p99_ms", "server_cpu_ms")
    return {
        **{name: spread([r.get(name) for r in rounds]) for name in names},
        "errors": sum(int(r["errors"]) for r in rounds),
        "rounds": list(rounds),
    }
