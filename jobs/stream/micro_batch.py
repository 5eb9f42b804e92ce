"""Processes one micro-batch of the stream: orders → their customers' features, online and offline → predictions.

Each step replaces what an earlier try of the batch left, so an interrupted batch is simply repeated. This module does
not know Spark, which delivers the orders and remembers finished batches.
"""

import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.addresses import Artefacts
from artefacts.build_files import STREAMED, STREAMED_ROWS, UNDER_WAY, streamed_batches, written
from artefacts.process.atomic_files import replaced_file, replaced_folder
from contract import Resolver
from jobs.batch.prediction_rows import counts, feature_issues, predictions
from jobs.errors import JobError
from jobs.features.source import EventSource
from jobs.materialization.locks import FAILURES, online_writer
from jobs.materialization.owners import claim
from jobs.materialization.progress import Materialized
from jobs.materialization.redis_store.encoding import StoredFormat
from jobs.materialization.redis_store.redis_writer import OnlineRows
from jobs.offline_store.builds import check_whole, read_build, switching
from jobs.offline_store.latest_rows import ViewSource, connect, latest_rows, rows_of, text
from jobs.offline_store.offline_features import FeaturePlan, StoredRows
from jobs.offline_store.owner import owner_of
from jobs.offline_store.view_files import identity
from jobs.settings import JobsSettings
from jobs.stream.feature_rows import LIFETIME, WINDOWED, rows_of_new_orders
from jobs.stream.order_events import RefusedEvent
from jobs.times import unix_us
from scoring.erased_keys import ErasedKeys
from scoring.models.imported_model import ImportedModel
from scoring.outcomes import outcomes
from scoring.task_outputs import task_outputs
from training.churn.source.orders_file import data_set_of, find_orders
from training.churn.source.orders_schema import DATA_SET, ORDERS_SCHEMA

if TYPE_CHECKING:
    from feast import FeatureStore


@dataclass(frozen=True)
class StreamFolders:
    """A stream's output folders; each batch has its own folder in both.

    predictions: `batch=<n>/part-0.parquet`, with the rows of batch scoring.
    dead_letters: `batch=<n>/events.jsonl`, one object with `event` and `reason` per line.
    """

    predictions: Path
    dead_letters: Path


@dataclass
class BatchRecord:
    """Result of a micro-batch.

    orders: new orders; those delivered before are `repeated`.
    late: new orders behind the watermark.
    lag_seconds: from the newest order's event time to the end of the batch; None without orders on time.
    """

    number: int
    orders: int = 0
    repeated: int = 0
    late: int = 0
    refused: int = 0
    customers: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    lag_seconds: float | None = None
    seconds: float = 0.0


