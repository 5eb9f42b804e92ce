"""What was answered, row by row: the columns of the inference log, written by the service and read by the jobs.

Complete files are Parquet, `date=<YYYY-MM-DD>/<start>-<process>.parquet`. The file that a process has open is an Arrow
stream beside them, `….arrows`, of which whatever was flushed can be read whatever becomes of the process.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from contract import FeatureState, ResolvedFeatures
from scoring.errors import ModelError
from scoring.model import ImportedModel
from scoring.outcomes import STATUSES, Outcomes

TIMESTAMP = pa.timestamp("us", tz="UTC")
INFERENCE_LOG = pa.schema(
    [
        ("request_id", pa.string()),
        ("row", pa.int32()),  # position in the request, from 0
        ("customer_id", pa.string()),  # or its pseudonym
        ("as_of", TIMESTAMP),  # the request's time
        ("model_name", pa.string()),
        ("model_version", pa.string()),
        ("model_tag", pa.string()),
        ("contract_sha256", pa.string()),
        ("role", pa.string()),
        ("answered", pa.bool_()),  # False for a row of the model that did not give the answer
        ("status", pa.string()),
        ("churn_probability", pa.float64()),  # null unless the status is `ok` or `degraded`, as is the next
        ("churn", pa.bool_()),
        ("inputs", pa.list_(pa.float32())),  # exactly what the model saw, in contract order, as are the next three
        ("event_timestamps", pa.list_(TIMESTAMP)),  # of the oldest row that the value was made of; null without one
        ("states", pa.list_(pa.string())),
        ("defaulted", pa.list_(pa.bool_())),
        ("cached_seconds", pa.float64()),
    ]
)
"""One row for each customer of a request and each model that scored it. An unknown customer has no lists."""

STATES = pa.array([state.name.lower() for state in FeatureState])
OPEN_SUFFIX = ".arrows"


@dataclass(frozen=True)
class Answers:
    """n rows that one model scored together, of one request or of several.

    rows: position of each in its request, from 0.
    as_of_unix_us: int64 (n,) or one for all.
    answered: bool (n,), whether this model gave the answer.
    cached_seconds: float64 (n,), or None where no row comes from a cache.
    """

    request_ids: Sequence[str]
    rows: Sequence[int]
    customer_ids: Sequence[str]
    as_of_unix_us: int | NDArray[np.int64]
    model: ImportedModel
    answered: NDArray[np.bool_]
    resolved: ResolvedFeatures
    outcomes: Outcomes
    cached_seconds: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.customer_ids)


def log_table(answers: Answers) -> pa.Table:
    """The rows as `INFERENCE_LOG`. Arrays are taken over by Arrow without a Python object per value."""
    n = len(answers)
    made, resolved, model = answers.outcomes, answers.resolved, answers.model
    as_of = np.broadcast_to(np.asarray(answers.as_of_unix_us, dtype=np.int64), n)
    scored, known = made.scored, resolved.known
    width = resolved.matrix.shape[1]
    with np.errstate(invalid="ignore"):
        event_times = as_of[:, None] - np.round(resolved.ages * 1e6)
        event_us = pa.array(np.nan_to_num(event_times).astype(np.int64).ravel(), mask=np.isnan(event_times).ravel())

    def per_input(values: pa.Array) -> pa.Array:
        offsets = pa.array(np.arange(n + 1, dtype=np.int32) * width)
        lists = pa.ListArray.from_arrays(offsets, values)
        return pc.if_else(pa.array(known), lists, pa.scalar(None, lists.type))

    columns = {
        "request_id": pa.array(answers.request_ids, pa.string()),
        "row": pa.array(answers.rows, pa.int32()),
        "customer_id": pa.array(answers.customer_ids, pa.string()),
        "as_of": pa.array(as_of, pa.int64()).cast(TIMESTAMP),
        "model_name": pa.repeat(model.contract.model_name, n),
        "model_version": pa.repeat(model.contract.model_version, n),
        "model_tag": pa.repeat(model.tag, n),
        "contract_sha256": pa.repeat(model.contract_sha256, n),
        "role": pa.repeat(model.role, n),
        "answered": pa.array(answers.answered),
        "status": pa.array(STATUSES).take(pa.array(made.statuses)),
        "churn_probability": pa.array(made.probabilities, mask=~scored),
        "churn": pa.array(made.decisions, mask=~scored),
        "inputs": per_input(pa.array(resolved.matrix.ravel())),
        "event_timestamps": per_input(event_us.cast(TIMESTAMP)),
        "states": per_input(STATES.take(pa.array(resolved.states.ravel()))),
        "defaulted": per_input(pa.array(resolved.defaulted.ravel())),
        "cached_seconds": pa.nulls(n, pa.float64())
        if answers.cached_seconds is None
        else pa.array(answers.cached_seconds, from_pandas=True),
    }
    return pa.table(columns, schema=INFERENCE_LOG)


def log_files(folder: Path, since: datetime | None = None, until: datetime | None = None) -> list[Path]:
    """Files that may hold answers of [since, until), UTC, oldest first; those that are still open among them."""
    days = []
    for day in folder.glob("date=*"):
        try:
            named = date.fromisoformat(day.name.removeprefix("date="))
        except ValueError:
            continue
        if (since is None or named >= since.date()) and (until is None or named <= until.date()):
            days.append(day)
    return sorted(file for day in days for suffix in ("*.parquet", f"*{OPEN_SUFFIX}") for file in day.glob(suffix))


def read_log(file: Path) -> pa.Table:
    """One file's rows; of one that is still written, those that were flushed.

    Raises:
        ModelError: it is not a file of the inference log, or damaged.
    """
    try:
        if file.suffix == OPEN_SUFFIX:
            return _flushed(file)
        table = pq.ParquetFile(file).read()
    except (pa.ArrowException, OSError) as error:
        raise ModelError(f"{file}: cannot be read as inference log: {str(error).splitlines()[0]}") from None
    missing = [name for name in INFERENCE_LOG.names if name not in table.column_names]
    if missing:
        raise ModelError(f"{file}: has no column {missing[0]}; it is not an inference log")
    return table.select(INFERENCE_LOG.names).cast(INFERENCE_LOG)


def _flushed(file: Path) -> pa.Table:
    batches: list[pa.RecordBatch] = []
    with pa.OSFile(str(file)) as source:
        if source.size() == 0:
            return INFERENCE_LOG.empty_table()
        # Beyond them: a batch that was being written when the process ended.
        with pa.ipc.open_stream(source) as stream, suppress(pa.ArrowException, OSError):
            batches.extend(stream)
    return pa.Table.from_batches(batches, INFERENCE_LOG)
