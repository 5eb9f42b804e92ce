"""Computes features with DuckDB, on one machine: in bounded memory, the rest on disk."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import ibis
import ibis.expr.types as ir
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from jobs.errors import JobError
from jobs.features.engine import ISO_DATE_LENGTH, TIMESTAMP, Engine, Features, Period, stored_schema
from jobs.offline_store.latest_rows import rows_of, text
from jobs.settings import JobsSettings
from training.churn.source.orders_file import ORDER_COLUMNS

_ROW_GROUP = 100_000
ORDERS_PER_MB = 4_000.0
"""Orders processed at once, per MB of DuckDB's memory limit."""
SAMPLE_EVERY = 1_000
"""One customer of so many is sampled to find the bounds of customer ranges."""


@contextmanager
def open_duckdb(settings: JobsSettings, scratch: Path) -> Iterator[Engine]:
    """DuckDB in this process.

    Raises:
        JobError: DuckDB (quoted in the message) or a disk failed inside the block.
    """
    backend = ibis.duckdb.connect(
        memory_limit=f"{settings.memory_limit_mb}MB",
        temp_directory=str(scratch),
        preserve_insertion_order=False,  # not needed, and it costs memory
    )
    try:
        yield _DuckDBEngine(backend, scratch, int(settings.memory_limit_mb * ORDERS_PER_MB))
    except duckdb.Error as error:
        raise JobError(f"DuckDB: {str(error).splitlines()[0]}") from None
    except OSError as error:
        raise JobError(f"feature rows could not be written: {error}") from None
    finally:
        backend.disconnect()


class _DuckDBEngine:
    def __init__(self, backend: Any, scratch: Path, orders_at_once: int) -> None:
        self.identity = f"duckdb {duckdb.__version__}"
        self._backend = backend
        self._scratch = scratch
        self._orders_at_once = orders_at_once

    def orders(self, files: Sequence[Path]) -> ir.Table:
        self._execute(
            # One hash over all columns; `COLUMNS(*)` would give one for each.
            f"CREATE VIEW orders AS SELECT *, hash({', '.join(ORDER_COLUMNS)})::BIT::BIGINT AS order_hash FROM ("  # noqa: S608
            + " UNION ALL ".join(
                "SELECT order_id, customer_id, epoch_us(event_timestamp) AS event_unix_us, amount, items, "  # noqa: S608
                f"{streamed}::BIGINT AS streamed FROM {rows_of([str(file) for file in some])}"
                for streamed, some in enumerate((files[:1], files[1:]))
                if some
            )
            + ")"
        )
        return ibis.table({**ORDER_COLUMNS, "streamed": "int64", "order_hash": "int64"}, name="orders")

    def keep(self, name: str, rows: ir.Table) -> ir.Table:
        file = self._scratch / f"{name}.parquet"
        self._execute(f"COPY ({self._sql(rows)}) TO {text(str(file))} (FORMAT parquet)")
        self._execute(f"CREATE VIEW {name} AS FROM {rows_of([str(file)])}")
        return ibis.table(rows.schema(), name=name)

    def fetch(self, rows: ir.Table) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._execute(self._sql(rows)).to_arrow_table().to_pylist()
        return found

    def write(
        self, features: Features, orders: ir.Table, folder: Path, period: Period, created: datetime
    ) -> dict[str, int]:
        counts: dict[str, int] = {}
        for number, share in enumerate(self._shares(orders)):
            for partition, rows in self._write_share(features(share), folder, period, created, number).items():
                counts[partition] = counts.get(partition, 0) + rows
        return counts

    def _shares(self, orders: ir.Table) -> list[ir.Table]:
        """Split the orders by ranges of customers, to bound the memory of sums and joins."""
        wanted = -(-self.fetch(orders.aggregate(rows=orders.count()))[0]["rows"] // self._orders_at_once)
        if wanted < 2:
            return [orders]
        some = orders.filter(orders.customer_id.hash().abs() % SAMPLE_EVERY == 0).select("customer_id").distinct()
        found = sorted(row["customer_id"] for row in self.fetch(some))
        bounds = sorted({found[len(found) * n // wanted] for n in range(1, wanted)}) if found else []
        from_ = [orders.filter(orders.customer_id >= bound) for bound in bounds]
        return [
            share.filter(share.customer_id < bound) if bound is not None else share
            for share, bound in zip([orders, *from_], [*bounds, None], strict=True)
        ]

    def _write_share(
        self, rows: ir.Table, folder: Path, period: Period, created: datetime, number: int
    ) -> dict[str, int]:
        date = f"left(make_timestamp(event_unix_us)::VARCHAR, {ISO_DATE_LENGTH[period]})"
        sql = f"SELECT *, {date} AS partition FROM ({self._sql(rows)}) ORDER BY partition, customer_id, event_unix_us"  # noqa: S608
        counts: dict[str, int] = {}
        with ExitStack() as files:
            for partition, batch in _by_partition(self._execute(sql).to_arrow_reader(_ROW_GROUP)):
                if partition not in counts:
                    files.close()  # batches are sorted by partition
                    (folder / partition).mkdir(parents=True, exist_ok=True)
                    file = folder / partition / f"part-{number}.parquet"
                    writer = files.enter_context(pq.ParquetWriter(file, stored_schema(rows)))
                writer.write_batch(_with_timestamps(batch, created))
                counts[partition] = counts.get(partition, 0) + batch.num_rows
        return counts

    def _execute(self, sql: str) -> Any:
        return self._backend.con.execute(sql)

    def _sql(self, rows: ir.Table) -> str:
        """Compile an expression to DuckDB SQL, cast to its types: DuckDB's integer sums are wider."""
        types = self._backend.compiler.type_mapper
        columns = ", ".join(f'"{name}"::{types.to_string(dtype)} AS "{name}"' for name, dtype in rows.schema().items())
        return f"SELECT {columns} FROM ({self._backend.compile(rows)})"  # noqa: S608


def _by_partition(batches: Any) -> Iterator[tuple[str, Any]]:
    """Split sorted batches where `partition` changes, and drop that column."""
    for batch in batches:
        names = batch["partition"]
        runs = pc.run_end_encode(names)
        bounds = [0, *runs.run_ends.to_pylist()]
        for name, (start, stop) in zip(runs.values.to_pylist(), pairwise(bounds), strict=True):
            yield name, batch.slice(start, stop - start).drop_columns(["partition"])


def _with_timestamps(rows: Any, created: datetime) -> Any:
    """Replace `event_unix_us` of an Arrow batch with `event_timestamp` and `created_timestamp`."""
    at = rows["event_unix_us"].cast(TIMESTAMP)
    stamps = pa.repeat(pa.scalar(created, TIMESTAMP), rows.num_rows)
    rows = rows.drop_columns(["event_unix_us"])
    return rows.append_column("event_timestamp", at).append_column("created_timestamp", stamps)