class StreamBatches:
    """Processes micro-batches, one after the other.

    A batch adds its new orders to the streamed orders. Its folder there is marked until the batch is done, so an
    interrupted batch is found without Spark, and its orders do not count as done.

    Args:
        client: Feast's own client of Redis.
    """

    def __init__(
        self,
        artefacts: Artefacts,
        source: EventSource,
        store: "FeatureStore",
        client: Any,
        model: ImportedModel,
        folders: StreamFolders,
        settings: JobsSettings,
    ) -> None:
        self._artefacts = artefacts
        self._source = source
        self._project = store.project
        self._client = client
        self._model = model
        self._folders = folders
        self._settings = settings
        self._owner = owner_of(artefacts.offline_store, settings.owner)
        self._marks = Materialized(client, store.project)
        self._checked_build: Path | None = None
        self._plan = FeaturePlan.of(store, model.contract)
        self._resolver = Resolver.of(model.contract)
        self._formats = {
            name: StoredFormat.of(store, store.registry.get_feature_view(name, store.project))
            for name in (LIFETIME, WINDOWED)
        }
        self._sources = {
            name: ViewSource.of(store.registry.get_feature_view(name, store.project), store.repo_path)
            for name in self._plan.views
        }

    def claim(self) -> None:
        """Check that the online rows belong to this offline store.

        Raises:
            JobError: they do not, or Redis did not answer.
        """
        try:
            claim(self._client, self._project, self._owner)
        except FAILURES as error:
            raise JobError(f"Redis did not answer: {type(error).__name__}") from None

    def process(self, number: int, orders: pa.Table, refused: Sequence[RefusedEvent], now: datetime) -> BatchRecord:
        """Process one batch, for the first time or again.

        Args:
            number: the batch's, equal in every try; see `jobs.stream.checkpoint.batch_number`.
            orders: of `ORDERS_SCHEMA`. Those of customers who were erased are dropped, and so are their refused events.
            now: UTC; the time of scoring.

        Raises:
            JobError, SourceError: a store or the orders cannot be used now; the batch can be tried again.
        """
        started = time.monotonic()
        self._check_store()
        erased = ErasedKeys.of(self._artefacts.offline_store)
        orders, refused = erased.without(orders), [one for one in refused if not _is_of(erased, one)]
        record = BatchRecord(number, refused=len(refused))
        self._write_dead_letters(number, refused)
        with tempfile.TemporaryDirectory(dir=self._settings.scratch_dir, prefix="stream-") as scratch:
            history = Path(scratch) / "history.parquet"
            new = self._store_orders(number, orders, history, record)
            behind = pc.less(new["event_timestamp"], pa.scalar(now - self._watermark, ORDERS_SCHEMA.field(2).type))
            record.late = pc.sum(behind).as_py() or 0
            timely = new.filter(pc.invert(behind))
            if timely.num_rows:
                customers = pc.unique(timely["customer_id"])
                record.customers = len(customers)
                rows = self._feature_rows(timely, history, Path(scratch), now)
                self._write_features(number, rows, now)
                self._score(number, customers, record, now)
                record.lag_seconds = (datetime.now(UTC) - pc.max(timely["event_timestamp"]).as_py()).total_seconds()
        (self._folder_of(number) / UNDER_WAY).unlink(missing_ok=True)
        record.seconds = time.monotonic() - started
        return record

    def interrupted(self) -> list[int]:
        """Numbers of the batches that were started but not finished, ascending."""
        batches = find_orders(self._source).streamed_batches
        return sorted(number for number in batches if (self._folder_of(number) / UNDER_WAY).exists())

    def process_again(self, number: int, now: datetime) -> BatchRecord:
        """Process an interrupted batch with the orders that it had stored; raises as `process`."""
        files = streamed_batches(self._source.streamed_orders)[number]
        return self.process(number, pa.concat_tables(map(pq.read_table, files)), (), now)

    def _check_store(self) -> None:
        """Check the build: its whole content before the first batch on it, after that only the sizes of its files."""
        build = (self._artefacts.offline_store / "current").resolve()
        check_whole(build, read=build != self._checked_build)
        self._checked_build = build

    def _folder_of(self, number: int) -> Path:
        return self._source.streamed_orders / f"batch={number}"

    @property
    def _watermark(self) -> timedelta:
        return timedelta(days=self._settings.stream_watermark_days)

    def _write_dead_letters(self, number: int, refused: Sequence[RefusedEvent]) -> None:
        if refused:
            with replaced_folder(self._folders.dead_letters / f"batch={number}") as folder:
                lines = [json.dumps({"event": one.event, "reason": one.reason}) + "\n" for one in refused]
                (folder / "events.jsonl").write_text("".join(lines), encoding="utf-8")

    def _store_orders(self, number: int, orders: pa.Table, history: Path, record: BatchRecord) -> pa.Table:
        """Add the batch's orders to the streamed ones, and write all orders of their customers to `history`.

        Orders already in the batch's folder stay there, so no stored order is lost.

        Returns:
            The new orders. A changed row of a known order waits for the next build.
        """
        if not orders.num_rows:
            return orders
        found = find_orders(self._source)
        own = self._folder_of(number)
        files = [str(file) for file in found.files if file.parent != own]
        columns = ", ".join(ORDERS_SCHEMA.names)
        with connect() as connection:
            connection.register("batch", orders)
            connection.register("own", _stored_orders(own, found.data_set))
            for name, some in (("in_file", files[:1]), ("streamed", files[1:])):
                rows = rows_of(some) if some else "(FROM batch LIMIT 0)"
                connection.execute(
                    f"CREATE TABLE {name} AS SELECT {columns} FROM {rows} "  # noqa: S608
                    "WHERE customer_id IN (SELECT customer_id FROM batch)"
                )
            connection.execute("CREATE VIEW before AS FROM in_file UNION ALL FROM streamed")
            connection.execute(f"CREATE TABLE kept AS SELECT DISTINCT {columns} FROM batch EXCEPT FROM before")  # noqa: S608
            new = connection.execute(
                "FROM kept ANTI JOIN before USING (customer_id, order_id) QUALIFY row_number() OVER "
                "(PARTITION BY customer_id, order_id ORDER BY event_timestamp, amount, items) = 1"
            ).to_arrow_table()
            all_own = connection.execute("FROM kept UNION FROM own").to_arrow_table()
            # An order in several files counts once, by the rule for repeated orders. The orders file's row counts, so
            # other rows of its orders are dropped here: `history` does not tell which file a row is from.
            connection.execute(
                "COPY (FROM in_file UNION ALL (FROM (FROM streamed UNION ALL FROM kept UNION ALL "  # noqa: S608
                "(FROM own WHERE customer_id IN (SELECT customer_id FROM batch))) "
                "ANTI JOIN in_file USING (customer_id, order_id))) "
                f"TO {text(str(history))} (FORMAT parquet)"
            )
        record.orders, record.repeated = new.num_rows, orders.num_rows - new.num_rows
        if all_own.num_rows:
            with replaced_folder(own) as folder:
                labelled = ORDERS_SCHEMA.with_metadata({DATA_SET: found.data_set})
                pq.write_table(all_own.cast(labelled).sort_by("order_id"), folder / "part-0.parquet")
                (folder / UNDER_WAY).touch()
        return new.cast(ORDERS_SCHEMA)

    def _feature_rows(self, new: pa.Table, history: Path, scratch: Path, now: datetime) -> dict[str, pa.Table]:
        """The feature rows that the new orders add or change."""
        since = pc.min(new["event_timestamp"]).as_py()
        build = read_build(self._artefacts.offline_store)
        return rows_of_new_orders(since, history, build, self._formats[WINDOWED].source, scratch, self._settings, now)

    def _write_features(self, number: int, rows: Mapping[str, pa.Table], now: datetime) -> None:
        """Add the rows to the offline store, then write each customer's latest row online.

        In this order and under the lock, so that a materialization in between reads the rows that it must keep.
        """
        try:
            with online_writer(self._client, self._project, self._settings.lock_seconds) as fence:
                claim(self._client, self._project, self._owner)
                with switching(self._artefacts.offline_store):
                    files = {view: self._add(view, number, table) for view, table in rows.items()}
                    added_rows = {view: written(file) for view, file in files.items()}
                    (self._folder_of(number) / STREAMED_ROWS).write_text(json.dumps(added_rows), encoding="utf-8")
                with connect() as connection:
                    for view, file in files.items():
                        stored_format = self._formats[view]
                        added = replace(stored_format.source, only=(str(file),))
                        # A new order changes its customer's latest row, so that row is in this file.
                        latest = latest_rows(connection, added, now)
                        self._marks.streamed(view, identity(file))  # so that its rows are removed if the file vanishes
                        OnlineRows(self._client, fence).write(stored_format.encode(latest))
        except FAILURES as error:
            raise JobError(f"Redis did not answer: {type(error).__name__}") from None

    def _add(self, view: str, number: int, rows: pa.Table) -> Path:
        folder = self._artefacts.offline_store / "current" / view / STREAMED
        folder.mkdir(exist_ok=True)
        file = folder / f"batch-{number}.parquet"
        with replaced_file(file) as partial:
            pq.write_table(rows.sort_by([("customer_id", "ascending"), ("event_timestamp", "ascending")]), partial)
        return file

    def _score(self, number: int, customers: pa.Array, record: BatchRecord, now: datetime) -> None:
        (join_key,) = self._plan.join_keys
        keys = pa.table({join_key: customers.take(pc.sort_indices(customers))})
        with connect() as connection:
            rows = {view: latest_rows(connection, source, now, keys=keys) for view, source in self._sources.items()}
        as_of_us = unix_us(now)
        aligned = {
            view: StoredRows.aligned(rows[view], keys, self._sources[view], fields)
            for view, fields in self._plan.views.items()
        }
        resolved = self._resolver.resolve(self._plan.assemble(keys, aligned, as_of_us), as_of_us / 1e6)
        contract = self._model.contract
        outcome = outcomes(resolved, self._model.score(resolved.matrix), task_outputs(contract))
        table = predictions(keys, outcome, feature_issues(resolved), contract, now)
        with replaced_folder(self._folders.predictions / f"batch={number}") as folder:
            pq.write_table(table, folder / "part-0.parquet")
        record.statuses = counts(table, contract)


def _is_of(erased: ErasedKeys, refused: RefusedEvent) -> bool:
    """True if a refused event says that it is of a customer who was erased."""
    try:
        customer = json.loads(refused.event)["customer_id"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return False
    return isinstance(customer, str | int) and erased.has({"customer_id": str(customer)})


def _stored_orders(folder: Path, data_set: str) -> pa.Table:
    """Orders that an earlier try of a batch stored; those of another data set are left out."""
    files = [pq.ParquetFile(file) for file in sorted(folder.glob("part-*.parquet"))]
    own = [file.read().replace_schema_metadata(None) for file in files if data_set_of(file) == data_set]
    return pa.concat_tables(own) if own else ORDERS_SCHEMA.empty_table()
