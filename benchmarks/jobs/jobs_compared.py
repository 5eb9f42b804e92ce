"""Measures the jobs at several sizes, each from new orders on, and stock tools where they exist."""

import os
import time
from pathlib import Path
from typing import Any

from artefacts.addresses import Artefacts
from benchmarks.jobs.scenarios import a_day_later, batch, features, materialization, usable_core
from benchmarks.jobs.scratch import JOBS_SETTINGS, Scratch, scratch
from benchmarks.jobs.stream import stream
from benchmarks.jobs.targets import jobs_verdicts
from benchmarks.load.process_usage import StepError
from benchmarks.machine import machine, provenance, versions
from benchmarks.results import store
from jobs.spark import missing_for_spark
from scoring.models.model_store import pinned_tag


def run(sizes: list[int], largest: int | None, output: Path) -> None:
    """Measure each size and write the results after it, so an interrupted run keeps them.

    Args:
        sizes: numbers of customers; everything is measured.
        largest: number of customers for which only our jobs, without the stream, are measured.

    Raises:
        StepError: a step failed, or there is no model.
    """
    tag = pinned_tag(Artefacts.of(os.environ))
    if not tag:
        raise StepError("there is no model to score with; `make import-model` brings one")
    began = time.monotonic()
    about: dict[str, Any] = {**provenance(), "machine": machine(), "model": tag, "settings": JOBS_SETTINGS}
    without_spark = missing_for_spark()
    if without_spark:
        print(f"no Spark, no stream: {without_spark}", flush=True)
    measured: dict[str, Any] = {}
    for size in sorted({*sizes, *([largest] if largest else [])}):
        print(f"{size:,} customers", flush=True)
        with scratch(size) as place:
            about.setdefault("versions", versions(str(place.artefacts.redis_url)))
            measured[str(size)] = _one_size(place, size in sizes, size == min(sizes), without_spark is None)
        store(
            output,
            "jobs",
            {
                **about,
                "took_seconds": round(time.monotonic() - began),
                "without_spark": without_spark,
                "sizes": measured,
                "targets": jobs_verdicts(measured),
            },
        )


def _one_size(place: Scratch, everything: bool, smallest: bool, spark: bool) -> dict[str, Any]:
    found = {
        "features": features(place, with_spark=spark and smallest),
        "materialization": materialization(place, with_stock=everything),
        "day": a_day_later(place),
        "batch": batch(place, usable_core() if everything else None, with_peer=smallest),
    }
    if everything and spark:
        found["stream"] = stream(place)
    return found
