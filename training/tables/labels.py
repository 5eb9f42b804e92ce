"""Rows of a table that are labelled already, as a use case's labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa

from training.errors import DatasetError
from training.row_splits.split_rows import REQUESTED_AT
from training.tables.table import Table
from training.tasks import Task

_KEY_TYPES = (pa.int32(), pa.int64(), pa.string(), pa.large_string())


def table_labels(
    table: Table,
    *,
    key: str | Sequence[str],
    time: str,
    target: str,
    names: Mapping[Any, str] | None = None,
    request: Sequence[str] = (),
) -> Callable[[Mapping[str, str]], "TableLabels"]:
    """Make the `labels` of a use case from a table; its `splits` are `TableSplits` or `RandomSplit`.

    Args:
        key: the join key, or several.
        time: column with the time at which a row was true, with its zone. Features are looked up at that time.
        target: column with the outcome.
        names: value of the target → name of its class, where the two differ.
        request: columns with values that a request would bring.
    """
    keys = (key,) if isinstance(key, str) else tuple(key)
    return lambda environ: TableLabels(table, keys, time, target, names or {}, tuple(request), environ)


@dataclass(frozen=True)
class TableLabels:
    """See `table_labels`; a `training.row_splits.table_splits.LabelTable`."""

    table: Table
    keys: tuple[str, ...]
    time: str
    target: str
    names: Mapping[Any, str]
    request: tuple[str, ...]
    environ: Mapping[str, str]

    def labelled(self) -> pd.DataFrame:
        """See `LabelTable`."""
        return self._rows(list(dict.fromkeys([*self.keys, self.time, self.target, *self.request])))

    def whole(self) -> pd.DataFrame:
        """See `LabelTable`."""
        return self._rows([])

    def check_classes(self, whose: str, rows: pa.Table, task: Task) -> None:
        """Refuse a class that the task does not know, before the rows take the place of others.

        Args:
            whose: the rows, for the message.
            rows: of the table, as they would be written.

        Raises:
            DatasetError: names the column, the class and the way out.
        """
        if not task.class_names:
            return
        counted = rows[self.target].value_counts().to_pylist()
        for value, count in ((each["values"], each["counts"]) for each in counted):
            name = self.names.get(value) if self.names else value
            if value is None or name in task.class_names or (task.kind == "binary" and isinstance(value, bool)):
                continue
            where = "`names` and the task's `classes`" if self.names else "the task's `classes`"
            raise DatasetError(
                f"{whose}: column {self.target!r} has {value!r} in {count:,} of {rows.num_rows:,} rows, which is none "
                f"of the classes {', '.join(task.class_names)}; mend it, or add it to {where} in use_case.py"
            )

    def _rows(self, columns: Sequence[str]) -> pd.DataFrame:
        """The columns of all rows; all columns if none is named."""
        found = self.table.read(columns, self.environ)
        check_rows(str(self.table), found, self.keys, self.time)
        rows = found.to_pandas(integer_object_nulls=True)
        rows[self.time] = rows[self.time].astype("datetime64[us, UTC]")
        if self.names:
            rows[self.target] = self._named(rows[self.target])
        renamed: pd.DataFrame = rows.rename(columns={self.time: REQUESTED_AT})
        return renamed

    def _named(self, values: "pd.Series[Any]") -> "pd.Series[Any]":
        named = values.map(self.names)
        unknown = values[named.isna() & values.notna()]
        if len(unknown):
            raise DatasetError(
                f"{self.table}: {self.target!r} has {unknown.iloc[0]!r}, which `names` gives no class's name"
            )
        return named


def check_rows(whose: str, rows: pa.Table, keys: Sequence[str], time: str) -> None:
    """Refuse rows that cannot be told apart or looked up.

    Args:
        whose: the table, for messages.

    Raises:
        DatasetError: names the column, and says how to mend it.
    """
    if not rows.num_rows:
        raise DatasetError(f"{whose}: has no rows")
    for key in keys:
        check_key(whose, rows, key)
    check_time(whose, rows, time)
    counted = rows.group_by([*keys, time]).aggregate([([], "count_all")])
    if (twice := rows.num_rows - counted.num_rows) > 0:
        raise DatasetError(
            f"{whose}: {twice:,} rows repeat the {', '.join(keys)} and {time} of another; keep one row for each, as "
            f"pandas' drop_duplicates({[*keys, time]}, keep='last') does"
        )


def check_key(whose: str, rows: pa.Table, key: str) -> None:
    """As `check_rows`, of a key alone."""
    kind = rows.schema.field(key).type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if kind not in _KEY_TYPES:
        raise DatasetError(f"{whose}: key {key!r} is {kind}; {_mended_key(kind, key)}")
    if nulls := rows[key].null_count:
        raise DatasetError(f"{whose}: key {key!r} is null in {nulls:,} of {rows.num_rows:,} rows; leave those out")


def _mended_key(kind: pa.DataType, key: str) -> str:
    cast = "a key is text, int32 or int64"
    if pa.types.is_floating(kind):
        return f"{cast}: pandas makes floats of ids beside nulls; drop those, then df[{key!r}].astype('int64')"
    if pa.types.is_uint64(kind) or pa.types.is_decimal(kind):
        return f"{cast}, which ends at 2^63 − 1: write larger ids as text"
    return f"{cast}: cast it"


def check_time(whose: str, rows: pa.Table, time: str) -> None:
    """As `check_rows`, of the time alone."""
    kind = rows.schema.field(time).type
    said = f"{whose}: time {time!r} is {kind}"
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        raise DatasetError(f"{said}; in pandas: df[{time!r}] = pd.to_datetime(df[{time!r}], utc=True)")
    if not pa.types.is_timestamp(kind):
        raise DatasetError(f"{said}; a time with its zone is needed, as timestamp[us, tz=UTC] or timestamptz")
    if kind.tz is None:
        raise DatasetError(
            f"{said}, without a zone; in pandas: df[{time!r}].dt.tz_localize('UTC'), in PostgreSQL: "
            f"ALTER COLUMN {time} TYPE timestamptz USING {time} AT TIME ZONE 'UTC'"
        )
    if nulls := rows[time].null_count:
        raise DatasetError(f"{whose}: time {time!r} is null in {nulls:,} of {rows.num_rows:,} rows; leave those out")
