"""Computes the figures of docs/scale.md from measurements. Pure."""

from collections.abc import Mapping
from typing import Any

from benchmarks.jobs.report import bytes_in_redis
from benchmarks.jobs.targets import at
from benchmarks.markdown import NOT_MEASURED, table

CUSTOMERS = 1_000_000_000
CORES = 256
SPARK_FACTOR = 4.0
"""Spark's processor time ÷ DuckDB's for the same rows: shuffles, the JVM and a network. An assumption."""
SHARD_GB, SHARD_FILL, COPIES = 32.0, 0.7, 2
"""Of a Redis node: memory, share of it for data; copies of the data, a replica included."""
USD_CORE_HOUR, USD_GB_MONTH, USD_OBJECT_GB_MONTH = 0.05, 4.0, 0.023


def scale_figures(jobs: Mapping[str, Any] | None) -> str:
    """The table: quantity, arithmetic, result for 10⁹ customers."""
    if jobs is None:
        return NOT_MEASURED
    sizes: Mapping[str, Any] = jobs["sizes"]
    largest = max(sizes, key=int)
    measured = sizes[largest]
    build = per_customer(sizes, "features", "duckdb", "cpu_seconds") or 0.0
    score = per_customer(sizes, "batch", "ours", "cpu_seconds") or 0.0
    day = per_customer(sizes, "day", "features", "cpu_seconds") or 0.0
    changed = measured["day"]["materialize"]["rows"] / measured["materialization"]["ours"]["rows"]
    rate = measured["materialization"]["ours"]["rows_per_second"]
    rows = measured["materialization"]["ours"]["rows"] / int(largest)
    in_redis = bytes_in_redis(measured)
    on_disk = measured["features"]["offline_bytes"] / int(largest)

    build_hours = CUSTOMERS * build * SPARK_FACTOR / CORES / 3600
    day_build_hours = CUSTOMERS * day * SPARK_FACTOR / CORES / 3600
    score_hours = CUSTOMERS * score * SPARK_FACTOR / CORES / 3600
    redis_gb = CUSTOMERS * in_redis / 1e9
    primaries = -(-redis_gb // (SHARD_GB * SHARD_FILL))
    fill_hours = CUSTOMERS * rows / (rate * primaries) / 3600
    day_hours = fill_hours * changed
    nodes_gb = primaries * COPIES * SHARD_GB
    daily = (day_build_hours + score_hours) * CORES * USD_CORE_HOUR + day_hours * primaries * USD_CORE_HOUR
    disk_gb = CUSTOMERS * on_disk / 1e9
    lines = [
        ("offline store", f"{on_disk:,.0f} bytes a customer × 10⁹", f"{disk_gb:,.0f} GB"),
        (
            "features from nothing",
            f"{build * 1e6:,.1f} µs of DuckDB's processor time × {SPARK_FACTOR:g} for Spark × 10⁹ ÷ {CORES} cores",
            f"{build_hours:,.2f} h",
        ),
        (
            "features, a day later",
            f"{day * 1e6:,.1f} µs × {SPARK_FACTOR:g} × 10⁹ ÷ {CORES}",
            f"{day_build_hours:,.2f} h",
        ),
        ("Redis, data", f"{in_redis:,.0f} bytes × 10⁹", f"{redis_gb:,.0f} GB"),
        (
            "Redis, nodes",
            f"÷ ({SHARD_GB:g} GB × {SHARD_FILL:g}), × {COPIES} for a replica each",
            f"{primaries * COPIES:,.0f} nodes, {primaries:,.0f} primaries",
        ),
        (
            "first fill",
            f"{rows:.2f} × 10⁹ rows ÷ ({rate:,.0f} rows/s × {primaries:,.0f} writers, one per primary)",
            f"{fill_hours:,.2f} h",
        ),
        ("… by one writer, as built today", f"{rows:.2f} × 10⁹ ÷ {rate:,.0f}", f"{fill_hours * primaries:,.1f} h"),
        ("a day's fill", f"× {changed:.2f}, the share of rows that a day changed", f"{day_hours:,.2f} h"),
        (
            "everybody scored",
            f"{score * 1e6:,.1f} µs, with reading and writing, × {SPARK_FACTOR:g} × 10⁹ ÷ {CORES}",
            f"{score_hours:,.2f} h",
        ),
        (
            "processors",
            f"(a day's build + score) × {CORES} cores × ${USD_CORE_HOUR:g}/core-hour, and the writers",
            f"${daily:,.0f} a day",
        ),
        ("Redis", f"{nodes_gb:,.0f} GB × ${USD_GB_MONTH:g}", f"${nodes_gb * USD_GB_MONTH:,.0f} a month"),
        (
            "storage, with a build before",
            f"2 × {disk_gb:,.0f} GB × ${USD_OBJECT_GB_MONTH:g}",
            f"${2 * disk_gb * USD_OBJECT_GB_MONTH:,.0f} a month",
        ),
    ]
    about = (
        f"Measured at {int(largest):,} customers on {jobs['measured_at'][:10]}, commit `{jobs['git_commit']}`; "
        "processor time is its growth from the smallest size to the largest, without start-up."
    )
    return f"{about}\n\n{table(('', 'arithmetic', 'for 10⁹ customers'), lines, left=2)}".rstrip("\n")


def per_customer(sizes: Mapping[str, Any], *path: str) -> float | None:
    """Cost of one more customer: growth from the smallest size to the largest; with one size, the whole cost."""
    found = sorted((int(size), at(measured, *path)) for size, measured in sizes.items() if at(measured, *path))
    if not found:
        return None
    (few, low), (many, high) = found[0], found[-1]
    return float((high - low) / (many - few) if many > few else high / many)
