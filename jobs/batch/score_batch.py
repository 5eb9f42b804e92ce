"""Scores every or listed keys from the offline store as of a time, on one machine, in chunks."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from artefacts.addresses import Artefacts
from artefacts.prediction_rows import prediction_schema
from artefacts.process.atomic_files import replaced_folder
from contract import Resolver
from jobs.batch.key_list import KeyList, read_key_list, without_values
from jobs.batch.prediction_rows import counts, feature_issues, predictions
from jobs.errors import JobError
from jobs.feature_store import open_feature_store
from jobs.offline_store.builds import check_whole
from jobs.offline_store.column_types import check_columns
from jobs.offline_store.key_tables import sorted_distinct
from jobs.offline_store.latest_rows import KeyRange, ViewSource, connect, key_ranges, latest_rows
from jobs.offline_store.offline_features import FeaturePlan, StoredRows
from jobs.offline_store.view_files import build_of, resolved
from jobs.times import unix_us
from scoring.models.imported_model import ImportedModel
from scoring.outcomes import outcomes, statuses_of
from scoring.task_outputs import task_outputs

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_LOG = logging.getLogger(__name__)

KEYS_PER_CHUNK = 100_000


@dataclass(frozen=True)
class BatchRequest:
    """What to score.

    as_of: UTC; the time of features and request-time inputs.
    out: folder of all predictions, with a partition per model version and time.
    keys: a file of keys, see `read_key_list`; None scores every key with a row.
    """

    as_of: datetime
    out: Path
    keys: Path | None = None


@dataclass
class BatchResult:
    """Result of a batch; `seconds` by stage."""

    partition: Path
    statuses: dict[str, int]
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def rows(self) -> int:
        """Keys scored, refused or unknown."""
        return sum(self.statuses.values())


@dataclass(frozen=True)
class OpenedBatch:
    """Everything that scoring needs, opened and checked."""

    model: ImportedModel
    plan: FeaturePlan
    sources: dict[str, ViewSource]
    listed: KeyList | None
    partition: Path


def partition_of(request: BatchRequest, model: ImportedModel) -> Path:
    """Folder of the predictions of one model version at one time; without colons, which some file systems refuse.

    Folder names differ from column names, because readers of all of `out` take folders as columns.
    """
    micros = f".{request.as_of.microsecond:06d}" if request.as_of.microsecond else ""
    time_of_day = f"{request.as_of:%Y-%m-%dT%H%M%S}{micros}Z"
    return request.out / f"version={model.contract.model_version}" / f"scored_as_of={time_of_day}"


def open_batch(artefacts: Artefacts, model: ImportedModel, request: BatchRequest, now: datetime) -> OpenedBatch:
    """Open the registry, the offline store and the list of keys, and check them against the model's contract.

    Raises:
        JobError: the time lies in the future, or one of them cannot be used.
        ContractError: the registry does not fulfil the contract.
    """
    if request.as_of > now:
        raise JobError(f"AS_OF {request.as_of.isoformat()} lies in the future; no features are known yet")
    contract = model.contract
    resolver = Resolver.of(contract)
    listed = None
    if request.keys is not None:
        listed = read_key_list(request.keys, contract, resolver)
    else:
        without_values(contract)
    store = open_feature_store(artefacts)
    plan = FeaturePlan.of(store, contract)
    # All views of one build, even if a new one is put in place meanwhile.
    views = {name: store.registry.get_feature_view(name, store.project) for name in plan.views}
    sources = {
        name: resolved(ViewSource.of(view, store.repo_path)).ordered_as(plan.join_keys) for name, view in views.items()
    }
    if listed is None and not plan.whole_keys:
        raise JobError(
            f"no feature view is read by all of {', '.join(plan.join_keys)}, so nothing says which of them belong "
            "together: give a file of them, ENTITIES=…"
        )
    for build in {build_of(source) for source in sources.values()}:
        check_whole(build)
    for source in sources.values():
        check_columns(source)
    return OpenedBatch(model, plan, sources, listed, partition_of(request, model))


def score_batch(artefacts: Artefacts, model: ImportedModel, request: BatchRequest, now: datetime) -> BatchResult:
    """Score and put the partition in place in one step. A re-run replaces it; a failed run leaves the old one.

    Memory is bounded by a chunk of `KEYS_PER_CHUNK` keys and by DuckDB's limit.

    Raises:
        JobError: as `open_batch`; or no key has a row at that time.
        ContractError: as `open_batch`.
    """
    batch = open_batch(artefacts, model, request, now)
    done = BatchResult(batch.partition, dict.fromkeys(statuses_of(batch.model.contract), 0))
    with (
        writing_to(request.out),
        replaced_folder(batch.partition) as folder,
        pq.ParquetWriter(folder / "part-0.parquet", prediction_schema(model.contract)) as writer,
    ):
        for table in _chunks(batch, request.as_of, done):
            started = time.monotonic()
            writer.write_table(table)
            done.seconds["write"] += time.monotonic() - started
            for status, rows in counts(table, batch.model.contract).items():
                done.statuses[status] += rows
            _LOG.info(f"  {done.rows:,} rows")
        if not done.rows:
            raise nothing_to_score(request, model)
    return done


@contextmanager
def writing_to(out: Path) -> Iterator[None]:
    """Raises: JobError, the block could not write the predictions."""
    try:
        yield
    except OSError as error:
        raise JobError(f"{out}: the predictions cannot be written: {error.strerror or error}") from None


def nothing_to_score(request: BatchRequest, model: ImportedModel) -> JobError:
    """Error for a batch without any row."""
    return JobError(f"no {model.contract.entity} has features at {request.as_of.isoformat()}; the data start later")


def _chunks(batch: OpenedBatch, as_of: datetime, done: BatchResult) -> Iterator[pa.Table]:
    contract = batch.model.contract
    resolver = Resolver.of(contract)
    as_of_us = unix_us(as_of)
    with connect() as connection:
        for key_range, listed in _parts(connection, batch):
            started = time.monotonic()
            only = listed.keys if listed else None
            rows = {
                name: latest_rows(connection, batch.sources[name], as_of, key_range, only)
                for name in batch.plan.whole_keys
            }
            keys = listed.keys if listed else _every_key(rows.values(), batch.plan.join_keys)
            if not len(keys):
                continue
            for name, source in batch.sources.items():
                if name not in rows:
                    wanted = sorted_distinct(keys.select(list(source.join_keys)))
                    rows[name] = latest_rows(connection, source, as_of, keys=wanted)
            read = time.monotonic()
            aligned = {
                view: StoredRows.aligned(rows[view], keys, batch.sources[view], fields)
                for view, fields in batch.plan.views.items()
            }
            given = listed.given if listed else _repeated(without_values(contract), len(keys))
            raw = batch.plan.assemble(keys, aligned, as_of_us, given)
            resolved = resolver.resolve(raw, as_of_us / 1e6, listed.overrides if listed else None)
            made = outcomes(resolved, batch.model.score(resolved.matrix), task_outputs(contract))
            table = predictions(keys, made, feature_issues(resolved), contract, as_of)
            done.seconds["read"] += read - started
            done.seconds["score"] += time.monotonic() - read
            yield table


def _parts(connection: "DuckDBPyConnection", batch: OpenedBatch) -> Iterator[tuple[KeyRange, KeyList | None]]:
    """Ranges of keys, and the listed ones in each; of a list, only ranges in which it has some."""
    listed, whole = batch.listed, [batch.sources[name] for name in batch.plan.whole_keys]
    if whole:
        for key_range in key_ranges(connection, whole, KEYS_PER_CHUNK):
            part = listed.between(key_range.low, key_range.high) if listed else None
            if part is None or len(part.keys):
                yield key_range, part
    elif listed:
        for start in range(0, len(listed.keys), KEYS_PER_CHUNK):
            rows = np.arange(start, min(start + KEYS_PER_CHUNK, len(listed.keys)))
            yield KeyRange(), listed.take(rows)


def _every_key(rows: Iterable[pa.Table], join_keys: Sequence[str]) -> pa.Table:
    """Sorted keys with a row in any view."""
    return sorted_distinct(pa.concat_tables([table.select(list(join_keys)) for table in rows]))


def _repeated(values: dict[str, Any], times: int) -> dict[str, list[Any]]:
    return {name: [value] * times for name, value in values.items()}


def report(done: BatchResult) -> str:
    """Summarize a result for people: rows by status, seconds by stage."""
    statuses = ", ".join(f"{rows:,} {status}" for status, rows in done.statuses.items() if rows)
    seconds = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in done.seconds.items())
    return f"{done.rows:,} rows ({statuses}) in {done.partition}\n  {seconds}"
