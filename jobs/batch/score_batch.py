"""Scores every or listed keys from the offline store as of a time, on one machine, in chunks."""

import logging
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.addresses import Artefacts
from artefacts.prediction_rows import prediction_schema
from artefacts.process.atomic_files import replaced_folder
from contract import Resolver
from jobs.batch.key_list import KeyList, read_key_list
from jobs.batch.prediction_rows import counts, feature_issues, predictions
from jobs.errors import JobError
from jobs.feature_store import open_feature_store
from jobs.offline_store.builds import check_whole
from jobs.offline_store.latest_rows import ViewSource, check_columns, connect, key_ranges, latest_rows
from jobs.offline_store.offline_features import FeaturePlan, StoredRows
from jobs.offline_store.view_files import build_of, resolved
from jobs.times import unix_us
from scoring.models.imported_model import ImportedModel
from scoring.outcomes import outcomes, statuses_of
from scoring.task_outputs import task_outputs

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
        listed = read_key_list(request.keys, contract.join_key, resolver)
    store = open_feature_store(artefacts)
    plan = FeaturePlan.of(store, contract)
    # All views of one build, even if a new one is put in place meanwhile.
    views = {name: store.registry.get_feature_view(name, store.project) for name in plan.views}
    sources = {name: resolved(ViewSource.of(view, store.repo_path)) for name, view in views.items()}
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
    resolver = Resolver.of(batch.model.contract)
    as_of_us = unix_us(as_of)
    with connect() as connection:
        for key_range in key_ranges(connection, list(batch.sources.values()), KEYS_PER_CHUNK):
            started = time.monotonic()
            listed = batch.listed.between(key_range.low, key_range.high) if batch.listed else None
            if listed is not None and not len(listed.keys):
                continue
            only = pa.table({batch.plan.join_key: listed.keys}) if listed else None
            rows = {
                name: latest_rows(connection, source, as_of, key_range, only) for name, source in batch.sources.items()
            }
            read = time.monotonic()
            keys = listed.keys if listed else _every_key(rows, batch.plan.join_key)
            if not len(keys):
                continue
            aligned = {
                view: StoredRows.aligned(rows[view], keys, batch.sources[view], fields)
                for view, fields in batch.plan.views.items()
            }
            raw = batch.plan.assemble(keys, aligned, as_of_us)
            resolved = resolver.resolve(raw, as_of_us / 1e6, listed.overrides if listed else None)
            made = outcomes(resolved, batch.model.score(resolved.matrix), task_outputs(batch.model.contract))
            table = predictions(keys, made, feature_issues(resolved), batch.model.contract, as_of)
            done.seconds["read"] += read - started
            done.seconds["score"] += time.monotonic() - read
            yield table


def _every_key(rows: dict[str, pa.Table], join_key: str) -> pa.Array:
    """Sorted keys with a row in any view."""
    ids = pc.unique(
        pa.chunked_array([chunk for table in rows.values() for chunk in table[join_key].chunks], pa.string())
    )
    return ids.take(pc.sort_indices(ids))


def report(done: BatchResult) -> str:
    """Summarize a result for people: rows by status, seconds by stage."""
    statuses = ", ".join(f"{rows:,} {status}" for status, rows in done.statuses.items() if rows)
    seconds = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in done.seconds.items())
    return f"{done.rows:,} rows ({statuses}) in {done.partition}\n  {seconds}"
