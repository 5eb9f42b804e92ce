"""Targets of the jobs. Pure."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from benchmarks.online.targets import Rounds, Target

STOCK_SIZES = (200_000, 1_000_000)
LARGEST = 5_000_000

Value = Callable[[Rounds], float | None]


def at(measured: Mapping[str, Any], *path: str) -> Any:
    """A figure of one size by its path; None if it was not measured."""
    found: Any = measured
    for name in path:
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


def _of_size(size: int, path: tuple[str, ...], scale: float = 1.0) -> Value:
    def value(sizes: Rounds) -> float | None:
        found = at(sizes, str(size), *path)
        return None if found is None else float(found) * scale

    return value


def _over_sizes(pick: Callable[[Iterable[float]], float], path: tuple[str, ...], scale: float = 1.0) -> Value:
    def value(sizes: Rounds) -> float | None:
        found = [float(figure) for measured in sizes.values() if (figure := at(measured, *path)) is not None]
        return pick(found) * scale if found else None

    return value


def _over_stock(size: int) -> Value:
    path = ("materialization", "{}", "rows_per_second")
    ours, stock = (_of_size(size, tuple(part.format(whose) for part in path)) for whose in ("ours", "stock"))

    def value(sizes: Rounds) -> float | None:
        mine, theirs = ours(sizes), stock(sizes)
        return None if mine is None or not theirs else mine / theirs

    return value


def _largest_materialized(sizes: Rounds) -> float | None:
    done = [int(size) for size, measured in sizes.items() if at(measured, "materialization", "ours", "rows")]
    return max(done) / 1e6 if done else None


TARGETS = (
    *(
        Target(f"materialization of {size:,} customers, rows/s: ours ÷ stock", ">=", 4, _over_stock(size))
        for size in STOCK_SIZES
    ),
    Target(
        "materialization, peak memory of the job at any size",
        "<=",
        1.0,
        _over_sizes(max, ("materialization", "ours", "peak_rss_mb"), 1e-3),
        "GB",
    ),
    Target("largest shop that was materialized", ">=", LARGEST / 1e6, _largest_materialized, "million customers"),
    Target(
        "batch scoring after reading, held to one core, at any size",
        ">=",
        100_000,
        _over_sizes(min, ("batch", "one_core", "customers_per_second")),
        "customers/s",
    ),
    Target(
        "batch scoring of 1,000,000 customers, peak memory of the whole job",
        "<=",
        2.0,
        _of_size(1_000_000, ("batch", "ours", "peak_rss_mb"), 1e-3),
        "GB",
    ),
    Target(
        "stream, from the order's file to its prediction, longest of all sizes",
        "<=",
        10,
        _over_sizes(max, ("stream", "lag_max_seconds")),
        "s",
    ),
)


def jobs_verdicts(sizes: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Check every target against the measurements: customers → steps, as in `jobs.json`."""
    return [target.verdict([sizes]) for target in TARGETS]
