"""Takes the user's own orders from CSV or Parquet; checks every row before it writes anything."""

import math
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa

from training.churn.deliveries import infer_observed_until, path_in_checkout, resolve_in_checkout
from training.churn.orders import OrdersWritten, description_of, write_frame
from training.churn.own_orders_file import read_orders_file
from training.churn.source.order_ids import content_ids
from training.churn.source.orders_schema import EARLIEST, MAX_AMOUNT, MAX_ID_LENGTH, MAX_ITEMS, ORDERS_SCHEMA
from training.errors import OrdersError

_MONEY_UNIT = 10_000
"""Lines are summed in this fraction of the currency unit, as features are."""

_RETURNS = (
    "returns are not orders: leave them out, or give a return the order_id of its order and set LINES=1, "
    "which subtracts it from that order"
)
_SEVERAL_ROWS = "if they are lines of one order, LINES=1 sums them; if the order was corrected, keep only its last row"
_OWN = "own:"


def write_own(
    path: Path,
    own: Path,
    now: datetime,
    lines: bool = False,
    until: datetime | None = None,
    complete: bool = False,
) -> OrdersWritten:
    """Check and write the user's own orders; dates are not shifted.

    Args:
        own: .csv or .parquet with the columns customer_id (text or whole numbers), event_timestamp (ISO 8601, by
            default UTC), amount (≥ 0) and items (whole, ≥ 0). Also order_id (as customer_id) if an order may occur
            twice; without it every row is an order, and its id is derived from its content.
        now: UTC; later orders are refused.
        lines: rows with one customer and order_id are lines of one order; the order is their sum at the first line's
            time. Lines may have negative amount and items, orders may not.
        until: see `infer_observed_until`.
        complete: the file holds every order before the midnight before it was written.

    Raises:
        OrdersError: names file, column, row (for CSV the line) and what was expected.
    """
    written_at = datetime.fromtimestamp(own.stat().st_mtime, UTC) if own.is_file() else now
    read = read_orders_file(own)
    if lines and "order_id" not in read.columns:
        raise OrdersError(f"{own}: LINES=1 needs the column order_id, to know which lines are one order")
    has_ids = "order_id" in read.columns
    checker = _RowChecker(read if has_ids else read.assign(order_id="to be made"), own)
    orders = checker.check_values(now, negative=lines)
    if not has_ids:
        orders = _with_ids(orders)
    if lines:
        orders = checker.sum_lines(orders)
    else:
        checker.check_repeated_ids(orders)
    last = orders["event_timestamp"].max().to_pydatetime()
    try:
        end = infer_observed_until(last, now, until, written_at if complete else None)
    except ValueError as error:
        raise OrdersError(f"{own}: {error}") from None
    return write_frame(
        orders,
        path,
        f"{_OWN}{own.resolve()}",
        0,
        end,
        lines=lines,
        complete=complete,
        in_checkout=path_in_checkout(path, own),
        ids_of_content=not has_ids,
    )


def read_again(
    path: Path, now: datetime, until: datetime | None = None, complete: bool = False
) -> OrdersWritten | None:
    """Read the user's file again that an orders file was made from, with the same options.

    Args:
        until, complete: as in `write_own`. `complete` also applies to later calls, `until` only to this one.

    Returns:
        None if the orders are synthetic or CDNOW, which do not grow.

    Raises:
        OrdersError: there are no orders yet; or as `write_own`.
    """
    with description_of(path, "make data ORDERS=…") as described:
        source, lines = str(described["source"]), bool(described.get("lines", False))
        complete = complete or bool(described.get("complete", False))
        inside = str(described.get("in_checkout", ""))
    if not source.startswith(_OWN):
        return None
    own = resolve_in_checkout(path, inside) or Path(source.removeprefix(_OWN))
    return write_own(path, own, now, lines, until, complete)


def _with_ids(orders: pd.DataFrame) -> pd.DataFrame:
    """Add ids derived from content; equal rows are separate orders, as in CDNOW."""
    table = pa.table(
        {
            "customer_id": pa.array(orders["customer_id"], pa.string()),
            "event_timestamp": pa.array(orders["event_timestamp"].dt.as_unit("us"), pa.timestamp("us", tz="UTC")),
            "amount": pa.array(orders["amount"], pa.float64()),
            "items": pa.array(orders["items"], pa.int64()),
        }
    )
    return orders.assign(order_id=content_ids(table, numbered=True).to_pandas().to_numpy())


