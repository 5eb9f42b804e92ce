"""Files of every kind: what is erased, what is left and said, and what could not be read."""

import bz2
import fcntl
import json
import pickle
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.erasure.entity import Entity
from jobs.erasure.places import Files
from jobs.erasure.rewriting import OpenLogError

HOUSEHOLD, CUSTOMER = Entity.of({"household_id": 7}), Entity.of({"customer_id": "00042"})
BY_HAND = "; take the key out of it by hand, or remove it, and run this again"


def looked_into(entity: Entity, folder: Path) -> Files:
    files = Files(entity, [folder])
    files.count()
    return files


@pytest.mark.parametrize(
    "column",
    [
        pa.array([7.0, None, 8.5, float("nan"), 8.0]),
        pa.array([7.0, None, 8.5, 9.0, 8.0], pa.float32()),
        pa.array([Decimal("7.00"), None, Decimal("8.50"), Decimal("9.00"), Decimal("8.00")]),
        pa.array([b"7", None, b"8.5", b"9", b"8"]),
        pa.array([b"7", None, b"\xff\xfe", b"9", b"8"]),
        pa.array(["7.0", None, "8.5", "x", "8"]),
        pa.array([7.0, None, 8.5, 9.0, 8.0]).dictionary_encode(),
    ],
    ids=["floats", "float32", "decimals", "bytes", "bytes beside others", "texts", "categories of floats"],
)
def test_a_column_of_a_keys_numbers_in_any_type_is_read(column: pa.Array, tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    pq.write_table(pa.table({"household_id": column, "n": [0, 1, 2, 3, 4]}), file)
    files = Files(HOUSEHOLD, [tmp_path])

    assert {str(file): 1} == files.count()
    files.erase()

    assert [1, 2, 3, 4] == pq.read_table(file)["n"].to_pylist()
    assert ({}, [], []) == (files.count(), files.left(), files.unread)


def test_zero_is_found_among_long_decimals(tmp_path: Path) -> None:
    column = pa.array([Decimal(0), Decimal("0.5"), Decimal(10)], pa.decimal128(38, 10))
    pq.write_table(pa.table({"household_id": column}), tmp_path / "rows.parquet")

    assert [1] == list(Files(Entity.of({"household_id": 0}), [tmp_path]).count().values())


def test_a_text_key_of_digits_is_found_among_floats(tmp_path: Path) -> None:
    pq.write_table(pa.table({"customer_id": [42.0, None, 43.0]}), tmp_path / "rows.parquet")

    assert [1] == list(Files(Entity.of({"customer_id": "42"}), [tmp_path]).count().values())


@pytest.mark.parametrize(
    ("key", "column", "why"),
    [
        (7, pa.array([[7], [8]]), "column 'household_id' is of type list<"),
        (7, pa.array([date(2026, 1, 7)]), "column 'household_id' is of type date32"),
        (2**53, pa.array([float(2**53)]), "column 'household_id' has floats, which cannot tell such large numbers"),
        ("16777216", pa.array([2.0**24], pa.float32()), "column 'household_id' has floats, which cannot tell such"),
    ],
)
def test_a_column_that_cannot_tell_the_key_is_said_and_stays(
    key: int | str, column: pa.Array, why: str, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"household_id": column}), tmp_path / "rows.parquet")
    files = Files(Entity.of({"household_id": key}), [tmp_path])

    assert {} == files.count()
    assert files.unread[0].startswith(f"{tmp_path}/rows.parquet: {why}")


def test_a_key_inside_another_column_is_said(tmp_path: Path) -> None:
    pq.write_table(pa.table({"of": [{"household_id": 7}]}), tmp_path / "rows.parquet")

    expected = [f"{tmp_path}/rows.parquet: the join key is a column inside another one"]
    assert expected == looked_into(HOUSEHOLD, tmp_path).unread


@pytest.mark.parametrize("value", [{"customer_id": "00042"}, ["00042"]])
def test_a_binary_file_with_the_key_in_it_is_left_and_said(value: Any, tmp_path: Path) -> None:
    (tmp_path / "rows.pkl").write_bytes(pickle.dumps(value) + b"\0")

    files = looked_into(CUSTOMER, tmp_path)

    assert ([f"{tmp_path}/rows.pkl: it is neither text nor Parquet{BY_HAND}"], []) == (files.left(), files.unread)


def test_a_binary_file_without_the_key_in_plain_bytes_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "rows.xlsx").write_bytes(b"PK\3\4\0")
    (tmp_path / "empty").touch()

    files = looked_into(CUSTOMER, tmp_path)

    assert ([], [f"{tmp_path}/rows.xlsx: it is neither text nor Parquet"]) == (files.left(), files.unread)


