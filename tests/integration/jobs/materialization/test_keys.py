"""Rows under keys of every type are stored as Feast's own run stores them, and read through Feast's SDK."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.materialization.feast_fallback import why_not_here
from jobs.materialization.redis_store.encoding import StoredFormat
from jobs.materialization.redis_store.read_back import mismatches
from jobs.materialization.redis_store.redis_client import client_beside
from jobs.materialization.redis_store.redis_writer import OnlineRows
from jobs.offline_store.latest_rows import connect, key_ranges, latest_rows
from tests.integration.jobs.materialization.test_encoding import TIMESTAMP, everything, opened
from tests.integration.service.conftest import TinyFeast, tiny_feast
from tests.servers.redis_servers import RunningServer, valkey

NOW = datetime(2026, 3, 1, tzinfo=UTC)
DEFINITIONS = """\
import os
from feast import Entity, FeatureView, Field, FileSource, ValueType
from feast.types import Float64, Int32, Int64, String

customer = Entity(name="customer", join_keys=["customer_id"], value_type=ValueType.INT64)
merchant = Entity(name="merchant", join_keys=["merchant"], value_type=ValueType.STRING)
country = Entity(name="country", join_keys=["a_country"], value_type=ValueType.INT32)


def view(name, *entities):
    path = os.path.join(os.environ["OFFLINE_STORE_DIR"], f"{name}.parquet")
    source = FileSource(name=name, path=path, timestamp_field="event_timestamp")
    return FeatureView(name=name, entities=list(entities), schema=[Field(name="value", dtype=Float64)], source=source)


by_customer = view("by_customer", customer)
by_country = view("by_country", country)
by_two = view("by_two", merchant, customer)
by_three = view("by_three", merchant, customer, country)
"""
KEYS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "customer_id": (pa.int64(), [0, 1, -1, 2**63 - 1, -(2**63), 2**53 + 1, 42]),
    "merchant": (pa.string(), ["", "Zoë Ωμέγα", "a:b", "x" * 300, "10", "9"]),
    "a_country": (pa.int32(), [0, -1, 2**31 - 1, -(2**31), 7]),
}
VIEWS = {
    "by_customer": ("customer_id",),
    "by_country": ("a_country",),
    "by_two": ("merchant", "customer_id"),
    "by_three": ("merchant", "customer_id", "a_country"),
}


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, RunningServer]]:
    """One for this project's rows, one for Feast's."""
    folder = tmp_path_factory.mktemp("redis")
    with valkey(folder / "ours") as ours, valkey(folder / "feasts") as feasts:
        yield ours, feasts


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> TinyFeast:
    """A view by every kind of key, applied, with rows."""
    feast = tiny_feast(tmp_path_factory.mktemp("keyed"), None, DEFINITIONS)
    folder = feast.artefacts.offline_store
    folder.mkdir(parents=True)
    for view, names in VIEWS.items():
        pq.write_table(rows_by(*names), folder / f"{view}.parquet")
    feast.apply()
    return feast


def rows_by(*names: str) -> pa.Table:
    """Each combination of the keys twice; the older row is the later one in the file."""
    combinations: list[tuple[Any, ...]] = [()]
    for name in names:
        combinations = [(*keys, value) for keys in combinations for value in KEYS[name][1]]
    columns = {name: pa.array([keys[at] for keys in combinations] * 2, KEYS[name][0]) for at, name in enumerate(names)}
    count = len(combinations)
    times = [NOW - timedelta(days=days, microseconds=n) for days in (1, 2) for n in range(count)]
    return pa.table(
        columns | {"value": [float(n) for n in range(2 * count)], "event_timestamp": pa.array(times, TIMESTAMP)}
    )


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("rows_per_chunk", [7, 100_000])
def test_rows_are_stored_as_feast_stores_them_whatever_the_keys(
    keyed: TinyFeast, servers: tuple[RunningServer, RunningServer], view: str, rows_per_chunk: int
) -> None:
    ours, feasts = servers
    for server in servers:
        server.command("FLUSHALL")
    stock = opened(keyed, feasts)
    stock.materialize(datetime(1970, 1, 1, tzinfo=UTC), NOW, feature_views=[view])
    store = opened(keyed, ours)
    registered = store.get_feature_view(view)
    stored_format = StoredFormat.of(store, registered)
    entities = rows_by(*VIEWS[view]).num_rows // 2
    found = []

    with connect() as connection:
        for key_range in key_ranges(connection, [stored_format.source], rows_per_chunk):
            rows = latest_rows(connection, stored_format.source, NOW, key_range)
            OnlineRows(client_beside(store, ours.url)).write(stored_format.encode(rows))
            assert (rows.num_rows, 0) == mismatches(store, stored_format, rows, 1_000)
            found.append(rows)

    assert None is why_not_here(store, registered)
    everybody = pa.concat_tables(found)
    assert (
        entities
        == everybody.num_rows
        == everybody.select(VIEWS[view]).group_by(list(VIEWS[view])).aggregate([]).num_rows
    )
    assert everybody.equals(everybody.sort_by([(name, "ascending") for name in VIEWS[view]]))
    assert entities == len(everything(feasts))
    assert everything(feasts) == everything(ours)
