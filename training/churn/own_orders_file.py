"""Reads a user's orders file as a table: CSV as text, Parquet with its types. Values are not checked here."""

import csv
import warnings
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from artefacts.process.printable import printable
from scoring.entity_ids import text_ids
from training.churn.source.orders_schema import ORDERS_SCHEMA
from training.errors import OrdersError

ID_COLUMNS = ("order_id", "customer_id")


def read_orders_file(own: Path) -> pd.DataFrame:
    """Read the columns of `ORDERS_SCHEMA` that the file has; the index is the file's row from 0, with blank lines.

    Raises:
        OrdersError: the file cannot be read, or a column is missing, duplicated or of a wrong type; names both.
    """
    if not own.is_file():
        raise OrdersError(f"{own}: no such file")
    readers = {".csv": _read_csv, ".parquet": _read_parquet}
    if own.suffix not in readers:
        raise OrdersError(f"{own}: expected a .csv or .parquet file")
    try:
        frame = readers[own.suffix](own)
    except pd.errors.ParserWarning:
        raise OrdersError(
            f"{own}: cannot be read as csv: the rows have more values than there are columns; "
            "quote values that contain a comma"
        ) from None
    except (pd.errors.EmptyDataError, pd.errors.ParserError, UnicodeDecodeError, csv.Error, pa.ArrowInvalid) as error:
        raise OrdersError(f"{own}: cannot be read as {own.suffix[1:]}: {str(error).splitlines()[0]}") from None
    if frame.empty:
        raise OrdersError(f"{own}: no rows; expected at least one order")
    return frame


def _read_csv(own: Path) -> pd.DataFrame:
    with own.open(encoding="utf-8-sig", newline="") as file:
        names = [name.strip() for name in next(csv.reader(file), [])]
    if not any(names):
        raise OrdersError(f"{own}: cannot be read as csv: expected a first line with the column names")
    _check_names(own, names)
    # One column more than names: otherwise pandas uses the first value of a row that is too long as its index.
    columns = [*range(len(names)), "beyond"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)  # for values beyond that, which it would drop
        lines = pd.read_csv(
            own,
            dtype=str,
            keep_default_na=False,
            encoding="utf-8-sig",
            skip_blank_lines=False,
            header=None,
            names=columns,
            skiprows=1,
            index_col=False,
        ).fillna("")
    lines = lines[(lines != "").any(axis=1)]  # keeps the index of the file's lines
    too_long = lines.index[lines["beyond"] != ""]
    if len(too_long):
        raise OrdersError(
            f"{own}: cannot be read as csv: row {too_long[0] + 2} has more values than there are columns; "
            "quote values that contain a comma"
        )
    return pd.DataFrame({name: lines[names.index(name)] for name in ORDERS_SCHEMA.names if name in names})


def _read_parquet(own: Path) -> pd.DataFrame:
    schema = pq.read_schema(own)
    _check_names(own, schema.names)
    table = pq.read_table(own, columns=[name for name in ORDERS_SCHEMA.names if name in schema.names])
    for name in ID_COLUMNS:
        if name in table.column_names:
            position = table.column_names.index(name)
            table = table.set_column(position, name, _text_ids(own, name, table[name]))
    # Drop pandas' own metadata: its index may be text, or one of our columns.
    frame: pd.DataFrame = table.replace_schema_metadata(None).to_pandas()
    return frame


def _text_ids(own: Path, name: str, ids: pa.ChunkedArray) -> pa.ChunkedArray:
    """Ids as text. An all-null column passes, because rows are checked later."""
    text = ids.cast(pa.string()) if pa.types.is_null(ids.type) else text_ids(ids)
    if text is None:
        raise OrdersError(f"{own}: column {name} is {ids.type}; expected text or whole numbers")
    return text


def _check_names(own: Path, names: list[str]) -> None:
    needed = [name for name in ORDERS_SCHEMA.names if name != "order_id"]
    missing = [name for name in needed if name not in names]
    if missing:
        hint = "; separate columns by commas" if len(names) == 1 and own.suffix == ".csv" else ""
        raise OrdersError(
            f"{own}: column {missing[0]} is missing; expected {', '.join(needed)}, "
            f"found {printable(', '.join(names))}{hint}"
        )
    twice = [name for name in ORDERS_SCHEMA.names if names.count(name) > 1]
    if twice:
        raise OrdersError(f"{own}: column {twice[0]} occurs twice; expected it once")
