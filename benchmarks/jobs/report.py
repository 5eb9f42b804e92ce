"""Writes the jobs' part of docs/performance.md. Pure."""

from collections.abc import Mapping
from typing import Any

from benchmarks.jobs.scenarios import PEER_CUSTOMERS, SAMPLE, STOCK_SECONDS
from benchmarks.jobs.stream import DROPS, FILES, ORDERS_PER_FILE
from benchmarks.jobs.targets import at
from benchmarks.markdown import NOT_MEASURED, machine, number_of, prose, table, verdicts

FIGURE = "figures/jobs.svg"

STEPS = {
    "synthetic orders": ("features", "data"),
    "features, DuckDB": ("features", "duckdb"),
    "features, a day later": ("day", "features"),
    "materialize": ("materialization", "ours"),
    "materialize, a day later": ("day", "materialize"),
    "`feast materialize`": ("materialization", "stock"),
    "score-batch": ("batch", "ours"),
}
"""Step → path of its figures; their cost is shown by size."""

_METHOD = """
    `make bench-jobs` takes every size from new synthetic orders (docs/features.md) to predictions, in a folder with
    its own artefacts and Redis, one command after the other, each once. Seconds are those of the whole command,
    including Python's start. Memory is the largest resident set of the command's tree of processes, sampled five times
    a second, or the largest of one process by the kernel's account, in millions of bytes. Redis is not included, and
    saves nothing meanwhile. There are two windowed snapshots ({settings}). Customers without a delivered order, one in
    some thousands, are left out.
    """
_STOCK = """
    Both fill an empty Redis from the same offline store; {sample} customers are compared byte for byte. Stock is `feast
    materialize` as installed: Feast's local engine, its defaults, at most {limit:g} s. Its start-up is the time of
    `feast feature-views list`; ours is the command's time minus the seconds in its own record.
    """
_BATCH = """
    Stages as the command prints them. DuckDB reads features on all cores; one thread resolves, scores and writes, so
    customers per second after reading are those of one core. *One core*: the same command on one processor core.
    *Plain script*: `benchmarks/apps/plain_batch.py`, Feast's `get_historical_features`, pandas and scikit-learn, as
    the documentation shows it, for {peer:,} listed customers only, because it is slow. Its probabilities are compared
    with ours; it has no stale features, issues or statuses.
    """
_STREAM = """
    One running stream, warm. {files} files of {orders:,} orders, all of different customers, are moved in at once;
    orders/s count until both stores have the features of the last order and its prediction is written. Then {drops}
    orders follow, one a second; the lag is from the move of a file to the line after its prediction. Memory is that of
    Python and of Spark's JVM.
    """


def jobs_section(jobs: Mapping[str, Any] | None) -> str:
    """The section: targets, growth of cost, tables."""
    title = "## Jobs\n"
    if jobs is None:
        return f"{title}\n{NOT_MEASURED}\n"
    sizes: Mapping[str, Any] = jobs["sizes"]
    settings = ", ".join(f"`{name}={value}`" for name, value in jobs["settings"].items() if "SNAPSHOT" in name)
    parts = [
        title,
        verdicts(jobs["targets"]),
        f"![Seconds and memory of every step by number of customers]({FIGURE})\n",
        prose(_METHOD.format(settings=settings)),
        machine(jobs),
        "### How cost grows\n",
        _growth(sizes),
        "### Features\n",
        _features(sizes),
        "### Materialization\n",
        prose(_STOCK.format(sample=SAMPLE, limit=STOCK_SECONDS)),
        _materialization(sizes),
        "### Batch scoring\n",
        prose(_BATCH.format(peer=PEER_CUSTOMERS)),
        _batch(sizes),
        "### Stream\n",
        prose(_STREAM.format(files=FILES, orders=ORDERS_PER_FILE, drops=DROPS)),
        _stream(sizes, jobs["without_spark"]),
    ]
    return "\n".join(parts)


def _growth(sizes: Mapping[str, Any]) -> str:
    """Microseconds and bytes per customer: constant if cost is linear, falling if start-up dominates."""
    columns = ["", *(f"{int(size):,}: µs, bytes" for size in sizes)]
    rows = []
    for step, path in STEPS.items():
        cells = []
        for size, measured in sizes.items():
            seconds, memory = at(measured, *path, "seconds"), at(measured, *path, "peak_rss_mb")
            each = 1e6 / int(size)
            cells.append("–" if seconds is None else f"{seconds * each:,.1f}, {memory * each:,.0f}")
        rows.append((step, *cells))
    text = prose("Per customer: microseconds and peak bytes of memory of a command; columns are numbers of customers.")
    return f"{text}\n{table(columns, rows, left=1)}"


