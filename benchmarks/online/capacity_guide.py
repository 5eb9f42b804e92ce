"""Writes the tables of docs/operations/capacity.md: resources by customers and by requests per second. Pure."""

from collections.abc import Mapping
from math import ceil
from typing import Any

from benchmarks.jobs.report import bytes_in_redis
from benchmarks.markdown import NOT_MEASURED, machine, prose, table

CUSTOMERS = (100_000, 1_000_000, 10_000_000, 50_000_000)
REQUESTS = (100, 1_000, 5_000, 20_000, 100_000)
BUSY = 0.6
"""Share of a core at which a replica counts as full; also the target of the chart's autoscaler."""
REDIS_FILL, REDIS_BUSY = 0.7, 0.5
"""Usable share of Redis' memory (a snapshot copies what changes meanwhile), and of its one thread."""


def capacity_guide(document: Mapping[str, Any]) -> str:
    """Both tables with their explanations, from all sections of the results."""
    if not {"capacity", "jobs", "online", "beside"} <= document.keys():
        return NOT_MEASURED
    return f"{_requests(document)}\n{_customers(document['jobs'])}".rstrip("\n")


def planned_rate(rates: list[dict[str, float]]) -> float:
    """Requests/s at which a replica uses `BUSY` of a core, interpolated between the measured rates.

    Usage is not proportional to the rate, because requests that arrive together share a read.
    """
    points = [(found["server_cores"], found["requests_per_second"]) for found in rates]
    under = [point for point in points if point[0] <= BUSY]
    over = [point for point in points if point[0] > BUSY]
    if not under or not over:
        return max(under or [(0.0, 0.0)])[1]
    (low, few), (high, many) = under[-1], over[0]
    return few + (many - few) * (BUSY - low) / (high - low)


def _requests(document: Mapping[str, Any]) -> str:
    capacity, online = document["capacity"], document["online"]["peers"]["ours"]["scenarios"]
    rate = planned_rate(capacity["rates"])
    read_us, batch_read_us = capacity["rates"][-1]["redis_us"], capacity["batch"]["redis_us"]
    most = online["single_32"]["requests_per_second"]["median"]
    most_in_batches = online["batch_100_4"]["predictions_per_second"]["median"]
    logged = _median(document, "log") / _median(document, "ours")
    rows = []
    for requests in REQUESTS:
        replicas = max(2, ceil(requests / rate) + 1)
        thread = requests * read_us / 1e6
        memory = f"{replicas * capacity['memory_mb'] / 1e3:,.1f} GB"
        servers = ceil(thread / REDIS_BUSY)
        rows.append((f"{requests:,}", str(replicas), str(replicas), memory, f"{thread:.1%}", str(servers)))
    about = f"""
        A replica has one worker, which cannot use more than one core. It counts as full at {rate:,.0f} requests/s for
        single customers, where it uses {BUSY:.0%} of the core; its maximum, over 32 connections, was {most:,.0f}. All
        its processes hold {capacity["memory_mb"]:,.0f} MB. The table has one replica more than needed, so that one may
        fail, and at least two. With the inference log, a replica reaches {logged:.0%} of the rate. Redis reads a
        customer in {read_us:.1f} µs of its one thread, one of a batch of 100 in {batch_read_us:.1f} µs; a replica
        scores up to {most_in_batches:,.0f} customers/s in such batches.
        """
    columns = ("single requests/s", "replicas", "cores", "memory", "of Redis' thread", "Redis servers")
    return f"{prose(about)}\n{table(columns, rows, left=0)}\n{machine(capacity)}"


def _median(document: Mapping[str, Any], variant: str) -> float:
    return float(document["beside"]["variants"][variant]["scenarios"]["single_32"]["requests_per_second"]["median"])


def _customers(jobs: Mapping[str, Any]) -> str:
    largest = max(jobs["sizes"], key=int)
    measured = jobs["sizes"][largest]
    fill, day = measured["materialization"]["ours"], measured["day"]["materialize"]
    in_redis, on_disk = bytes_in_redis(measured), measured["features"]["offline_bytes"] / int(largest)
    rows = [
        (
            f"{customers:,}",
            f"{customers * in_redis / 1e9:,.2f} GB",
            f"{customers * in_redis / REDIS_FILL / 1e9:,.1f} GB",
            _time(customers * fill["rows"] / int(largest) / fill["rows_per_second"]),
            _time(customers * day["rows"] / int(largest) / day["rows_per_second"]),
            f"{customers * on_disk / 1e9:,.1f} GB",
        )
        for customers in CUSTOMERS
    ]
    build_gb, fill_gb = measured["features"]["duckdb"]["peak_rss_mb"] / 1e3, fill["peak_rss_mb"] / 1e3
    about = f"""
        Redis holds {in_redis:,.0f} bytes per customer and gets {1 / REDIS_FILL:.1f} times that. At {int(largest):,}
        customers, peak memory was {build_gb:,.1f} GB for a build and {fill_gb:,.1f} GB for a fill;
        `JOBS_MEMORY_LIMIT_MB` and `JOBS_MATERIALIZE_CHUNK_ROWS` bound it. All else grows in proportion to customers.
        """
    columns = ("customers", "data in Redis", "memory of Redis", "first fill", "a day's fill", "offline store")
    return f"{prose(about)}\n{table(columns, rows, left=0)}"


def _time(seconds: float) -> str:
    return (
        f"{seconds:,.0f} s"
        if seconds < 120
        else f"{seconds / 60:,.0f} min"
        if seconds < 7200
        else f"{seconds / 3600:,.1f} h"
    )
