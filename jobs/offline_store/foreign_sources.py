"""Sources of feature rows that somebody else fills: what they are, and what is wrong with their rows."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow.parquet as pq

from artefacts.process.redaction import redacted
from jobs.errors import JobError
from jobs.offline_store.latest_rows import ViewSource, connect, quoted, rows_of, run_query
from scoring.errors import FeatureSourceError

if TYPE_CHECKING:
    from feast import FeatureStore, FeatureView


def described(views: Iterable["FeatureView"]) -> str:
    """The kind and the place, or else the name, of each view's source, for people."""
    found = dict.fromkeys(_described(view.batch_source) for view in views if getattr(view, "batch_source", None))
    return ", ".join(found)


def _described(source: Any) -> str:
    return f"{type(source).__name__} {redacted(str(getattr(source, 'path', '') or source.name))}"


def odd_rows(source: ViewSource) -> list[str]:
    """What is doubtful about the rows of Parquet files, one line each; it does not keep them from being used.

    Raises:
        JobError: there are no rows, or files cannot be read.
    """
    schemas = [pq.read_schema(file) for file in source.files()]
    if not sum(pq.read_metadata(file).num_rows for file in source.files()):
        raise JobError(no_rows(source.name, source.path))
    found = []
    if any(schema.field(source.timestamp_field).type.tz is None for schema in schemas):
        found.append(_no_zone(source.name, source.timestamp_field))
    keys, times = ", ".join(map(quoted, source.join_keys)), [source.timestamp_field]
    times += [source.created_timestamp_field] if source.created_timestamp_field else []
    query = f"""
        SELECT count(*) AS n FROM (
            SELECT 1 FROM {rows_of(source.files())} WHERE {quoted(source.timestamp_field)} IS NOT NULL
            GROUP BY {keys}, {", ".join(map(quoted, times))} HAVING count(*) > 1
        )
    """  # noqa: S608  # names are quoted
    with connect() as connection:
        again = run_query(connection, [source], query, [])["n"][0].as_py()
    if again:
        found.append(
            f"{source.name}: {again:,} keys ({', '.join(source.join_keys)}) have several rows of one "
            f"{' and '.join(times)}; one of them is taken, always the same"
        )
    return found


def check_columns_of(store: "FeatureStore", view: "FeatureView") -> list[str]:
    """Compare the columns of any source with a view, by Feast.

    Returns:
        What is doubtful, one line each.

    Raises:
        JobError: the source cannot be read, it has not all columns that the view declares, or its event time is none.
    """
    source = view.batch_source
    named = f"{view.name}: {_described(source)}"
    try:
        columns = dict(source.get_table_column_names_and_types(store.config))
    except Exception as error:  # of any driver
        raise JobError(f"{named} cannot be read: {first_line(error)}") from None
    original = {new: old for old, new in source.field_mapping.items()}
    for name in (*view.join_keys, source.timestamp_field, *(field.name for field in view.features)):
        if original.get(name, name) not in columns:
            raise JobError(f"{named} has no column {original.get(name, name)!r}, which the view declares")
    time_type = columns[original.get(source.timestamp_field, source.timestamp_field)].lower()
    if "timestamp" not in time_type and "date" not in time_type:
        raise JobError(f"{named}: column {source.timestamp_field!r} is {time_type}; the event time must be a timestamp")
    return [_no_zone(view.name, source.timestamp_field)] if "without time zone" in time_type else []


def some_foreign_entity(
    store: "FeatureStore", views: Sequence["FeatureView"], join_keys: Sequence[str]
) -> dict[str, Any]:
    """An entity with rows to show, by all of its join keys: of a view that has them all, or else of one view for each.

    Raises:
        JobError: a source cannot be read, or no view has rows by one of the keys.
    """
    from scoring.feast.sources import times_of

    found: dict[str, Any] = {}
    for view in sorted(views, key=lambda each: -len(each.join_keys)):
        if {*join_keys} <= {*found}:
            break
        try:
            rows = times_of(store, view).drop_columns(["since"])
        except FeatureSourceError as error:
            raise JobError(str(error)) from None
        if rows.num_rows:
            found = rows.slice(min(41, rows.num_rows - 1), 1).to_pylist()[0] | found
    if lacking := [key for key in join_keys if key not in found]:
        raise JobError(f"no view's source has rows by {lacking[0]!r}; fill it, then `make materialize`")
    return {key: found[key] for key in join_keys}


def no_rows(view: str, place: str) -> str:
    """The error message for a source without rows."""
    return f"{place}: has no rows, so the online rows of the view {view} stay as they are"


def _no_zone(view: str, column: str) -> str:
    return f"{view}: the times in {column!r} have no zone; they are taken as UTC"


def first_line(error: Exception) -> str:
    """The first line of an error's message, without passwords, after its class."""
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    return f"{type(error).__name__}: {redacted(line)}"
