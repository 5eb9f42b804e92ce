"""What is left to do after what was done, and which files of a view changed."""

import os
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.errors import JobError
from jobs.materialization.progress import MaterializationPass, SourceState, changed_files, next_pass
from jobs.offline_store.latest_rows import KeyRange, ViewSource
from jobs.offline_store.view_files import identities, limited_to, newest_event_time, replaced, resolved

T0 = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DONE = SourceState(T0, {"jan/0": "1", "feb/0": "2"}, "columns")


def test_nothing_is_left_where_nothing_changed() -> None:
    assert next_pass(DONE, DONE, None, full=False) is None
    assert next_pass(replace(DONE, until=T0 - DAY), DONE, None, full=False) is None
    assert next_pass(replace(DONE, files={"feb/0": "2"}), DONE, None, full=False) is None


@pytest.mark.parametrize(
    "wanted", [replace(DONE, until=T0 + DAY), replace(DONE, files={"jan/0": "1", "feb/0": "3"})], ids=["time", "file"]
)
def test_what_changed_is_left(wanted: SourceState) -> None:
    assert MaterializationPass(wanted, full=False) == next_pass(wanted, DONE, None, full=False)


@pytest.mark.parametrize("done", [None, replace(DONE, columns="other")], ids=["never", "other columns"])
def test_everything_is_left_where_nothing_comparable_was_done(done: SourceState | None) -> None:
    assert MaterializationPass(DONE, full=True) == next_pass(DONE, done, None, full=False)


def test_everything_is_left_when_everything_is_asked_for() -> None:
    assert MaterializationPass(DONE, full=True) == next_pass(DONE, DONE, None, full=True)


def test_a_pass_that_was_cut_off_is_finished_first() -> None:
    begun = MaterializationPass(DONE, full=True, reached="00500")

    assert begun == next_pass(DONE, None, begun, full=False)
    assert begun == next_pass(DONE, None, begun, full=True)
    more = replace(DONE, until=T0 + DAY, files=DONE.files | {"streamed/batch-7": "9"})
    assert begun == next_pass(more, None, begun, full=False)


@pytest.mark.parametrize(
    "wanted",
    [
        replace(DONE, files={"jan/0": "1", "feb/0": "3"}),
        replace(DONE, files={"jan/0": "1"}),
        replace(DONE, until=T0 - DAY),
        replace(DONE, columns="other"),
    ],
    ids=["file changed", "file gone", "earlier", "other columns"],
)
def test_a_pass_over_what_is_there_no_more_is_not_finished(wanted: SourceState) -> None:
    assert MaterializationPass(wanted, full=True) == next_pass(
        wanted, None, MaterializationPass(DONE, full=True, reached="00500"), full=False
    )


def test_a_pass_over_what_changed_does_not_do_for_everything() -> None:
    assert MaterializationPass(DONE, full=True) == next_pass(
        DONE, DONE, MaterializationPass(DONE, full=False, reached="00500"), full=True
    )


def test_a_range_is_done_when_its_end_was_reached() -> None:
    cut_off = MaterializationPass(DONE, full=True, reached="b")

    assert cut_off.is_done(KeyRange(None, "a"))
    assert cut_off.is_done(KeyRange("a", "b"))
    assert not cut_off.is_done(KeyRange("b", "c"))
    assert not cut_off.is_done(KeyRange("b", None))
    assert not MaterializationPass(DONE, full=True).is_done(KeyRange(None, "a"))


def view(folder: Path) -> ViewSource:
    return ViewSource(
        "seen",
        str(folder / "current" / "seen" / "*" / "*.parquet"),
        ("customer_id",),
        ("string",),
        "event_timestamp",
        None,
        (),
        (),
    )


def write(folder: Path, part: str, days: list[float]) -> Path:
    file = folder / "seen" / part / "part-0.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    times = pa.array([T0 + day * DAY for day in days], pa.timestamp("us", tz="UTC"))
    pq.write_table(pa.table({"customer_id": pa.array(["a"] * len(days), pa.string()), "event_timestamp": times}), file)
    return file


def link(folder: Path, build: str) -> None:
    made = folder / f"current.{build}"
    made.symlink_to(build)
    made.replace(folder / "current")


def test_a_build_stays_readable_and_a_new_one_is_noticed(tmp_path: Path) -> None:
    for build in ("one", "two"):
        write(tmp_path / build, "jan", [1])
    link(tmp_path, "one")
    of_build = resolved(view(tmp_path))

    assert not replaced(of_build, view(tmp_path))
    link(tmp_path, "two")

    assert replaced(of_build, view(tmp_path))
    assert [str(tmp_path.resolve() / "one/seen/jan/part-0.parquet")] == of_build.files()


def test_a_file_that_a_build_takes_over_keeps_its_identity_and_a_new_one_has_another(tmp_path: Path) -> None:
    kept, changed = write(tmp_path / "one", "jan", [1]), write(tmp_path / "one", "feb", [2])
    (tmp_path / "two" / "seen" / "jan").mkdir(parents=True)
    os.link(kept, tmp_path / "two" / "seen" / "jan" / "part-0.parquet")
    write(tmp_path / "two", "feb", [3])
    assert changed.exists()
    link(tmp_path, "one")
    before = identities(resolved(view(tmp_path)))
    link(tmp_path, "two")
    after = identities(resolved(view(tmp_path)))

    assert {"jan/part-0.parquet", "feb/part-0.parquet"} == before.keys() == after.keys()
    assert {"feb/part-0.parquet"} == {name for name in after if after[name] != before[name]}


def test_files_with_rows_after_the_last_time_are_read_again(tmp_path: Path) -> None:
    for part, days in (("jan", [0.0, 1.0]), ("feb", [2.0, 5.0]), ("none", []), ("mar", [9.0])):
        write(tmp_path / "one", part, days)
    link(tmp_path, "one")
    source = resolved(view(tmp_path))
    files = identities(source)
    done = SourceState(T0 + 2 * DAY, {name: of for name, of in files.items() if "mar" not in name}, "")

    changed = changed_files(source, SourceState(T0 + 9 * DAY, files, ""), done)

    assert ["feb/part-0.parquet", "mar/part-0.parquet"] == sorted(changed)
    limited = limited_to(source, changed)
    assert ["feb", "mar"] == [Path(file).parent.name for file in limited.files()]
    assert newest_event_time(source, "none/part-0.parquet") is None
    assert T0 + 5 * DAY == newest_event_time(source, "feb/part-0.parquet")


def test_the_newest_time_is_found_behind_columns_with_several_parts(tmp_path: Path) -> None:
    folder = tmp_path / "one" / "seen" / "jan"
    folder.mkdir(parents=True)
    columns = {"place": [{"x": 1, "y": 2}], "event_timestamp": [T0], "other": [T0 + DAY]}
    pq.write_table(pa.table(columns), folder / "part-0.parquet")
    link(tmp_path, "one")

    assert T0 == newest_event_time(resolved(view(tmp_path)), "jan/part-0.parquet")


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    write(tmp_path / "one", "jan", [1]).write_bytes(b"PAR1 no more")
    link(tmp_path, "one")

    with pytest.raises(JobError, match=r"jan/part-0.parquet: is not readable as Parquet"):
        newest_event_time(resolved(view(tmp_path)), "jan/part-0.parquet")
