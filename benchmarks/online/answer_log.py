"""Measures the cost of writing the inference log, and of the jobs that read it."""

import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry

from artefacts.addresses import Artefacts
from artefacts.log_rows import COMPLETE_SUFFIX, OPEN_SUFFIX
from benchmarks.load.process_usage import StepError, usage_of
from benchmarks.machine import machine, provenance
from benchmarks.markdown import NOT_MEASURED, prose, table
from benchmarks.results import store
from contract import RawFeatures, Resolver
from jobs.times import unix_us
from scoring.inference_log import Answers, log_table, together
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model, pinned_tag
from scoring.outcomes import outcomes
from scoring.task_outputs import task_outputs
from service.inference_log.files import Limits, LogFiles
from service.inference_log.writer import ROWS_PER_FLUSH, InferenceLog
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from training.data.dataset import TrainingData
from training.row_splits.time_splits import cutoffs_of, parts_at
from training.settings import TrainingSettings
from training.target import follow_contract
from training.use_case_folder import current_use_case

BATCH = 100
_SINGLES = 10_000
_TIMES = 3
"""Measurements of each writing figure; the least counts, because other work only adds to it."""
_MOST_SECONDS = 1800
_THRESHOLD_EXCEEDED = 3
"""Exit code of a job whose finding exceeds its threshold."""
_SEED = 31


@dataclass(frozen=True)
class _LoggedRequests:
    """Requests for n customers at one time, with their features from the point-in-time join."""

    at: datetime
    customer_ids: list[str]
    values: NDArray[np.float64]

    def answers(self, model: ImportedModel, size: int, most: int | None = None) -> Iterator[Answers]:
        """Answers as the service logs them, `size` customers per request; ages of rows are random."""
        seconds = unix_us(self.at) / 1e6
        resolver = Resolver.of(model.contract)
        random = np.random.default_rng([_SEED, unix_us(self.at)])  # the same request ids for every model
        ages = random.uniform(0, 86_400, (len(self.values), len(resolver.views)))
        for first in range(0, len(self.values) if most is None else most, size):
            rows = slice(first, first + size)
            resolved = resolver.resolve(RawFeatures(self.values[rows], seconds - ages[rows]), seconds)
            customers = self.customer_ids[rows]
            yield Answers(
                request_ids=[random.bytes(16).hex()] * len(customers),
                rows=list(range(len(customers))),
                keys=customers,
                as_of_unix_us=unix_us(self.at),
                model=model,
                answered=np.full(len(customers), model.role == "champion"),
                resolved=resolved,
                outcomes=outcomes(resolved, model.score(resolved.matrix), task_outputs(model.contract)),
            )


def run(output: Path) -> None:
    """Log every customer at each of training's cut-offs, run the jobs on the log, and write the results."""
    artefacts, settings = Artefacts.of(os.environ), TrainingSettings()
    model = open_model(pinned_tag(artefacts))
    about = {**provenance(), "machine": machine(), "inputs": len(model.contract.inputs)}
    asked = _requests(artefacts, settings, model)
    with tempfile.TemporaryDirectory(prefix="bench-log-") as name:
        folder = Path(name)
        writing = _measure_writing(folder, asked[0], model)
        jobs = _measure_jobs(folder, asked, model)
    store(output, "answer_log", {**about, "writing": writing, "jobs": jobs})


def section(found: Mapping[str, Any] | None) -> str:
    """The tables of docs/inference-log.md."""
    if found is None:
        return NOT_MEASURED
    on, writing = found["machine"], found["writing"]
    text = prose(
        f"`make bench-log`, {found['measured_at'][:10]}, commit `{found['git_commit']}`, {on['cores']} cores of "
        f"{on['processor']}, load average before it {on['load_average_before']:.2f}; {found['inputs']} inputs a row, "
        f"real customers of the orders in place, {BATCH} in a request unless it says otherwise."
    )
    costs = [
        ("handing a request over", f"{writing['put_us']:.1f} µs"),
        ("processor time of the writer, a row", f"{writing['batch_us']:.0f} µs"),
        ("… with pseudonyms", f"{writing['pseudonyms_us']:.0f} µs"),
        ("… of requests for one customer", f"{writing['single_us']:.0f} µs"),
        ("… in the open file", f"{writing['open_bytes']:,.0f} bytes a row"),
        ("… in Parquet", f"{writing['parquet_bytes']:,.0f} bytes a row"),
    ]
    jobs = [
        (job["what"], f"{job['rows']:,}", f"{job['seconds']:,.0f}", f"{job['peak_rss_mb']:,.0f}")
        for job in found["jobs"]
    ]
    heads = ("job", "rows in the log", "seconds, start included", "peak memory MB")
    return f"{text}\n{table(('', ''), costs, left=1)}\n{table(heads, jobs, left=1)}".rstrip("\n")


