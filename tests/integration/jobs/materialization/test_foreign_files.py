"""`make materialize` from Parquet files that somebody else writes: no build, no orders, no owner."""

import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from jobs.errors import JobError
from jobs.feature_store import open_feature_store
from jobs.materialization.feast_rows import sample_of
from jobs.materialization.locks import LockedError
from jobs.materialization.run_records import PartlyError
from tests.integration.jobs.foreign_tables import DAY, NOW, Tables, profiles, spends, stored
from tests.servers.redis_servers import RunningServer, valkey

ALL = range(300)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with valkey(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def applied(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Tables:
    """One table is a file, the other a folder with a folder in it."""
    folder = tmp_path_factory.mktemp("tables")
    (folder / "data" / "spend").mkdir(parents=True)
    return Tables.over_files(
        folder, "spend", server.url, folder / "data" / "profile.parquet", folder / "data" / "spend"
    )


@pytest.fixture
def tables(server: RunningServer, applied: Tables) -> Iterator[Tables]:
    """Both tables have rows; Redis is empty, no run is recorded."""
    server.command("FLUSHALL")
    profiles(ALL).to_parquet(profile_of(applied))
    (spend_of(applied) / "2026").mkdir(parents=True)
    spends(range(150)).to_parquet(spend_of(applied) / "a.parquet")
    spends(range(150, 300)).to_parquet(spend_of(applied) / "2026" / "b.parquet")
    yield applied
    shutil.rmtree(spend_of(applied))


def data_of(tables: Tables) -> Path:
    return tables.artefacts.use_case.parent / "data"


def profile_of(tables: Tables) -> Path:
    return data_of(tables) / "profile.parquet"


def spend_of(tables: Tables) -> Path:
    return data_of(tables) / "spend"


def household(*numbers: int) -> list[dict[str, int]]:
    return [{"household_id": number} for number in numbers]


def test_views_under_different_keys_are_stored_in_one_run_as_feast_stores_them(
    tables: Tables, server: RunningServer
) -> None:
    store = open_feature_store(tables.artefacts)
    store.materialize(datetime(1970, 1, 1, tzinfo=UTC), NOW)
    expected = stored(server, "spend")
    server.command("FLUSHALL")

    record = tables.materialize()

    assert expected == stored(server, "spend")
    assert 300 + 600 == len(expected)
    assert [("department_spend", 600, "job"), ("household_profile", 300, "job")] == [
        (view["view"], view["written"], view["written_by"]) for view in record["views"]
    ]
    assert ("done", "") == (record["outcome"], record["build"])
    assert f"FileSource {spend_of(tables)}, FileSource {profile_of(tables)}" == record["source"]
    assert [("35-49K", 3, False)] == tables.online("household_profile", ["income", "size", "is_owner"], household(1))
    assert [(None, None, None)] == tables.online("household_profile", ["income", "size", "is_owner"], household(5))


def test_a_file_that_is_written_again_replaces_its_rows_and_removes_those_that_are_gone(
    tables: Tables, server: RunningServer
) -> None:
    tables.materialize()
    again = tables.materialize()
    profiles(range(200), NOW - DAY / 2, size=4).to_parquet(profile_of(tables))
    (spend_of(tables) / "2026" / "b.parquet").unlink()

    record = tables.materialize()

    assert [0, 0] == [view["written"] for view in again["views"]]
    assert [300, 100] == [view["removed"] for view in record["views"]]
    assert [(4,), (None,)] == tables.online("household_profile", ["size"], household(199, 200))
    keys = [{"household_id": number, "department": "MEAT"} for number in (149, 150)]
    assert [(1.5,), (None,)] == tables.online("department_spend", ["spend"], keys)
    assert 200 + 300 == len([fields for fields in stored(server, "spend").values() if fields])


def test_new_files_of_a_folder_write_only_their_entities(tables: Tables) -> None:
    tables.materialize()
    spends(range(10), at=NOW - DAY / 2, spend=9.0).to_parquet(spend_of(tables) / "c.parquet")

    record = tables.materialize()

    assert [20, 0] == [view["written"] for view in record["views"]]
    keys = [{"household_id": number, "department": "MEAT"} for number in (9, 10)]
    assert [(9.0,), (1.5,)] == tables.online("department_spend", ["spend"], keys)


@pytest.mark.usefixtures("printed_logs")
def test_doubtful_rows_are_told_by_view_and_column(tables: Tables, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pd.concat([profiles(ALL), profiles(range(7), size=9)])
    rows["at"] = rows["at"].dt.tz_localize(None)
    rows.to_parquet(profile_of(tables))

    tables.materialize()

    said = capsys.readouterr().out
    assert "household_profile: the times in 'at' have no zone; they are taken as UTC" in said
    assert "household_profile: 7 keys (household_id) have several rows of one at; one of them is taken, always" in said
    assert [(3,)] == tables.online("household_profile", ["size"], household(8))


def no_rows(rows: pd.DataFrame) -> pd.DataFrame:
    return rows[:0]


def text_times(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(at=rows["at"].astype(str))


def no_key(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.drop(columns="household_id")


def text_key(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(household_id=rows["household_id"].astype(str))


def numbers_as_category(rows: pd.DataFrame) -> pd.DataFrame:
    return rows.assign(income=np.arange(len(rows)))


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        (no_rows, "profile.parquet: has no rows, so the online rows of the view household_profile stay as they are"),
        (text_times, "profile.parquet: column 'at' is string; the view household_profile declares a timestamp"),
        (no_key, "profile.parquet: has no column 'household_id', which the view household_profile declares"),
        (text_key, "profile.parquet: column 'household_id' is string; the view household_profile declares int64"),
        (numbers_as_category, "profile.parquet: column 'income' is int64; the view household_profile declares string"),
        (None, "profile.parquet: no such Parquet file; the source of the view household_profile names it"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line_and_its_online_rows_stay(
    tables: Tables, server: RunningServer, spoilt: object, said: str
) -> None:
    tables.materialize()
    before = stored(server, "spend")
    if callable(spoilt):
        spoilt(profiles(ALL)).to_parquet(profile_of(tables))
    else:
        profile_of(tables).unlink()

    with pytest.raises(PartlyError) as error:
        tables.materialize()

    assert f"household_profile: {data_of(tables)}/{said}" == str(error.value)
    assert before == stored(server, "spend")


def test_two_projects_on_one_redis_neither_see_nor_remove_each_others_rows(
    tables: Tables, server: RunningServer, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    data.mkdir()
    profiles(range(5), size=8).to_parquet(data / "profile.parquet")
    spends(range(5), spend=8.0).to_parquet(data / "spend.parquet")
    other = Tables.over_files(tmp_path, "spending", server.url, data / "profile.parquet", data / "spend.parquet")
    tables.materialize()
    ours = stored(server, "spend")

    other.materialize()
    theirs = stored(server, "spending")
    other.materialize(full=True, replace=True)
    after = stored(server, "spend")
    profiles(range(3)).to_parquet(profile_of(tables))
    tables.materialize(full=True)

    assert 5 + 10 == len(theirs)
    assert ours == after
    assert theirs == stored(server, "spending")
    assert [(3,), (None,)] == tables.online("household_profile", ["size"], household(1, 4))
    assert [(8,), (8,)] == other.online("household_profile", ["size"], household(1, 4))


def test_into_sqlite_goes_feasts_own_run_without_a_redis_one_run_at_a_time(tmp_path: Path) -> None:
    from artefacts.process.file_locks import locked

    data = tmp_path / "data"
    data.mkdir()
    profiles(range(50)).to_parquet(data / "profile.parquet")
    spends(range(50)).to_parquet(data / "spend.parquet")
    online = {"type": "sqlite", "path": str(tmp_path / "online.db")}
    files = (data / "profile.parquet", data / "spend.parquet")
    tables = Tables.over_files(tmp_path, "spend", None, *files, online_store=online)

    record = tables.materialize()

    assert [("feast", 100), ("feast", 50)] == [(view["written_by"], view["verified"]) for view in record["views"]]
    assert [("35-49K", 3, False)] == tables.online("household_profile", ["income", "size", "is_owner"], household(1))
    with (
        locked(tables.artefacts.materialize_runs.with_name("spend.lock")),
        pytest.raises(LockedError, match="another materialization is running"),
    ):
        tables.materialize()
    assert ("locked", 3) == (tables.last_record()["outcome"], tables.last_record()["exit_code"])
    no_rows(profiles(ALL)).to_parquet(data / "profile.parquet")
    with pytest.raises(PartlyError, match=r"^household_profile: .*profile.parquet: has no rows, so the online rows of"):
        tables.materialize()
    assert [(3,)] == tables.online("household_profile", ["size"], household(1))


def test_a_build_without_rows_at_that_time_is_no_mistake_in_feasts_own_run(tmp_path: Path) -> None:
    current = tmp_path / "var" / "use_cases" / "spend" / "offline_store" / "current"
    files = [current / view / "all" / "rows.parquet" for view in ("household_profile", "department_spend")]
    for file, rows in zip(files, (profiles(range(5)), spends(range(5))), strict=True):
        file.parent.mkdir(parents=True)
        rows.to_parquet(file)
    online = {"type": "sqlite", "path": str(tmp_path / "online.db")}
    tables = Tables.over_files(tmp_path, "spend", None, files[0], files[1], online_store=online)
    store = open_feature_store(tables.artefacts)

    view = store.get_feature_view("household_profile")

    assert sample_of(store, view, NOW - 2 * DAY, 10) is None
    sampled = sample_of(store, view, NOW, 10)
    assert sampled is not None
    assert list(range(5)) == sorted(sampled["household_id"].to_pylist())


def test_redis_without_an_address_is_asked_for_by_name(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    tables = Tables.over_files(tmp_path, "spend", None, data / "profile.parquet", data / "spend.parquet")

    with pytest.raises(JobError, match=r"^REDIS_URL is not set and no embedded server runs; `make redis` starts one$"):
        tables.materialize()
