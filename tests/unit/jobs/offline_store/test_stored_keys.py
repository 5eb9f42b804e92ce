"""Keys of those who have features, whatever the views are called."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import JobError
from jobs.offline_store.latest_rows import connect
from jobs.offline_store.stored_keys import some_key, stored_keys


def store(folder: Path, **views: dict[str, list[object]]) -> Path:
    for view, columns in views.items():
        file = folder / "current" / view / "2024-06" / "part-0.parquet"
        file.parent.mkdir(parents=True)
        pq.write_table(pa.table(columns), file)
    return folder


def test_each_key_of_all_views_that_have_it_comes_once(tmp_path: Path) -> None:
    offline_store = store(
        tmp_path,
        spend={"household_id": [3, 1, None]},
        visits={"household_id": [1, 2], "visits": [5, 6]},
        shops={"shop_id": [9]},
    )

    with connect() as connection:
        found = [key for keys in stored_keys(connection, offline_store, "household_id") for key in keys.to_pylist()]

    assert [1, 2, 3] == sorted(found)


@pytest.mark.parametrize(("keys", "shown"), [(100, "00042"), (3, "00003")])
def test_the_key_to_show_is_the_same_for_the_same_keys(tmp_path: Path, keys: int, shown: str) -> None:
    offline_store = store(tmp_path, view={"customer_id": [f"{n:05d}" for n in range(keys, 0, -1)]})

    with connect() as connection:
        assert shown == some_key(connection, offline_store, "customer_id")


@pytest.mark.parametrize(
    ("views", "said"),
    [
        ({}, "no features by 'customer_id'; run `make features` first"),
        ({"view": {"shop_id": ["a"]}}, "no features by 'customer_id'; run `make features` first"),
        ({"view": {"customer_id": pa.array([], pa.string())}}, "holds no rows"),
    ],
)
def test_nobody_has_features_is_told(tmp_path: Path, views: dict[str, dict[str, list[object]]], said: str) -> None:
    offline_store = store(tmp_path, **views)

    with connect() as connection, pytest.raises(JobError, match=said):
        some_key(connection, offline_store, "customer_id")
