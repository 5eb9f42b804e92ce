"""The inference log: one row per answered prediction, written by the service and read by the jobs.

Complete files are Parquet, `date=<YYYY-MM-DD>/<start>-<process>.parquet`. The file that a process has open is an Arrow
stream beside them, `….arrows`; its flushed batches stay readable if the process ends.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from artefacts.output_columns import key_fields, output_fields
from contract import FeatureState, ModelContract
from contract.values.request_values import asked_of

TIMESTAMP = pa.timestamp("us", tz="UTC")
_REQUEST = [
    pa.field("request_id", pa.string()),
    pa.field("row", pa.int32()),  # position in the request, from 0
]
_ANSWERED_BY = [
    pa.field("as_of", TIMESTAMP),  # the request's time
    pa.field("model_name", pa.string()),
    pa.field("model_version", pa.string()),
    pa.field("model_tag", pa.string()),
    pa.field("contract_sha256", pa.string()),
    pa.field("role", pa.string()),
    pa.field("answered", pa.bool_()),  # False: another model gave the answer
    pa.field("status", pa.string()),
]
_SEEN = [
    # Exactly what the model saw, of categories their codes, null for a kept null; it and the next three: in contract
    # order.
    pa.field("inputs", pa.list_(pa.float32())),
    pa.field("event_timestamps", pa.list_(TIMESTAMP)),  # of the value's oldest source row; null without one
    pa.field("states", pa.list_(pa.string())),
    pa.field("defaulted", pa.list_(pa.bool_())),
    pa.field("cached_seconds", pa.float64()),
]
FIXED_COLUMNS = pa.schema([*_REQUEST, *_ANSWERED_BY, *_SEEN])
"""The columns of every log. Lists are null for an unknown key."""

REQUEST_INPUTS = "request_inputs"
"""Column of the values that requests gave for on-demand views, as JSON text. It is the last, and only in logs of models
that ask for any."""

STATES = pa.array([state.name.lower() for state in FeatureState])
OPEN_SUFFIX, COMPLETE_SUFFIX = ".arrows", ".parquet"
WRITTEN_WITHIN = timedelta(hours=1)
"""Longest time from answer to write. A row is in the folder of the day on which it was written."""


def inference_log_schema(contract: ModelContract) -> pa.Schema:
    """One row per row of a request and model that scored it.

    The keys come after `row`, by name and type; pseudonyms, which may stand in for them, are text. The outputs come
    after `status`; they are null unless the status is `ok` or `degraded`.
    """
    return _schema(
        key_fields(contract), output_fields(contract), bool(asked_of(contract.feature_schema.request_inputs))
    )


def log_schema_of(found: pa.Schema) -> pa.Schema:
    """The log's schema with the keys and outputs that a file has, which its columns tell without the contract.

    Raises:
        ValueError: it is not an inference log; the message names the missing column.
    """
    for name in FIXED_COLUMNS.names:
        if name not in found.names:
            raise ValueError(f"has no column {name}")
    keys, outputs = keys_of(found), outputs_of_log(found)
    if not keys:
        raise ValueError("has no column of a key between row and as_of")
    if not outputs:
        raise ValueError("has no column of an output between status and inputs")
    keys = [key if pa.types.is_integer(key.type) else pa.field(key.name, pa.string()) for key in keys]
    return _schema(keys, outputs, REQUEST_INPUTS in found.names)


def keys_of(found: pa.Schema) -> list[pa.Field]:
    """The columns of a log's keys."""
    return _between(found, "row", "as_of")


def outputs_of_log(found: pa.Schema) -> list[pa.Field]:
    """The columns of a log's outputs, in the order of `OUTPUT_KINDS`: the decision or class is the last."""
    return _between(found, "status", "inputs")


def _schema(keys: Sequence[pa.Field], outputs: Sequence[pa.Field], asks_requests: bool) -> pa.Schema:
    last = [pa.field(REQUEST_INPUTS, pa.string())] if asks_requests else []
    return pa.schema([*_REQUEST, *keys, *_ANSWERED_BY, *outputs, *_SEEN, *last])


def _between(found: pa.Schema, before: str, after: str) -> list[pa.Field]:
    names = found.names[found.names.index(before) + 1 : found.names.index(after)]
    return [found.field(name) for name in names if name not in FIXED_COLUMNS.names]


def log_files(folder: Path, since: datetime | None = None, until: datetime | None = None) -> list[Path]:
    """Files that may hold answers of [since, until), UTC, oldest first, including open ones."""
    first = date.min if since is None else since.date()
    last = date.max if until is None else (until + WRITTEN_WITHIN).date()
    return files_of(day for named, day in log_days(folder) if first <= named <= last)


def log_days(folder: Path) -> list[tuple[date, Path]]:
    """The days on which rows were written, UTC, and their folders, oldest first."""
    days = []
    for day in folder.glob("date=*"):
        with suppress(ValueError):
            days.append((date.fromisoformat(day.name.removeprefix("date=")), day))
    return sorted(days)


def files_of(folders: Iterable[Path]) -> list[Path]:
    """The files of some days, oldest first, including open ones."""
    days = list(folders)
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
