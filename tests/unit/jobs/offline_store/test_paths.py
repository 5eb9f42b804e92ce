"""A path is a name: no character of it is read as a pattern or as SQL."""

from dataclasses import replace
from glob import escape
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.offline_store.latest_rows import ViewSource, read_path, rows_of, text
from jobs.offline_store.view_files import identities, parts, resolved
from jobs.spark import spark_path

NAMES = ["it's", "[1]", "[!a]", "*", "?", "a b", "100%", "#2", "$HOME", "{a,b}", "ü", '"x"', "back\\slash", ";--", "~"]


@pytest.fixture(params=NAMES)
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """With a neighbour that a pattern of that name would find, too."""
    for name in (request.param, "1", "b", "x", "a"):
        (tmp_path / name / "view" / "day").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table({"of": [name]}), tmp_path / name / "view" / "day" / "part-0.parquet")
    found: Path = tmp_path / request.param
    return found


def test_duckdb_reads_and_writes_the_file_that_is_named(folder: Path) -> None:
    file, copy = folder / "view" / "day" / "part-0.parquet", folder / "copy.parquet"

    assert [(folder.name,)] == duckdb.sql(f"SELECT of FROM {rows_of([str(file)])}").fetchall()  # noqa: S608
    duckdb.sql(f"COPY (FROM {rows_of([str(file)])}) TO {text(str(copy))} (FORMAT parquet)")
    assert [folder.name] == pq.read_table(copy)["of"].to_pylist()
    (folder / "l.csv").write_text("a\n1\n")
    assert [("1",)] == duckdb.sql(f"FROM read_csv({read_path(str(folder / 'l.csv'))}, all_varchar = true)").fetchall()


def test_a_view_has_the_files_of_its_own_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    source = ViewSource("view", f"{escape(str(folder))}/view/*/*.parquet", ("id",), ("string",), "at", None, (), ())

    assert [str(folder / "view" / "day" / "part-0.parquet")] == source.files()
    assert (folder / "view", "*/*.parquet") == parts(source.path)
    assert resolved(source) == replace(source, path=resolved(source).path)
    assert source.files() == resolved(source).files()
    assert ["day/part-0.parquet"] == list(identities(source))


def test_spark_is_given_no_pattern() -> None:
    assert r"/srv/it's \[1\] 100% \{a,b\} \* \? \\" == spark_path(Path("/srv/it's [1] 100% {a,b} * ? \\"))
    assert spark_path("a[1]") == spark_path(Path.cwd() / "a[1]")