class _RowChecker:
    """Checks the rows of a file; an error names the first wrong row."""

    def __init__(self, frame: pd.DataFrame, own: Path) -> None:
        self._frame = frame
        self._own = own
        self._first = 2 if own.suffix == ".csv" else 1

    def check_values(self, now: datetime, negative: bool) -> pd.DataFrame:
        """Convert the rows to `ORDERS_SCHEMA`; raises for the first invalid value.

        Args:
            negative: allow negative amounts and items.
        """
        frame, refuse = self._frame, self._refuse
        for column, what in (("order_id", "an order id"), ("customer_id", "a customer id")):
            ids = frame[column]
            refuse(column, ids.isna() | (ids.str.strip() == ""), what)
            refuse(column, ids.str.len() > MAX_ID_LENGTH, f"{what} of at most {MAX_ID_LENGTH} characters")

        times = frame["event_timestamp"]
        if not pd.api.types.is_datetime64_any_dtype(times):
            times = pd.to_datetime(times.astype(str), utc=True, format="ISO8601", errors="coerce")
        elif times.dt.tz is None:
            times = times.dt.tz_localize("UTC")
        times = times.dt.tz_convert("UTC")
        refuse("event_timestamp", times.isna(), "an ISO 8601 date or time")
        refuse("event_timestamp", times > pd.Timestamp(now), f"a time not after {now:%Y-%m-%d %H:%M} UTC")
        refuse("event_timestamp", times < pd.Timestamp(EARLIEST), "a time after 1970-01-01")

        amounts = pd.to_numeric(frame["amount"], errors="coerce").astype(np.float64)
        refuse("amount", pd.Series(~np.isfinite(amounts)), "a number" if negative else "a number ≥ 0")
        if not negative:
            refuse("amount", amounts < 0, "a number ≥ 0", _RETURNS)
        refuse("amount", amounts.abs() > MAX_AMOUNT, "an amount of at most 100,000,000,000 (sums are exact up to that)")
        items = pd.to_numeric(frame["items"], errors="coerce").astype(np.float64)
        is_whole: Callable[[float], bool] = lambda v: math.isfinite(v) and v == int(v) and abs(v) <= MAX_ITEMS  # noqa: E731
        refuse("items", ~items.map(is_whole), "a whole number" if negative else "a whole number ≥ 0")
        if not negative:
            refuse("items", items < 0, "a whole number ≥ 0", _RETURNS)
        return pd.DataFrame(
            {
                "order_id": frame["order_id"],
                "customer_id": frame["customer_id"],
                "event_timestamp": times,
                "amount": amounts,
                "items": items.astype(np.int64),
            }
        )

    def check_repeated_ids(self, orders: pd.DataFrame) -> None:
        """Raise if rows with one customer and order_id differ."""
        distinct = orders.drop_duplicates()
        differ = distinct.index[distinct.duplicated(["customer_id", "order_id"])]
        self._refuse(
            "order_id",
            pd.Series(orders.index.isin(differ), index=orders.index),
            "one order per id, but an earlier row with this id differs",
            _SEVERAL_ROWS,
        )

    def sum_lines(self, lines: pd.DataFrame) -> pd.DataFrame:
        """Sum lines to one row per order, in order of the first lines."""
        # Integers, because their sum does not depend on the order of lines.
        scaled = lines["amount"] * _MONEY_UNIT
        whole = np.trunc(scaled)  # halves round away from zero, as in features; `round` would round to even
        money = (whole + np.sign(scaled) * ((scaled - whole).abs() >= 0.5)).astype(np.int64)
        of_order = lines.assign(money=money, row=np.arange(len(lines))).groupby(["customer_id", "order_id"], sort=False)
        orders = of_order.agg(
            event_timestamp=("event_timestamp", "min"),
            money=("money", "sum"),
            items=("items", "sum"),
            row=("row", "last"),
        ).reset_index()
        # Checked in float64, because a sum of integers could overflow.
        above = lines.groupby(["customer_id", "order_id"], sort=False)["amount"].sum().abs() > MAX_AMOUNT
        if above.any():
            raise OrdersError(
                f"{self._own}: the lines of order {above[above].index[0][1]!r} add up to more than 100,000,000,000; "
                "sums are exact up to that"
            )
        for column in ("money", "items"):
            below = orders.loc[orders[column] < 0, "row"]
            if len(below):
                row = int(below.iloc[0])
                raise OrdersError(
                    f"{self._own}: the lines of order {lines['order_id'].iloc[row]!r}, of which row "
                    f"{int(lines.index[row]) + self._first} is the last, add up to less than 0 "
                    f"{'in amount' if column == 'money' else 'in items'}; an order cannot be negative"
                )
        summed: pd.DataFrame = orders.assign(amount=orders["money"] / _MONEY_UNIT)[ORDERS_SCHEMA.names]
        return summed

    def _refuse(self, column: str, bad: pd.Series, expected: str, advice: str = "") -> None:
        if bad.any():
            index = int(np.flatnonzero(bad.to_numpy())[0])
            row = int(self._frame.index[index]) + self._first
            value = str(self._frame[column].iloc[index])[:80]
            raise OrdersError(
                f"{self._own}: column {column}, row {row}: expected {expected}, found {value!r}"
                + (f"; {advice}" if advice else "")
            )
