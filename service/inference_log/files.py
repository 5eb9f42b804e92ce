"""One process's files of the inference log: a stream that grows, and the Parquet that it becomes.

A stream is locked (flock) while its process lives; the kernel frees the lock however the process ends. A stream that is
not locked becomes Parquet: its own process does this when the stream is full or old, else the next process that starts.
The Parquet file has the stream's name and appears in one step before the stream is removed. If both exist, a crash
happened in between, and the Parquet file has all rows.
"""

import fcntl
import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from artefacts.log_rows import COMPLETE_SUFFIX, OPEN_SUFFIX, flushed
from artefacts.process.atomic_files import sync_file, sync_folder

logger = logging.getLogger(__name__)

_ROWS_PER_GROUP = 20_000
_WRITTEN: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 3,
    # These repeat over many rows; for other columns a dictionary costs more than it saves.
    "use_dictionary": [
        *("as_of", "model_name", "model_version", "model_tag", "contract_sha256", "role", "status"),
        *("event_timestamps.list.element", "states.list.element"),
    ],
}


@dataclass(frozen=True)
class Limits:
    """When a stream becomes Parquet, and how long that is kept.

    size: bytes of the stream; the Parquet file is much smaller.
    age: seconds since the stream was opened.
    days: older day folders are removed.
    """

    size: int
    age: float
    days: int


class LogFiles:
    """The files that one process writes. Not thread-safe."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._stream: _Stream | None = None

    def append(self, rows: pa.Table, now: datetime) -> None:
        """Add rows of the log; they are on the disk when this returns.

        Rows with other columns than the rows before them begin another file.

        Raises:
            OSError: nothing was written.
        """
        if self._stream is not None and (self._stream.is_gone() or self._stream.schema != rows.schema):
            self._end()
        if self._stream is None:
            self._stream = _Stream.opened(self._folder, rows.schema, now)
        self._stream.append(rows)

    def rotate(self, now: datetime) -> None:
        """Turn a stream that is full, old or of yesterday into Parquet, and remove expired days.

        Raises:
            OSError: the folder cannot be written. Rows that are there stay readable as they are.
        """
        stream = self._stream
        if stream is not None and (
            stream.size >= self._limits.size
            or (now - stream.opened_at).total_seconds() >= self._limits.age
            or stream.opened_at.date() != now.date()
        ):
            self.close()
            self._remove_before(now.date() - timedelta(days=self._limits.days))

    def close(self) -> None:
        """End the stream. Raises as `rotate`."""
        self._end()
        self.take_over()

    def _end(self) -> None:
        stream, self._stream = self._stream, None  # also if closing fails: its descriptor cannot be used again
        if stream is not None:
            stream.close()

    def take_over(self) -> None:
        """Turn every stream whose process has ended into Parquet. Raises as `rotate`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for stream in sorted(self._folder.glob(f"date=*/*{OPEN_SUFFIX}")):
            try:
                _complete(stream)
            except pa.ArrowException as error:  # left where it is, for somebody to look at
                logger.warning("inference log: %s cannot be read: %s", stream, error)

    def _remove_before(self, first: date) -> None:
        for day in self._folder.glob("date=????-??-??"):
            if day.name.removeprefix("date=") < first.isoformat():
                for file in day.iterdir():  # other workers do the same at the same time
                    file.unlink(missing_ok=True)
                with suppress(FileNotFoundError):
                    day.rmdir()


class _Stream:
    """An Arrow stream; each batch is written to the disk as a whole or not at all."""

    def __init__(self, descriptor: int, schema: pa.Schema, opened_at: datetime) -> None:
        self._descriptor = descriptor
        self.schema = schema
        self.opened_at = opened_at
        self.size = 0

    @classmethod
    def opened(cls, folder: Path, schema: pa.Schema, now: datetime) -> "_Stream":
        """Open a new one in this day's folder. It becomes visible when it is locked and has its schema."""
        day = folder / f"date={now.date().isoformat()}"
        day.mkdir(parents=True, exist_ok=True)
        file = _name(day, now)
        # The clock was put back, or this process has just opened one: that file would hide these rows.
        while file.exists() or file.with_suffix(COMPLETE_SUFFIX).exists():
            now += timedelta(microseconds=1)
            file = _name(day, now)
        hidden = file.with_suffix(".opening")
        stream = cls(os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o640), schema, now)
        try:
            fcntl.flock(stream._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            stream._write(schema.serialize())
            hidden.rename(file)
        except BaseException:
            stream.close()
            hidden.unlink(missing_ok=True)
            raise
        return stream

    def is_gone(self) -> bool:
        """True if somebody removed it while it was open."""
        return os.fstat(self._descriptor).st_nlink == 0

    def append(self, rows: pa.Table) -> None:
        """Add rows, or none of them.

        Raises:
            OSError: they could not be written.
        """
        for batch in rows.combine_chunks().to_batches():
            self._write(batch.serialize())

    def _write(self, message: pa.Buffer) -> None:
        left, end = memoryview(message), self.size
        try:
            while left:
                written = os.pwrite(self._descriptor, left, end)
                left, end = left[written:], end + written
            os.fsync(self._descriptor)
        except OSError:
            # Nothing after half a batch can be read. If this fails too, the next batch is written over it.
            with suppress(OSError):
                os.ftruncate(self._descriptor, self.size)
            raise
        self.size = end

    def close(self) -> None:
        """Close it, which frees the lock."""
        os.close(self._descriptor)


def _name(day: Path, opened_at: datetime) -> Path:
    return day / f"{opened_at:%Y%m%dT%H%M%S.%f}-{os.uname().nodename}-{os.getpid()}{OPEN_SUFFIX}"


def _complete(stream: Path) -> None:
    parquet = stream.with_suffix(COMPLETE_SUFFIX)
    with suppress(FileNotFoundError, BlockingIOError), stream.open("rb") as held:  # another was faster; it is written
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not parquet.exists():
            groups = _row_groups(flushed(stream))
            first = next(groups, None)
            if first is not None:
                with _appearing(parquet) as partial, pq.ParquetWriter(partial, first.schema, **_WRITTEN) as writer:
                    writer.write_table(first)
                    for group in groups:
                        writer.write_table(group)
        stream.unlink(missing_ok=True)


def _row_groups(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.Table]:
    """Join batches into row groups: few, but small enough for little memory."""
    group: list[pa.RecordBatch] = []
    for batch in batches:
        group.append(batch)
        if sum(map(len, group)) >= _ROWS_PER_GROUP:
            yield pa.Table.from_batches(group)
            group = []
    if group:
        yield pa.Table.from_batches(group)


@contextmanager
def _appearing(file: Path) -> Iterator[Path]:
    """Yield a path to write to. It becomes `file` in one step, on the disk, if the block ends without an error."""
    partial = file.with_name(f".{file.name}.partial")
    try:
        yield partial
        sync_file(partial)
        partial.rename(file)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(file.parent)
