"""A file of the offline store that is missing, cut, changed or foreign is seen, and the next build mends it."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from artefacts.build_files import damage, written
from jobs.features.build import build_features
from jobs.offline_store.builds import read_build
from jobs.settings import JobsSettings
from tests.models.orders import rows_in_place, shop, some_orders, write_orders

START = datetime(2024, 6, 10, 9, 30, tzinfo=UTC)
SETTINGS = JobsSettings(snapshot_backfill_days=60, daily_snapshots=2)
ORDERS = some_orders(300, START)
VIEWS = ("customer_lifetime", "customer_orders_windowed")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_orders(tmp_path / "orders.parquet", ORDERS)
    build_features(*shop(tmp_path), SETTINGS, START)
    return tmp_path


def flip_a_byte(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def another_months(file: Path) -> None:
    other = next(f for f in sorted(file.parents[1].glob("*/*.parquet")) if f != file)
    file.write_bytes(other.read_bytes())


DAMAGE: dict[str, Callable[[Path], object]] = {
    "is missing": lambda file: file.unlink(),
    "bytes": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "bytes, ": lambda file: file.write_bytes(b""),
    "was changed after it was written": flip_a_byte,
    "written": another_months,
    "is not of this build": lambda file: (file.parent / "part-9.parquet").write_bytes(file.read_bytes()),
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("says", DAMAGE)
def test_damage_is_seen_named_and_mended_by_the_next_build(root: Path, view: str, says: str) -> None:
    store = root / "store"
    before = {name: rows_in_place(store, name) for name in VIEWS}
    held = read_build(store).partitions[view]
    partition = sorted(held)[len(held) // 2]
    DAMAGE[says](store / "current" / view / partition / "part-0.parquet")

    found = damage((store / "current").resolve())

    assert found is not None
    assert f"{view}/{partition}" in found
    assert says in found
    assert found.endswith("; `make features` mends it")

    build = build_features(*shop(root), SETTINGS, START)
    assert damage((store / "current").resolve()) is None
    assert {name: rows_in_place(store, name) for name in VIEWS} == before
    made_again = {name for name, held in build.partitions[view].items() if held["build"] == build.name}
    assert {name for name in build.partitions[view] if name >= partition} == (
        made_again if view == VIEWS[0] else made_again | {name for name in build.partitions[view] if name > partition}
    )


def test_a_partition_that_is_gone_with_its_folder_is_made_again(root: Path) -> None:
    for view in VIEWS:
        partition = max((root / "store" / "current" / view).iterdir())
        for file in partition.iterdir():
            file.unlink()
        partition.rmdir()
    before = read_build(root / "store").rows

    assert before == build_features(*shop(root), SETTINGS, START).rows
    assert damage((root / "store" / "current").resolve()) is None


def test_sizes_alone_are_compared_where_nothing_is_to_be_read(root: Path) -> None:
    (file,) = list((root / "store" / "current" / VIEWS[0]).glob("*/part-0.parquet"))[:1]
    flip_a_byte(file)

    assert damage(root / "store" / "current", read=False) is None
    file.unlink()
    assert "is missing" in str(damage(root / "store" / "current", read=False))


def test_rows_of_the_stream_that_are_gone_are_seen_until_a_build_includes_their_orders(root: Path) -> None:
    build = (root / "store" / "current").resolve()
    rows = build / VIEWS[0] / "streamed" / "batch-7.parquet"
    rows.parent.mkdir()
    rows.write_bytes(next((build / VIEWS[0]).glob("*/part-0.parquet")).read_bytes())
    batch = write_orders(root / "streamed" / "batch=7" / "part-0.parquet", ORDERS[:3]).parent
    (batch / "rows.json").write_text(json.dumps({VIEWS[0]: written(rows)}))
    assert damage(build) is None

    rows.unlink()
    assert f"{rows}: is missing" in str(damage(build))
    (batch / ".under_way").touch()
    assert damage(build) is None
    (batch / ".under_way").unlink()

    build_features(*shop(root), SETTINGS, START)
    assert damage((root / "store" / "current").resolve()) is None


@pytest.mark.parametrize(
    "content", [None, "", "[]", "{}", '{"partitions": {"v": {"2024-01": {"rows": 1, "build": "b"}}}}']
)
def test_what_is_described_by_nothing_or_by_an_earlier_version_is_not_judged(
    tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "build.json").write_text(content)

    assert damage(tmp_path) is None