def test_a_path_with_the_key_is_said_without_it_and_a_number_is_no_key(tmp_path: Path) -> None:
    folder = tmp_path / "household_id=7"
    folder.mkdir()
    (folder / "rows.csv").write_text("n\n1\n")
    (tmp_path / "part-7.csv").write_text("n\n1\n")

    assert [f"{tmp_path}/household_id=…/rows.csv: its path holds the key{BY_HAND}"] == (
        looked_into(HOUSEHOLD, tmp_path).left()
    )
    (tmp_path / "00042.json").write_text("{}")  # a batch's number
    (tmp_path / "job.prom").write_text("rows 20000\n")
    assert [] == looked_into(CUSTOMER, tmp_path).left()
    assert [] == looked_into(Entity.of({"customer_id": "20000"}), tmp_path).left()


@pytest.mark.parametrize(
    "path", ["household_id=17/part-7.csv", "household_id=5/month=7/a.csv", "my_household_id=7/a.csv"]
)
def test_a_path_of_another_key_is_not_said(path: str, tmp_path: Path) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text("n\n1\n")

    assert [] == looked_into(HOUSEHOLD, tmp_path).left()


def test_a_files_name_is_shown_without_the_key_also_between_underscores(tmp_path: Path) -> None:
    (tmp_path / "customer_00042.csv").write_text("customer_id\n00042\n")

    assert {f"{tmp_path}/customer_….csv": 1} == Files(CUSTOMER, [tmp_path]).count()


def test_an_open_log_is_named_without_the_key(tmp_path: Path) -> None:
    file = tmp_path / "log_00042.arrows"
    table = pa.table({"customer_id": ["00042"]})
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    files = Files(CUSTOMER, [tmp_path])
    files.count()

    with file.open("rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(OpenLogError, match=r"log_…\.arrows: a service is writing it"):
            files.erase()


def test_a_link_stays_and_its_target_loses_the_rows(tmp_path: Path) -> None:
    target, link = tmp_path / "target.csv", tmp_path / "in" / "link.csv"
    link.parent.mkdir()
    target.write_text("customer_id\n00042\n00043\n")
    link.symlink_to(target)
    files = Files(CUSTOMER, [link.parent])
    files.count()
    files.erase()

    assert (True, "customer_id\n00043\n") == (link.is_symlink(), target.read_text())


def test_a_truncated_file_is_not_read_and_named(tmp_path: Path) -> None:
    (tmp_path / "rows.csv.bz2").write_bytes(bz2.compress(b"customer_id\n00042\n" * 100)[:-8])

    assert [f"{tmp_path}/rows.csv.bz2: it is damaged, or no bz2"] == looked_into(CUSTOMER, tmp_path).unread


def test_a_page_is_removed_with_the_rows_of_its_own_json_only(tmp_path: Path) -> None:
    (tmp_path / "skew.json").write_text(json.dumps([{"household_id": 7}]))
    (tmp_path / "skew.html").write_text("<th>household_id</th><td>7</td>")
    (tmp_path / "index.html").write_text("<p>open 7 days</p>")
    (tmp_path / "drift.json").write_text(json.dumps({"rows": 7}))
    (tmp_path / "drift-3.html").write_text("<p>household_id: 7 rows</p>")
    files = Files(HOUSEHOLD, [tmp_path])

    assert {f"{tmp_path}/skew.json": 1, f"{tmp_path}/skew.html": 1} == files.count()
    files.erase()

    assert {"index.html", "drift.json", "drift-3.html", "skew.json"} == {file.name for file in tmp_path.iterdir()}
    assert [] == files.left()


@pytest.mark.parametrize("beside", ["", "settings.json"])
def test_a_page_that_stands_alone_is_left_and_said(beside: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<td>00042</td>")
    if beside:
        (tmp_path / beside).write_text("{}")

    assert [f"{tmp_path}/page.html: it is a page that names the key{BY_HAND}"] == looked_into(CUSTOMER, tmp_path).left()


def test_rows_of_a_request_are_told_by_whole_numbers_only(tmp_path: Path) -> None:
    file = tmp_path / "labels.csv"
    file.write_text("request_id,row,label\nr-1,0,1\nr-1,1.0,0\nr-1,last,0\nr-1,inf,0\nr-2,0,1\n")
    files = Files(CUSTOMER, [tmp_path], frozenset([("r-1", 0), ("r-1", 1)]))

    assert {str(file): 2} == files.count()
    files.erase()

    assert "request_id,row,label\nr-1,last,0\nr-1,inf,0\nr-2,0,1\n" == file.read_text()
