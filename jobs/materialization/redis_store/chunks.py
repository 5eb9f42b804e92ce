"""Reads and encodes a view's latest rows by ranges of keys, each while the previous one is being written."""

import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from jobs.materialization.redis_store.encoding import StoredFormat, StoredHashes
from jobs.offline_store.latest_rows import KeyRange, ViewSource, changed_keys, latest_rows
from jobs.offline_store.view_files import identities

_LOG = logging.getLogger(__name__)

_LINE_INTERVAL_SECONDS = 1.0
"""Seconds between two progress lines."""


@dataclass(frozen=True)
class BuildView:
    """A view over one build.

    through_link: the files as the feature view names them, through the link `current`.
    source: the same files in the build that was in place at the start.
    """

    through_link: ViewSource
    source: ViewSource
    stored_format: StoredFormat


@dataclass(frozen=True)
class Chunk:
    """The rows of a range of keys.

    files: the view's files before the rows were read.
    vanished: Redis keys of entities that were looked for and have no row.
    """

    key_range: KeyRange
    files: dict[str, str]
    rows: pa.Table
    hashes: StoredHashes
    vanished: pa.BinaryArray


@dataclass(frozen=True)
class ChunkReader:
    """Reads the latest rows at `until`; every method raises `JobError` for files that cannot be read.

    changed: read only entities with rows in these files; None reads all. The view may have lost some of the files.
    """

    connection: duckdb.DuckDBPyConnection
    source: ViewSource
    stored_format: StoredFormat
    until: datetime
    changed: ViewSource | None

    def read(self, key_range: KeyRange) -> Chunk:
        """Read the range's current rows."""
        files = identities(self.source)
        with self.connection.cursor() as cursor:
            keys = None
            if self.changed is not None:
                keys = changed_keys(cursor, self.changed, self.until, key_range)
            rows = latest_rows(cursor, self.source, self.until, key_range, keys)
        hashes, vanished = self.stored_format.encode(rows), pa.array([], pa.binary())
        if keys is not None:
            wanted = self.stored_format.encode_keys(keys)
            vanished = wanted.filter(pc.invert(pc.is_in(wanted, hashes.keys)))
        return Chunk(key_range, files, rows, hashes, vanished)

    def is_current(self, chunk: Chunk) -> bool:
        """False if the view's files have changed since the chunk was read."""
        return identities(self.source) == chunk.files

    def read_ahead(self, ranges: Sequence[KeyRange]) -> Iterator[Chunk]:
        """Read all ranges in order, one ahead; two chunks are in memory at a time."""
        with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reads-ahead") as thread:
            ahead: Future[Chunk] | None = None
            for key_range in (*ranges, None):
                reading = thread.submit(self.read, key_range) if key_range is not None else None
                if ahead is not None:
                    yield ahead.result()
                ahead = reading


class Progress:
    """Prints the progress of a pass, at most once a second."""

    def __init__(self, view: str, chunks: int) -> None:
        self._view, self._chunks = view, chunks
        self._chunk = self._rows = 0
        self._began = self._last_line_at = time.monotonic()

    def tell(self, rows: int) -> None:
        """Count one more written chunk."""
        self._chunk, self._rows = self._chunk + 1, self._rows + rows
        if (now := time.monotonic()) - self._last_line_at >= _LINE_INTERVAL_SECONDS:
            self._last_line_at = now
            rate = self._rows / (now - self._began)
            _LOG.info(
                f"  {self._view}: chunk {self._chunk:,} of {self._chunks:,}, {self._rows:,} rows, {rate:,.0f} rows/s",
            )