def _features(sizes: Mapping[str, Any]) -> str:
    rows = []
    for size, measured in sizes.items():
        found = measured["features"]
        steps = {"synthetic orders": {**found["data"], "rows": found["orders"]}, "build on DuckDB": found["duckdb"]}
        steps |= {"build on Spark, `local[2]`": found["spark"]} if "spark" in found else {}
        steps |= {f"a day and {measured['day']['orders']:,} orders later, DuckDB": measured["day"]["features"]}
        rows += [
            (
                f"{int(size):,}",
                what,
                number_of(step.get("rows"), 0),
                number_of(step["seconds"]),
                number_of(int(size) / step["seconds"], 0),
                number_of(step["peak_rss_mb"], 0),
            )
            for what, step in steps.items()
        ]
    return table(("customers", "", "rows", "seconds", "customers/s", "peak MB"), rows, left=2)


def _materialization(sizes: Mapping[str, Any]) -> str:
    rows = []
    for size, measured in sizes.items():
        found = measured["materialization"]
        runs = {"`make materialize`": found["ours"]}
        runs |= {"`feast materialize`": found["stock"]} if "stock" in found else {}
        runs |= {"`make materialize`, a day later": measured["day"]["materialize"]}
        rows += [
            (
                f"{int(size):,}",
                what if run.get("outcome", "done") == "done" else f"{what}: **{run['outcome']}**",
                number_of(run.get("rows"), 0),
                number_of(run["seconds"]),
                number_of(run.get("working_seconds")),
                number_of(run.get("rows_per_second"), 0),
                number_of(run.get("rows_per_second_of_command"), 0),
                number_of(run["peak_rss_mb"], 0),
            )
            for what, run in runs.items()
        ]
    columns = ("customers", "", "rows", "seconds", "… without start-up", "rows/s", "… of the command", "peak MB")
    return table(columns, rows, left=2) + "\n" + prose(_redis(sizes))


def _redis(sizes: Mapping[str, Any]) -> str:
    each = ", ".join(
        f"{bytes_in_redis(measured):,.0f} bytes at {int(size):,}"
        for size, measured in sizes.items()
        if at(measured, "materialization", "redis")
    )
    return f"A customer in Redis, both views, by the server's `used_memory`: {each}."


def bytes_in_redis(measured: Mapping[str, Any]) -> float:
    """Bytes in Redis of one customer with a row in both views, at one size."""
    redis = measured["materialization"]["redis"]
    return float((redis["used_mb"] - redis["empty_mb"]) * 1e6 / redis["customers"])


def _batch(sizes: Mapping[str, Any]) -> str:
    titles = {
        "ours": "`make score-batch`",
        "one_core": "… one core",
        "ours_beside_peer": "… listed customers",
        "peer": "plain script, the same listed customers",
    }
    rows = [
        (
            f"{int(size):,}",
            title,
            number_of(run["rows"], 0),
            *(number_of(run.get(f"{stage}_seconds")) for stage in ("read", "score", "write")),
            number_of(run.get("customers_per_second"), 0),
            number_of(run["seconds"]),
            number_of(run["cpu_seconds"]),
            number_of(run["peak_rss_mb"], 0),
        )
        for size, measured in sizes.items()
        for what, title in titles.items()
        if (run := measured["batch"].get(what))
    ]
    columns = ("of", "", "scored", "read s", "score s", "write s", "after reading /s", "seconds", "CPU s", "peak MB")
    return table(columns, rows, left=2)


def _stream(sizes: Mapping[str, Any], without_spark: str | None) -> str:
    if without_spark:
        return prose(f"Not measured: {without_spark}.")
    rows = [
        (
            f"{int(size):,}",
            number_of(found["orders_per_second"], 0),
            number_of(found["lag_p50_seconds"], 2),
            number_of(found["lag_max_seconds"], 2),
            number_of(found["batch_p50_seconds"], 2),
            number_of(found["peak_rss_mb"], 0),
        )
        for size, measured in sizes.items()
        if (found := measured.get("stream"))
    ]
    columns = ("customers with history", "orders/s", "lag p50 s", "lag max s", "batch of one p50 s", "peak MB")
    return table(columns, rows, left=1)
