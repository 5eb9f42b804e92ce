"""Rows of past decisions, from files laid out as the builds of an offline store."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from artefacts.build_record import Build, Partition
from jobs.offline_store.latest_rows import ViewSource, connect
from jobs.skew.past_rows import Decisions, RowChoice, ViewHistory
from jobs.times import unix_us
from tests.unit.jobs.offline_store.test_latest_rows import Row, source, write

T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAY_US = 86_400_000_000


def row(customer: str, at: float, count: int, created: float = 0) -> Row:
    """Times in days."""
    return {
        "customer_id": customer,
        "count": count,
        "spend": count / 2,
        "event_timestamp": T0 + timedelta(days=at),
        "created_timestamp": T0 + timedelta(days=created),
    }


def view_of(folder: Path) -> ViewSource:
    return source(folder / "orders_seen")


def build(
    folder: Path, at: float, definition: str, partitions: dict[str, list[Row]], history: Sequence[float] = ()
) -> ViewSource:
    """A complete build of one view, named by its time in days, as are those before it."""
    name = f"{T0 + timedelta(days=at):%Y%m%dT%H%M%S%f}"
    for partition, rows in partitions.items():
        write(folder / name / "orders_seen", partition, rows)
    held = {partition: Partition(rows=len(rows), build=name) for partition, rows in partitions.items()}
    described = Build(name, "s", "", "", {}, "", definition, [], {"orders_seen": held}, {})
    described = replace(described, history=[f"{T0 + timedelta(days=day):%Y%m%dT%H%M%S%f}" for day in history])
    (folder / name / "build.json").write_text(json.dumps(asdict(described)))
    return view_of(folder / name)


def counts(view: ViewSource, which: RowChoice, asked: Sequence[tuple[str, float, float | None]]) -> list[int | None]:
    """asked: customer, time of the decision and event time that was served, in days."""
    customers, as_of, served = zip(*asked, strict=True)
    decisions = Decisions(
        pa.table({"customer_id": pa.array(customers, pa.string())}),
        np.array([unix_us(T0) + round(day * DAY_US) for day in as_of]),
        np.array([np.nan if day is None else unix_us(T0) + day * DAY_US for day in served]),
    )
    found: list[int | None] = (
        ViewHistory(view).rows(connect(), which, decisions, ["count"]).rows.fields["count"].to_pylist()
    )
    return found


def test_every_decision_gets_the_row_that_was_valid_at_its_own_time(tmp_path: Path) -> None:
    write(tmp_path / "orders_seen", "2026-01", [row("a", 1, 1), row("a", 3, 2), row("b", 2, 3)])
    asked = [("a", 3.0, None), ("b", 1.9, None), ("a", 2.9, None), ("c", 9.0, None), ("a", 0.9, None), ("b", 9.0, None)]

    assert [2, None, 1, None, None, 3] == counts(view_of(tmp_path), RowChoice.VALID, asked)


def test_of_rows_with_one_event_time_the_one_created_last_is_valid_and_the_one_of_then_was_known(
    tmp_path: Path,
) -> None:
    write(tmp_path / "orders_seen", "2026-01", [row("a", 1, 1, created=1), row("a", 0.5, 7)])
    write(tmp_path / "orders_seen", "streamed", [row("a", 1, 2, created=5)])
    asked = [("a", 3.0, 1.0), ("a", 6.0, 1.0), ("a", 0.9, 0.5)]

    assert [2, 2, 7] == counts(view_of(tmp_path), RowChoice.VALID, asked)
    assert [1, 2, 7] == counts(view_of(tmp_path), RowChoice.KNOWN, asked)
    assert [1, 2, 7] == counts(view_of(tmp_path), RowChoice.SERVED, asked)
    assert [1, 1, 7] == counts(view_of(tmp_path), RowChoice.SERVED_FIRST, asked)


def test_only_the_row_with_the_very_event_time_was_served(tmp_path: Path) -> None:
    write(tmp_path / "orders_seen", "2026-01", [row("a", 1, 1), row("a", 2, 2)])

    assert [1, None, None] == counts(view_of(tmp_path), RowChoice.SERVED, [("a", 3, 1), ("a", 3, 1.5), ("a", 3, None)])


def test_what_a_later_build_replaced_is_found_in_the_one_before_by_the_time_in_its_name(tmp_path: Path) -> None:
    build(tmp_path, 0.5, "code", {"2026-01": [row("a", 0.25, 1)]})
    view = build(tmp_path, 1.5, "code", {"2026-01": [row("a", 0.25, 2, created=1)]})
    before, after = ("a", 1.25, 0.25), ("a", 1.75, 0.25)

    assert [2, 2] == counts(view, RowChoice.VALID, [before, after])
    # The new row is stamped with the midnight before either; it was made between them.
    assert [1, 2] == counts(view, RowChoice.KNOWN, [before, after])
    assert [1, 1] == counts(view, RowChoice.SERVED_FIRST, [before, after])


def test_a_build_whose_name_is_of_another_day_than_its_rows_was_made_by_a_clock_that_was_set(tmp_path: Path) -> None:
    build(tmp_path, 20.5, "code", {"2026-01": [row("a", 0.25, 1)]})
    view = build(tmp_path, 20.6, "code", {"2026-01": [row("a", 0.25, 2, created=1)]})

    assert [1, 2] == counts(view, RowChoice.KNOWN, [("a", 0.9, None), ("a", 1.1, None)])


@pytest.mark.parametrize(("history", "known"), [((0.2, 1.5), [1, 2]), ((0.2, 1.1, 1.5), [2, 2])])
def test_no_row_was_known_before_the_first_build_after_its_event_time(
    tmp_path: Path, history: tuple[float, ...], known: list[int]
) -> None:
    """The oldest that is kept wrote both rows; which build was first to have the second, its history tells."""
    both = [row("a", 0.1, 1, created=0), row("a", 1.0, 2, created=1)]
    build(tmp_path, 1.5, "code", {"2026-01": both}, history[:-1])
    view = build(tmp_path, 1.8, "code", {"2026-02": [row("b", 1.7, 9, created=1)]}, history)
    kept_from_before = ViewHistory(view)

    assert known == counts(view, RowChoice.KNOWN, [("a", 1.3, None), ("a", 1.6, None)])
    in_place = kept_from_before.in_place(unix_us(T0) + np.array([0, round(1.3 * DAY_US), round(1.9 * DAY_US)]))
    before = 1.1 if 1.1 in history else 0.2
    assert [True, False, False] == np.isnan(in_place).tolist()
    assert in_place[1:].tolist() == pytest.approx([unix_us(T0) + before * DAY_US, unix_us(T0) + 1.8 * DAY_US])


@pytest.mark.parametrize(("definition", "codes"), [("code", [0.0, 0.0]), ("other", [0.0, 1.0])])
def test_it_is_known_whether_two_builds_were_made_by_the_same_code(
    tmp_path: Path, definition: str, codes: list[float]
) -> None:
    build(tmp_path, 0.5, "code", {"2026-01": [row("a", 0.25, 1)]})
    view = build(tmp_path, 1.5, definition, {"2026-01": [row("a", 0.25, 2, created=1)]})
    decisions = Decisions(pa.table({"customer_id": ["a"]}), np.array([unix_us(T0) + DAY_US]), np.array([np.nan]))

    with connect() as connection:
        made_by = [
            ViewHistory(view).rows(connection, which, decisions, []).made_by[0]
            for which in (RowChoice.KNOWN, RowChoice.VALID)
        ]

    assert codes == made_by


def test_a_snapshot_whose_partition_the_build_no_longer_has_is_not_held(tmp_path: Path) -> None:
    by_day = {"2026-01-02": [row("a", 1, 1)], "2026-01-05": [row("a", 4, 2)]}
    by_month = {"2026-01": [row("a", 1, 1)]}
    times = unix_us(T0) + np.array([1, 2, 4, 31, np.nan]) * DAY_US

    assert [True, False, True, False, True] == ViewHistory(build(tmp_path / "d", 5, "", by_day)).holds(times).tolist()
    assert [True, True, True, False, True] == ViewHistory(build(tmp_path / "m", 5, "", by_month)).holds(times).tolist()


def test_a_store_without_builds_holds_every_time(tmp_path: Path) -> None:
    write(tmp_path / "orders_seen", "2026-01", [row("a", 1, 1)])

    assert [True] == ViewHistory(view_of(tmp_path)).holds(np.array([1.0])).tolist()


def test_without_created_timestamps_every_row_was_known_for_ever(tmp_path: Path) -> None:
    write(tmp_path / "orders_seen", "2026-01", [row("a", 1, 1), row("a", 3, 2)])
    view = source(tmp_path / "orders_seen", created=None)

    assert [2, 1] == counts(view, RowChoice.KNOWN, [("a", 9, 1), ("a", 2, 1)])
    assert [1, 1] == counts(view, RowChoice.SERVED_FIRST, [("a", 9, 1), ("a", 2, 1)])
