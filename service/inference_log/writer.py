"""Writes every answered row to disk, for audits. Predictions put their rows into a queue and never wait.

A crash can lose the rows of the last `SERVICE_INFERENCE_LOG_FLUSH_SECONDS` and those of the current write.
"""

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from artefacts.output_columns import key_fields
from scoring.errors import ModelError
from scoring.inference_log import Answers, log_table, together
from scoring.pseudonyms import Pseudonyms
from service.errors import StartupError
from service.inference_log.files import Limits, LogFiles
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics

logger = logging.getLogger(__name__)

ROWS_PER_FLUSH = 5000
"""So many waiting rows are written at once, before the flush interval ends."""
_ROWS_PER_PIECE, _PAUSE_SECONDS = 500, 0.0005
"""Tables are made piece by piece: requests wait for the interpreter while one is made, about a millisecond."""


def pseudonyms_of(settings: ServiceSettings) -> Pseudonyms | None:
    """Open the pseudonyms that replace keys in the log; None: keys are logged as they are.

    Raises:
        StartupError: the settings name a key that cannot be used.
    """
    if not settings.inference_log_id_key_file:
        return None
    try:
        return Pseudonyms.from_file(Path(settings.inference_log_id_key_file))
    except ModelError as error:
        raise StartupError(f"SERVICE_INFERENCE_LOG_ID_KEY_FILE: {error}") from None


class InferenceLog:
    """A bounded queue, and a thread that writes it to the folder.

    A folder that cannot be written costs rows, which are counted, and never an answer.

    Args:
        folder: need not exist or be writable; failures are logged, counted and tried again.
        clock: UTC; names and rotates the files.

    Raises:
        StartupError: as `pseudonyms_of`.
    """

    def __init__(
        self,
        folder: Path,
        settings: ServiceSettings,
        metrics: ServiceMetrics,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._pseudonyms = pseudonyms_of(settings)
        self._folder = folder
        self._files = LogFiles(
            folder,
            Limits(
                settings.inference_log_file_mb * 1_000_000,
                settings.inference_log_file_seconds,
                settings.inference_log_days,
            ),
        )
        self._flush_seconds = settings.inference_log_flush_seconds
        self._most = settings.inference_log_queue_rows
        self._metrics = metrics
        self._clock = clock
        self._batches: deque[Answers] = deque()
        self._putting = threading.Lock()  # of `_rows_in`; `_rows_out` is the writer's alone
        self._rows_in, self._rows_out = 0, 0
        self._wake = threading.Event()
        self._closing = False
        self._failing = False
        self._writer = threading.Thread(target=self._write_until_closed, name="inference log", daemon=True)
        self._writer.start()

    def put(self, answers: Answers) -> None:
        """Queue n rows, in microseconds; if the queue is full, drop and count them.

        Their arrays must not be changed afterwards. A shadow calls this from its own thread.
        """
        rows = len(answers)
        with self._putting:
            waiting = self._rows_in - self._rows_out + rows
            if waiting > self._most:
                self._metrics.log_rows("dropped_full", rows)
                return
            self._batches.append(answers)
            self._rows_in += rows
        if waiting >= ROWS_PER_FLUSH and not self._wake.is_set():
            self._wake.set()

    def close(self, seconds: float = 5) -> None:
        """Write what waits and end the file. It waits at most `seconds`, so call it in a thread.

        Rows not written by then are lost, as in a crash. The next process completes the file.
        """
        self._closing = True
        self._wake.set()
        self._writer.join(seconds)
        if self._writer.is_alive():
            logger.warning("inference log: not written within %g s: %d rows", seconds, self._rows_in - self._rows_out)

    def _write_until_closed(self) -> None:
        self._attempt(self._files.take_over)
        closing = False
        while not closing:
            self._wake.wait(self._flush_seconds)
            self._wake.clear()
            closing = self._closing
            self._attempt(lambda: self._files.rotate(self._clock()))
            self._flush()
        self._attempt(self._files.close)

    def _flush(self) -> None:
        batches = []
        while self._batches:
            batches.append(self._batches.popleft())
        rows = sum(map(len, batches))
        self._metrics.log_waiting(rows)
        if rows:
            written = sum(map(self._written, self._by_columns(batches)))
            if written and self._failing:
                self._failing = False
                self._metrics.log_failing(False)
                logger.info("inference log: %s is written again", self._folder)
            self._metrics.log_rows("written", written)
            self._metrics.log_rows("dropped_failed", rows - written)
            self._rows_out += rows

    def _written(self, table: pa.Table) -> int:
        """Number of rows that were written: all of them or none."""
        return len(table) if self._attempt(lambda: self._files.append(table, self._clock())) else 0

    def _by_columns(self, batches: Sequence[Answers]) -> list[pa.Table]:
        """Make tables of all rows, one for all models with the same outputs.

        A batch that cannot be expressed is left out.
        """
        tables: dict[pa.Schema, list[pa.Table]] = {}
        for piece in _pieces(batches):
            for table in self._tables(piece):
                tables.setdefault(table.schema, []).append(table)
            time.sleep(_PAUSE_SECONDS)
        return [pa.concat_tables(alike) for alike in tables.values()]

    def _tables(self, piece: Sequence[Answers]) -> list[pa.Table]:
        try:
            table = log_table(together(piece))
            if self._pseudonyms is not None:
                for key in key_fields(piece[0].model.contract):
                    pseudonyms = pa.array(self._pseudonyms.of(table[key.name].to_pylist()), pa.string())
                    table = table.set_column(table.column_names.index(key.name), key.name, pseudonyms)
            return [table]
        except Exception:
            if len(piece) > 1:
                return [table for batch in piece for table in self._tables([batch])]
            logger.exception("inference log: rows of a batch cannot be logged: %d", len(piece[0]))
            return []

    def _attempt(self, write: Callable[[], None]) -> bool:
        """Write; return False on any failure. Only the first of several failures is logged."""
        try:
            write()
        except Exception as error:
            if not self._failing:
                foreseen = isinstance(error, OSError)
                logger.warning(
                    "inference log: %s cannot be written, rows are dropped until it can: %s",
                    self._folder,
                    error,
                    exc_info=not foreseen,
                )
            self._failing = True
            self._metrics.log_failing(True)
            return False
        return True


def _pieces(batches: Sequence[Answers]) -> Iterator[list[Answers]]:
    """Group the batches of each model into pieces of about `_ROWS_PER_PIECE` rows."""
    by_model: dict[int, list[Answers]] = {}
    rows: Counter[int] = Counter()
    for batch in batches:
        model = id(batch.model)
        by_model.setdefault(model, []).append(batch)
        rows[model] += len(batch)
        if rows[model] >= _ROWS_PER_PIECE:
            yield by_model.pop(model)
            del rows[model]
    yield from by_model.values()
