"""The inference log: one row per answered prediction, written by the service and read by the jobs.

Complete files are Parquet, `date=<YYYY-MM-DD>/<start>-<process>.parquet`. The file that a process has open is an Arrow
stream beside them, `….arrows`; its flushed batches stay readable if the process ends.
"""

from collections.abc import Iterator
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from contract import FeatureState

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
        ("answered", pa.bool_()),  # False: another model gave the answer
        ("status", pa.string()),
        ("churn_probability", pa.float64()),  # it and `churn`: null unless the status is `ok` or `degraded`
        ("churn", pa.bool_()),
        ("inputs", pa.list_(pa.float32())),  # exactly what the model saw; it and the next three: in contract order
        ("event_timestamps", pa.list_(TIMESTAMP)),  # of the value's oldest source row; null without one
        ("states", pa.list_(pa.string())),
        ("defaulted", pa.list_(pa.bool_())),
        ("cached_seconds", pa.float64()),
    ]
)
"""One row per customer of a request and model that scored it. Lists are null for an unknown customer."""

STATES = pa.array([state.name.lower() for state in FeatureState])
OPEN_SUFFIX, COMPLETE_SUFFIX = ".arrows", ".parquet"
WRITTEN_WITHIN = timedelta(hours=1)
"""Longest time from answer to write. A row is in the folder of the day on which it was written."""


def log_files(folder: Path, since: datetime | None = None, until: datetime | None = None) -> list[Path]:
    """Files that may hold answers of [since, until), UTC, oldest first, including open ones."""
    first = None if since is None else since.date()
    last = None if until is None else (until + WRITTEN_WITHIN).date()
    days = []
    for day in folder.glob("date=*"):
        try:
            named = date.fromisoformat(day.name.removeprefix("date="))
        except ValueError:
            continue
        if (first is None or named >= first) and (last is None or named <= last):
            days.append(day)
    # Streams first: one that becomes Parquet meanwhile is then found at least once. Both files hold the same rows.
    streams = [file for day in days for file in day.glob(f"*{OPEN_SUFFIX}")]
    complete = {file for day in days for file in day.glob(f"*{COMPLETE_SUFFIX}")}
    return sorted(complete | {file for file in streams if file.with_suffix(COMPLETE_SUFFIX) not in complete})


def flushed(stream: Path) -> Iterator[pa.RecordBatch]:
    """The complete batches of an Arrow stream that a process has, or had, open.

    Raises:
        ArrowException, OSError: it is not an Arrow stream, or no longer exists.
    """
    with pa.OSFile(str(stream)) as source:
        if source.size() == 0:
            return
        # The last batch may be incomplete: the process may have ended while writing it.
        with pa.ipc.open_stream(source) as batches, suppress(pa.ArrowException, OSError):
            yield from batches
