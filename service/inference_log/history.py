"""Finds the last logged answers of one key, newest first, in bounded time and without delaying predictions."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from datetime import time as time_of_day
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.log_rows import (
    COMPLETE_SUFFIX,
    OPEN_SUFFIX,
    files_of,
    flushed,
    keys_of,
    log_days,
    log_schema_of,
    outputs_of_log,
)
from contract import Key, ModelContract, MulticlassTask, key_values
from scoring.models.imported_model import ImportedModel
from scoring.pseudonyms import Pseudonyms
from service.errors import OverloadedError
from service.own_threads import in_own_thread

_ANSWERED_BY = ("as_of", "request_id", "row", "model_version", "status", "role", "contract_sha256", "answered")


@dataclass(frozen=True)
class Bounds:
    """How much of the log one look reads at most.

    size: bytes, compressed; of an open file all that it has.
    """

    seconds: float = 2.0
    files: int = 2000
    size: int = 256_000_000


class LoggedAnswers(NamedTuple):
    """What a look has found.

    answers: newest first, each with the members of `GET /history`.
    complete: there are no further or newer ones; False: a bound ended the look, or a file could not be read.
    """

    answers: list[dict[str, Any]]
    complete: bool


class AnswerHistory:
    """Looks into the folder of an inference log, once at a time.

    Args:
        pseudonyms: those that the log is written with; None: it has the keys themselves.
        clock: seconds that only grow.
    """

    def __init__(
        self,
        folder: Path,
        pseudonyms: Pseudonyms | None = None,
        bounds: Bounds = Bounds(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._pseudonyms = pseudonyms
        self._bounds = bounds
        self._clock = clock
        self._one = threading.Lock()

    async def last(
        self, model: ImportedModel, key: Key, limit: int, challenger: ImportedModel | None = None
    ) -> LoggedAnswers:
        """Find the last answers, in a thread of its own. See `look`."""
        return await in_own_thread(self.look, model, key, limit, challenger)

    def look(
        self, model: ImportedModel, key: Key, limit: int, challenger: ImportedModel | None = None
    ) -> LoggedAnswers:
        """Find the last answers of a key: those of models with the name and the outputs of `model`.

        Each comes with what a shadow computed of the same request, if it has been written.

        Args:
            challenger: live beside `model`; its classes are those of `model`.

        Raises:
            OverloadedError: another look has not ended.
        """
        if not self._one.acquire(blocking=False):
            raise OverloadedError("another request reads the history")
        try:
            asked, live = self._asked(model.contract, key), [model, *([challenger] if challenger else [])]
            return _Look(asked, live, limit, self._bounds, self._clock).over(self._folder)
        finally:
            self._one.release()

    def _asked(self, contract: ModelContract, key: Key) -> dict[str, str | int]:
        values = key_values(key)
        if self._pseudonyms is not None:
            values = tuple(self._pseudonyms.of(values))
        join_keys = (join_key.join_key for join_key in contract.feature_schema.entity_keys)
        return dict(zip(join_keys, values, strict=True))


class _BoundReachedError(Exception):
    """No more of the log may be read."""


_Row = tuple[str, int]
"""Request id, and number of the row in the request."""


class _Look:
    """One look: what it may still read, and the newest answers so far.

    Args:
        asked: column → the value that it must have.
        live: the models that are live, the champion first.
    """

    def __init__(
        self,
        asked: dict[str, str | int],
        live: Sequence[ImportedModel],
        limit: int,
        bounds: Bounds,
        clock: Callable[[], float],
    ) -> None:
        self._asked = asked
        self._contract = live[0].contract
        self._outputs = self._contract.outputs
        self._live = {model.contract_sha256 for model in live}
        self._limit = limit
        self._clock = clock
        self._until = clock() + bounds.seconds
        self._files, self._size = bounds.files, bounds.size
        self._found: list[tuple[datetime, _Row, dict[str, Any]]] = []
        self._shadows: dict[_Row, dict[str, Any]] = {}

    def over(self, folder: Path) -> LoggedAnswers:
        complete = True
        try:
            for day, files in reversed(log_days(folder)):
                # Rows of a day are in its folder or in the next one's.
                if self._all_since(datetime.combine(day + timedelta(days=1), time_of_day(), UTC)):
                    break
                for file in reversed(files_of([files])):
                    complete &= self._read(file)
        except _BoundReachedError:
            complete = False
        beside = [{**answer, "shadow": self._shadows.get(row)} for _, row, answer in self._found]
        return LoggedAnswers(beside, complete)

    def _all_since(self, moment: datetime) -> bool:
        """True if as many as asked for are found, and none of them is older."""
        return len(self._found) == self._limit and self._found[-1][0] >= moment

    def _spend(self, size: int, files: int = 0) -> None:
        self._files -= files
        self._size -= size
        if self._files < 0 or self._size < 0 or self._clock() >= self._until:
            raise _BoundReachedError

    def _read(self, file: Path) -> bool:
        """Take a file's answers. False if it cannot be read."""
        try:
            if file.suffix == OPEN_SUFFIX:
                try:
                    self._read_stream(file)
                    return True
                except FileNotFoundError:  # it became Parquet meanwhile
                    file = file.with_suffix(COMPLETE_SUFFIX)
            self._read_parquet(file)
        except FileNotFoundError:  # its day was removed meanwhile
            return True
        except (pa.ArrowException, OSError, ValueError):  # damaged, or no inference log
            return False
        return True

    def _read_stream(self, file: Path) -> None:
        self._spend(file.stat().st_size, files=1)
        for batch in flushed(file):
            self._spend(0)
            rows = pa.Table.from_batches([batch])
            if self._has_answers(rows.schema):
                self._take(rows.filter(self._wanted(rows)))

    def _read_parquet(self, file: Path) -> None:
        with pq.ParquetFile(file) as parquet:
            described, columns = parquet.metadata, list(self._asked)
            self._spend(described.serialized_size, files=1)
            if not self._has_answers(parquet.schema_arrow):
                return
            at = {described.schema.column(column).path.split(".")[0]: column for column in range(described.num_columns)}
            for group in reversed(range(described.num_row_groups)):
                stored = {name: described.row_group(group).column(column) for name, column in at.items()}
                if not self._may_hold(stored):
                    continue
                tested = [*columns, "model_name"]
                self._spend(sum(stored[name].total_compressed_size for name in tested))
                wanted = self._wanted(parquet.read_row_group(group, tested, use_threads=False))
                if pc.any(wanted).as_py():
                    names = [*_ANSWERED_BY, *(output.name for output in self._outputs)]
                    self._spend(sum(stored[name].total_compressed_size for name in names))
                    self._take(parquet.read_row_group(group, names, use_threads=False).filter(wanted))

    def _has_answers(self, found: pa.Schema) -> bool:
        """True if a file's keys and outputs are those asked for, pseudonyms in both places or in none.

        Raises:
            ValueError: it is not an inference log.
        """
        schema = log_schema_of(found)
        of_text = {name: isinstance(value, str) for name, value in self._asked.items()}
        return of_text == {key.name: pa.types.is_string(key.type) for key in keys_of(schema)} and [
            output.name for output in self._outputs
        ] == [output.name for output in outputs_of_log(schema)]

    def _may_hold(self, stored: dict[str, Any]) -> bool:
        """False if a row group's statistics exclude every row that is asked for."""
        latest = stored["as_of"].statistics
        if latest is not None and latest.has_min_max and self._all_since(latest.max):
            return False
        for name, value in self._asked.items():
            known = stored[name].statistics
            if known is not None and known.has_min_max and not known.min <= value <= known.max:
                return False
        return True

    def _wanted(self, rows: pa.Table) -> pa.ChunkedArray:
        wanted = pc.equal(rows["model_name"], self._contract.model_name)
        for name, value in self._asked.items():
            wanted = pc.and_(wanted, pc.equal(rows[name], pa.scalar(value, rows[name].type)))
        return wanted

    def _take(self, rows: pa.Table) -> None:
        for row in self._newest(rows.filter(pc.invert(rows["answered"]))):
            computed = {"model_version": row["model_version"], **self._decoded(row)}
            self._shadows[row["request_id"], row["row"]] = computed
        for row in self._newest(rows.filter(rows["answered"])):
            answer = {
                "time": row["as_of"],
                "request_id": row["request_id"],
                "model_version": row["model_version"],
                **self._decoded(row),
                "status": row["status"],
                "role": row["role"],
            }
            self._found.append((row["as_of"], (row["request_id"], row["row"]), answer))
        self._found.sort(key=itemgetter(0), reverse=True)
        del self._found[self._limit :]

    def _newest(self, rows: pa.Table) -> list[dict[str, Any]]:
        if len(rows) > self._limit:
            rows = rows.sort_by([("as_of", "descending")]).slice(0, self._limit)
        newest: list[dict[str, Any]] = rows.to_pylist()
        return newest

    def _decoded(self, row: dict[str, Any]) -> dict[str, Any]:
        outputs = {output.name: row[output.name] for output in self._outputs}
        task = self._contract.task
        if isinstance(task, MulticlassTask):
            # The log has no names of classes beside their probabilities, and another contract may have other classes.
            listed, same = self._outputs[0].name, row["contract_sha256"] in self._live
            known = same and outputs[listed] is not None
            outputs[listed] = dict(zip(task.classes, outputs[listed], strict=True)) if known else None
        return outputs