def _requests(artefacts: Artefacts, settings: TrainingSettings, model: ImportedModel) -> list[_LoggedRequests]:
    settings = follow_contract(settings, model.contract)
    data = TrainingData(artefacts, settings.feature_service)
    case = current_use_case()
    source = case.labels(os.environ)
    cutoffs = cutoffs_of(source, settings)
    found = []
    for at in (*cutoffs.training, cutoffs.validation, cutoffs.test):
        one_time = settings.model_copy(update={"request_hours": "0-0"})
        rows = data.rows(parts_at(source, (at,), one_time, settings.seed), case.task)
        found.append(
            _LoggedRequests(
                at,
                rows.entities["customer_id"].tolist(),
                rows.columns[model.contract.feature_names].to_numpy(np.float64),
            )
        )
    return found


def _measure_writing(folder: Path, asked: _LoggedRequests, model: ImportedModel) -> dict[str, float]:
    key = folder / "key"
    key.write_text("k" * 64, encoding="utf-8")
    batches, singles = list(asked.answers(model, BATCH)), list(asked.answers(model, 1, _SINGLES))
    batch_us, _ = _fastest(folder / "batches", batches)
    pseudonyms_us, _ = _fastest(folder / "pseudonyms", batches, inference_log_id_key_file=str(key))
    single_us, put_us = _fastest(folder / "singles", singles)
    open_bytes, parquet_bytes = _bytes_per_row(folder, singles)
    return {
        "put_us": put_us,
        "batch_us": batch_us,
        "pseudonyms_us": pseudonyms_us,
        "single_us": single_us,
        "open_bytes": open_bytes,
        "parquet_bytes": parquet_bytes,
    }


def _fastest(folder: Path, batches: Sequence[Answers], **settings: Any) -> tuple[float, float]:
    rounds = [_write_log(folder / str(n), batches, **settings) for n in range(_TIMES)]
    return min(cpu for cpu, _ in rounds), min(call for _, call in rounds)


def _write_log(folder: Path, batches: Sequence[Answers], **settings: Any) -> tuple[float, float]:
    """Write answers as the service does; returns µs of processor time per row, and the median µs to hand one over."""
    every_row = ServiceSettings(inference_log_queue_rows=10**9, **settings)
    log = InferenceLog(folder, every_row, ServiceMetrics("customer_churn", CollectorRegistry()))
    began, calls = time.process_time(), []
    for batch in batches:
        start = time.perf_counter()
        log.put(batch)
        calls.append(time.perf_counter() - start)
    log.close(_MOST_SECONDS)
    return (time.process_time() - began) / sum(map(len, batches)) * 1e6, float(np.median(calls)) * 1e6


def _bytes_per_row(folder: Path, batches: Sequence[Answers]) -> tuple[float, float]:
    """Bytes per row in the open file and in Parquet."""
    rows = log_table(together(batches))
    files, now = LogFiles(folder / "sizes", Limits(10**12, _MOST_SECONDS, 1)), datetime.now(UTC)
    for first in range(0, len(rows), ROWS_PER_FLUSH):
        files.append(rows.slice(first, ROWS_PER_FLUSH), now)
    sizes = []
    for suffix in (OPEN_SUFFIX, COMPLETE_SUFFIX):
        sizes.append(sum(file.stat().st_size for file in (folder / "sizes").rglob(f"*{suffix}")) / len(rows))
        files.close()
    return sizes[0], sizes[1]


def _measure_jobs(folder: Path, asked: Sequence[_LoggedRequests], model: ImportedModel) -> list[dict[str, Any]]:
    shadow = replace(model, role="challenger")
    one_more = np.arange(len(model.contract.inputs)) == 0
    others = [replace(one, values=one.values + one_more) for one in asked]
    logged = {
        "log": [answers for one in asked for by in (model, shadow) for answers in one.answers(by, BATCH)],
        "differing": [answers for one in others for answers in one.answers(model, BATCH)],
    }
    for name, batches in logged.items():
        _write_log(folder / name, batches)
    labels = str(folder / "labels.parquet")
    commands = {
        "`make labels`": ("log", "labels", "--out", labels),
        "`make live-quality`": ("log", "live-quality", "--labels", labels),
        "`make compare-live`": ("log", "compare-live", "--labels", labels),
        "`make drift`": ("log", "drift"),
        "`make audit-skew`": ("log", "audit-skew"),
        "… of 10,000 rows at random": ("log", "audit-skew", "--sample", "10000"),
        "… where every row differs": ("differing", "audit-skew"),
    }
    found = []
    for number, (what, (log, job, *options)) in enumerate(commands.items()):
        out = [] if job == "labels" else ["--out", str(folder / str(number))]
        environment = {**os.environ, "INFERENCE_LOG_DIR": str(folder / log)}
        cost = usage_of([sys.executable, "-m", "jobs", job, *options, *out], environment, _MOST_SECONDS)
        if cost.exit_code not in (0, _THRESHOLD_EXCEEDED):
            raise StepError(f"jobs {job} ended with {cost.exit_code}:\n{cost.last_lines()}")
        print(f"  {what:34} {cost.seconds:7.1f} s {cost.peak_rss_mb:8,.0f} MB", flush=True)
        found.append({"what": what, "rows": sum(map(len, logged[log])), **cost.figures()})
    return found
