"""A use case's own `features.py` fills its offline store, as the shipped use case's build fills its own."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from artefacts.addresses import Artefacts
from artefacts.build_files import damage
from artefacts.build_record import Build, inputs_sha256
from jobs.errors import JobError
from jobs.features.own_rows import build_own, own_rows
from jobs.settings import JobsSettings

NOW = datetime(2026, 3, 10, 8, tzinfo=UTC)
MIDNIGHT = datetime(2026, 3, 10, tzinfo=UTC)

USE_CASE = """
from datetime import UTC, datetime
from training.use_case import Binary, ByFeature, TimeSplits, UseCase

class Labels:
    def first_event(self):
        return datetime(2025, 6, 1, tzinfo=UTC)

    def observed_until(self):
        return datetime(2026, 3, 10, tzinfo=UTC)

USE_CASE = UseCase(
    name="tins", feature_service="tins_v1", task=Binary("late", ("no", "yes")), labels=lambda environ: Labels(),
    candidates={}, baseline=ByFeature("tins__count"), splits=TimeSplits(label_days=28, training=2, spacing_days=28),
)
"""
FEATURES = """
import pyarrow as pa

def feature_rows(environ, snapshots):
    keys = [k for k in (7, 3) for _ in snapshots]
    at = pa.array([*snapshots, *snapshots], pa.timestamp("us", tz="UTC"))
    return {"tins": pa.table({"tin_id": keys, "event_timestamp": at, "count": pa.array(range(len(keys)))})}
"""


@pytest.fixture
def artefacts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artefacts:
    folder = tmp_path / "tins"
    (folder / "feature_repo").mkdir(parents=True)
    (folder / "use_case.py").write_text(USE_CASE)
    (folder / "features.py").write_text(FEATURES)
    monkeypatch.setenv("USE_CASE", str(folder))
    return Artefacts.of({"USE_CASE": str(folder)}, tmp_path)


def built(artefacts: Artefacts, now: datetime = NOW) -> Build:
    rows = own_rows(artefacts.use_case)
    assert rows is not None
    return build_own(artefacts, rows, JobsSettings(daily_snapshots=2, snapshot_backfill_days=365), now)


def test_rows_lie_in_a_build_that_every_reader_takes_for_whole(artefacts: Artefacts) -> None:
    build = built(artefacts)

    current = artefacts.offline_store / "current"
    assert build == Build.read(current)
    assert damage(current.resolve()) is None
    found = {file.parent.name: pq.read_table(file).to_pylist() for file in current.glob("tins/*/*.parquet")}
    for rows in found.values():
        assert rows == sorted(rows, key=lambda row: (row["tin_id"], row["event_timestamp"]))
    times = {day: {row["event_timestamp"] for row in rows} for day, rows in found.items()}
    assert {"2026-03-10": {MIDNIGHT}, "2026-03-09": {MIDNIGHT - timedelta(days=1)}}.items() <= times.items()
    assert MIDNIGHT.isoformat() == build.newest_snapshot == build.observed_until


def test_there_is_a_snapshot_at_each_cut_off_of_training(artefacts: Artefacts) -> None:
    built(artefacts)

    files = (artefacts.offline_store / "current").glob("tins/*/*.parquet")
    times = {row["event_timestamp"] for file in files for row in pq.read_table(file).to_pylist()}
    wanted = {MIDNIGHT - timedelta(days=29 * k) for k in (1, 2, 3)} | {MIDNIGHT - timedelta(days=29 * 3 + 28)}
    assert wanted <= times


def test_a_file_that_is_equal_to_the_one_before_stays_the_same_file(artefacts: Artefacts) -> None:
    first = built(artefacts)
    inode = next((artefacts.offline_store / "current").glob("tins/*/*.parquet")).stat().st_ino

    second = built(artefacts, NOW + timedelta(hours=1))

    assert first.name != second.name
    assert first.files == second.files
    assert inode in {file.stat().st_ino for file in (artefacts.offline_store / "current").glob("tins/*/*.parquet")}
    assert [first.name] == second.history


def test_rows_that_are_no_snapshots_lie_by_month(artefacts: Artefacts) -> None:
    text = FEATURES.replace("*snapshots]", "*(at.replace(month=1, hour=5) for at in snapshots)]")
    (artefacts.use_case / "features.py").write_text(text)
    built(artefacts)

    assert "2026-01" in {file.parent.name for file in (artefacts.offline_store / "current").glob("tins/*/*.parquet")}


def test_a_snapshot_that_did_not_change_is_of_the_build_that_made_it(artefacts: Artefacts) -> None:
    first = built(artefacts)
    text = FEATURES.replace("pa.array(range(len(keys)))", "pa.array([*range(len(keys) - 1), 77])")
    (artefacts.use_case / "features.py").write_text(text)
    second = built(artefacts, NOW + timedelta(hours=1))

    made_by = {day: partition["build"] for day, partition in second.partitions["tins"].items()}
    assert {"2026-03-10"} == {day for day, name in made_by.items() if name == second.name}
    assert {first.name, second.name} == set(made_by.values())


def test_other_rows_and_other_code_count_as_new_for_training(artefacts: Artefacts) -> None:
    built(artefacts)
    before = inputs_sha256(artefacts.offline_store / "current")
    built(artefacts)
    assert before == inputs_sha256(artefacts.offline_store / "current")

    (artefacts.use_case / "features.py").write_text(FEATURES.replace("range(len(keys))", "range(1, len(keys) + 1)"))
    built(artefacts)

    assert before != inputs_sha256(artefacts.offline_store / "current")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (FEATURES.replace("feature_rows", "rows"), "features.py defines no function 'feature_rows'"),
        (FEATURES.replace('"event_timestamp"', '"at"'), "features.py: tins has no column 'event_timestamp'"),
        (FEATURES.replace(', tz="UTC"', ""), "'event_timestamp' is timestamp[us]; it must be a timestamp with a time"),
        (
            FEATURES.replace("*snapshots]", "*snapshots[:-1], snapshots[-1].replace(year=2030)]"),
            "features.py: tins has rows of the future: 2030-03-10T00:00:00+00:00",
        ),
        (FEATURES.replace("*snapshots]", "*snapshots[:-1], None]"), "tins: 'event_timestamp' is empty in 1 rows"),
    ],
)
def test_rows_that_cannot_be_stored_are_refused_and_the_build_before_stays(
    artefacts: Artefacts, text: str, said: str
) -> None:
    before = built(artefacts)
    (artefacts.use_case / "features.py").write_text(text)

    with pytest.raises(JobError) as raised:
        built(artefacts)

    assert said in str(raised.value)
    assert before == Build.read(artefacts.offline_store / "current")


def test_a_use_case_without_it_builds_nothing(tmp_path: Path) -> None:
    assert own_rows(tmp_path) is None
