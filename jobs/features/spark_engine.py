"""Computes features with Spark, for orders that outgrow one machine: the same expressions, the same files."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.types as ir
import pyarrow.parquet as pq

from jobs.features.engine import ISO_DATE_LENGTH, Engine, Features, Period
from jobs.settings import JobsSettings
from jobs.spark import spark_path, spark_session
from training.churn.source.orders_file import ORDER_COLUMNS

_UNDER_WAY = "_written"  # Spark needs its own folder
_ROW_GROUP_BYTES = 16 * 2**20  # readers read a range of customers at a time; Spark's default is 128 MB


@contextmanager
def open_spark(settings: JobsSettings, scratch: Path) -> Iterator[Engine]:
    """Spark session of this process, started for the block unless there is one.

    Raises:
        JobError: Spark cannot run here, or failed inside the block; the message quotes its error.
    """
    with spark_session(settings, "features", {"spark.local.dir": str(scratch)}) as session:
        yield _SparkEngine(session, scratch)


class _SparkEngine:
    def __init__(self, session: Any, scratch: Path) -> None:
        self.identity = f"spark {session.version}"
        self._session = session
        self._ibis = ibis.pyspark.connect(session)
        self._scratch = scratch

    def orders(self, files: Sequence[Path]) -> ir.Table:
        columns = ["order_id", "customer_id", "unix_micros(event_timestamp) AS event_unix_us", "amount", "items"]
        read, *rest = (
            self._session.read.parquet(*map(spark_path, some)).selectExpr(*columns, f"{streamed}L AS streamed")
            for streamed, some in enumerate((files[:1], files[1:]))
            if some
        )
        for more in rest:
            read = read.unionByName(more)
        read.selectExpr("*", f"xxhash64({', '.join(ORDER_COLUMNS)}) AS order_hash").createOrReplaceTempView("orders")
        return ibis.table({**ORDER_COLUMNS, "streamed": "int64", "order_hash": "int64"}, name="orders")

    def keep(self, name: str, rows: ir.Table) -> ir.Table:
        file = str(self._scratch / f"{name}.parquet")
        self._rows(rows).write.parquet(file)
        self._session.read.parquet(spark_path(file)).createOrReplaceTempView(name)
        return ibis.table(rows.schema(), name=name)

    def fetch(self, rows: ir.Table) -> list[dict[str, Any]]:
        return [row.asDict() for row in self._rows(rows).collect()]

    def write(
        self, features: Features, orders: ir.Table, folder: Path, period: Period, created: datetime
    ) -> dict[str, int]:
        (
            self._rows(features(orders))
            .withColumns(_expressions(period, created))
            .drop("event_unix_us")
            .repartitionByRange("partition", "customer_id")
            .sortWithinPartitions("partition", "customer_id", "event_timestamp")
            .write.option("parquet.block.size", _ROW_GROUP_BYTES)
            .partitionBy("partition")
            .parquet(str(folder / _UNDER_WAY))
        )
        written = sorted((folder / _UNDER_WAY).glob("partition=*"))
        counts = {partition.name.removeprefix("partition="): _move_files(partition, folder) for partition in written}
        shutil.rmtree(folder / _UNDER_WAY)
        return counts

    def _rows(self, rows: ir.Table) -> Any:
        return self._session.sql(self._ibis.compile(rows))


def _expressions(period: Period, created: datetime) -> dict[str, Any]:
    from pyspark.sql.functions import expr, lit

    at = "timestamp_micros(event_unix_us)"
    return {
        "event_timestamp": expr(at),
        "created_timestamp": lit(created),
        "partition": expr(f"left(CAST({at} AS STRING), {ISO_DATE_LENGTH[period]})"),
    }


def _move_files(written: Path, folder: Path) -> int:
    """Move a partition's files to where DuckDB would write them; returns their number of rows."""
    partition = folder / written.name.removeprefix("partition=")
    partition.mkdir()
    rows = 0
    for n, file in enumerate(sorted(written.glob("part-*.parquet"))):
        rows += pq.read_metadata(file.rename(partition / f"part-{n}.parquet")).num_rows
    return rows
