"""Sample orders end yesterday, whatever day it is."""

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from tests.models.orders import write_orders
from training.__main__ import main
from training.churn.deliveries import follow_today
from training.churn.synthetic_orders import write_synthetic
from training.errors import OrdersError

FIRST, LATER = date(2026, 1, 10), date(2026, 3, 1)


def described(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(pq.read_schema(path).metadata[b"orders"])
    return found


def test_a_sample_moves_by_whole_days_so_that_it_ends_yesterday_and_nothing_else_changes(tmp_path: Path) -> None:
    path = tmp_path / "orders.parquet"
    made = write_synthetic(path, 300, 1, FIRST, follows_today=True)
    before, source = pq.read_table(path), described(path)["source"]

    moved = follow_today(path, LATER)

    after = pq.read_table(path)
    assert moved is not None
    assert (made.rows, made.customers, made.source) == (moved.rows, moved.customers, moved.source)
    assert datetime(2026, 3, 1, tzinfo=UTC) == moved.observed_until
    assert (source, 50, True) == tuple(described(path)[name] for name in ("source", "shift_days", "follows_today"))
    times = [at + timedelta(days=50) for at in before["event_timestamp"].to_pylist()]
    assert times == after["event_timestamp"].to_pylist()
    assert before.drop_columns("event_timestamp").equals(after.drop_columns("event_timestamp"))
    assert follow_today(path, LATER) is None
    assert follow_today(path, FIRST) is None  # a clock that was set back


def test_orders_of_a_chosen_day_and_own_orders_stay(tmp_path: Path) -> None:
    write_synthetic(tmp_path / "chosen.parquet", 300, 1, FIRST)
    write_orders(tmp_path / "own.parquet", [("A", "1", datetime(2024, 1, 2, tzinfo=UTC), 1.0, 1)])

    for name in ("chosen", "own"):
        before = (tmp_path / f"{name}.parquet").read_bytes()
        assert follow_today(tmp_path / f"{name}.parquet", LATER) is None
        assert before == (tmp_path / f"{name}.parquet").read_bytes()
    with pytest.raises(OrdersError, match="no orders yet"):
        follow_today(tmp_path / "nothing.parquet", LATER)


@pytest.mark.parametrize("how", ["--follow-today", "--again"])
def test_the_command_moves_the_sample_unless_the_stream_has_added_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    path, streamed = tmp_path / "orders.parquet", tmp_path / "streamed"
    monkeypatch.setenv("ORDERS_PATH", str(path))
    monkeypatch.setenv("STREAMED_ORDERS_DIR", str(streamed))
    write_synthetic(path, 300, 1, FIRST, follows_today=True)
    before = path.read_bytes()
    write_orders(streamed / "batch=0" / "part-0.parquet", [("s", "1", datetime(2026, 1, 11, tzinfo=UTC), 1.0, 1)])
    assert 0 == main(["data", how])
    assert before == path.read_bytes()

    (streamed / "batch=0").rename(tmp_path / "gone")
    assert 0 == main(["data", how])
    assert datetime.now(UTC) - datetime.fromisoformat(described(path)["observed_until"]) < timedelta(days=2)


def test_orders_that_are_made_without_a_day_follow_and_with_one_do_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ORDERS_PATH", str(tmp_path / "orders.parquet"))

    for given, follows in (([], True), (["--reference-date=2026-01-10"], None)):
        assert 0 == main(["data", "--synthetic=300", *given])
        assert follows is described(tmp_path / "orders.parquet").get("follows_today")


@pytest.mark.parametrize("wrong", [["--until=2026-01-01"], ["--complete"], ["--follow-today", "--synthetic=3"]])
def test_what_says_something_of_own_orders_is_refused_without_them(wrong: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["data", *wrong])
