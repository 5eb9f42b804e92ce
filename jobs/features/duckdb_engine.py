"""Features on DuckDB: one machine, a bounded share of its memory, the rest on its disk."""

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
from jobs.offline_store.orders_file import ORDER_COLUMNS
from jobs.settings import JobsSettings

_ROW_GROUP = 100_000
ORDERS_PER_MB = 4_000.0
"""Of the memory that DuckDB may take: so many orders are made features of at once."""
ONE_OF = 1_000
"""Customers of whom one says where a range of them ends."""


@contextmanager
def open_duckdb(settings: JobsSettings, scratch: Path) -> Iterator[Engine]:
    """DuckDB in this process.

    Raises:
        JobError: DuckDB failed inside the block, then its own words are quoted, or a disk did.
    """
    backend = ibis.duckdb.connect(
        memory_limit=f"{settings.memory_limit_mb}MB",
        temp_directory=str(scratch),
        preserve_insertion_order=False,  # nothing here relies on it, and it costs memory
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
        self._run(
            # One hash of all columns; of `COLUMNS(*)` it would be one of each.
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
        self._run(f"COPY ({self._sql(rows)}) TO {text(str(file))} (FORMAT parquet)")
        self._run(f"CREATE VIEW {name} AS FROM {rows_of([str(file)])}")
        return ibis.table(rows.schema(), name=name)

    def fetch(self, rows: ir.Table) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._run(self._sql(rows)).to_arrow_table().to_pylist()
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
        """The orders by ranges of customers: what sums and joins of one range hold at once is bounded."""
        wanted = -(-self.fetch(orders.aggregate(rows=orders.count()))[0]["rows"] // self._orders_at_once)
        if wanted < 2:
            return [orders]
        some = orders.filter(orders.customer_id.hash().abs() % ONE_OF == 0).select("customer_id").distinct()
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
            for partition, batch in _by_partition(self._run(sql).to_arrow_reader(_ROW_GROUP)):
                if partition not in counts:
                    files.close()  # they come one after the other
                    (folder / partition).mkdir(parents=True, exist_ok=True)
                    file = folder / partition / f"part-{number}.parquet"
                    writer = files.enter_context(pq.ParquetWriter(file, stored_schema(rows)))
                writer.write_batch(_stamped(batch, created))
                counts[partition] = counts.get(partition, 0) + batch.num_rows
        return counts

    def _run(self, sql: str) -> Any:
        return self._backend.con.execute(sql)

    def _sql(self, rows: ir.Table) -> str:
        """The expression in DuckDB's words, with the types that it says: DuckDB's sums of integers are wider."""
        types = self._backend.compiler.type_mapper
        columns = ", ".join(f'"{name}"::{types.to_string(dtype)} AS "{name}"' for name, dtype in rows.schema().items())
        return f"SELECT {columns} FROM ({self._backend.compile(rows)})"  # noqa: S608


def _by_partition(batches: Any) -> Iterator[tuple[str, Any]]:
    """Batches sorted by `partition`, cut where it changes and without it."""
    for batch in batches:
        names = batch["partition"]
        runs = pc.run_end_encode(names)
        bounds = [0, *runs.run_ends.to_pylist()]
        for name, (start, stop) in zip(runs.values.to_pylist(), pairwise(bounds), strict=True):
            yield name, batch.slice(start, stop - start).drop_columns(["partition"])


def _stamped(rows: Any, created: datetime) -> Any:
    """An Arrow batch with `event_timestamp` and `created_timestamp` in the place of `event_unix_us`."""
    at = rows["event_unix_us"].cast(TIMESTAMP)
    stamps = pa.repeat(pa.scalar(created, TIMESTAMP), rows.num_rows)
    rows = rows.drop_columns(["event_unix_us"])
    return rows.append_column("event_timestamp", at).append_column("created_timestamp", stamps)
