"""The list of erased keys tells them again, without holding one."""

from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from artefacts.errors import SourceError
from scoring.erased_keys import ErasedKeys


def test_rows_of_erased_keys_are_dropped_and_others_stay(tmp_path: Path) -> None:
    rows = pa.table({"customer_id": ["00042", "0004", None, "00042"], "n": [1, 2, 3, 4]})
    assert rows.equals(ErasedKeys.of(tmp_path).without(rows))

    ErasedKeys.of(tmp_path).add({"customer_id": "00042"})

    erased = ErasedKeys.of(tmp_path)
    assert [2, 3] == erased.without(rows)["n"].to_pylist()
    assert (True, False) == (erased.has({"customer_id": "00042"}), erased.has({"customer_id": "0004"}))
    assert pa.table({"other": ["00042"]}).equals(erased.without(pa.table({"other": ["00042"]})))


def test_keys_of_numbers_and_of_several_values_are_told_by_all_their_values(tmp_path: Path) -> None:
    rows = pa.table({"household_id": [7, 7, 8], "department": ["A", "B", "A"]})

    ErasedKeys.of(tmp_path).add({"household_id": 7, "department": "A"})
    assert 2 == ErasedKeys.of(tmp_path).without(rows).num_rows
    ErasedKeys.of(tmp_path).add({"household_id": 7})

    assert [8] == ErasedKeys.of(tmp_path).without(rows)["household_id"].to_pylist()


def test_whole_numbers_that_came_as_floats_or_decimals_are_told(tmp_path: Path) -> None:
    ErasedKeys.of(tmp_path).add({"household_id": 7})

    for column in (pa.array([7.0, None, 7.5, 8.0]), pa.array([Decimal("7.0"), None, Decimal("7.5"), Decimal("8.0")])):
        rows = pa.table({"household_id": column, "n": [1, 2, 3, 4]})
        assert [2, 3, 4] == ErasedKeys.of(tmp_path).without(rows)["n"].to_pylist()


def test_every_way_to_write_a_number_is_told_and_a_text_is_itself(tmp_path: Path) -> None:
    ErasedKeys.of(tmp_path).add({"household_id": 7})
    ErasedKeys.of(tmp_path).add({"household_id": 0})
    ErasedKeys.of(tmp_path).add({"customer_id": "7"})
    erased, texts = ErasedKeys.of(tmp_path), ["7", "7.0", "07", "70", "0"]

    assert ["70"] == erased.without(pa.table({"household_id": texts}))["household_id"].to_pylist()
    assert texts[1:] == erased.without(pa.table({"customer_id": texts}))["customer_id"].to_pylist()
    zeros = pa.array([Decimal(0), Decimal(8)], pa.decimal128(38, 10))
    assert [8] == erased.without(pa.table({"household_id": zeros}))["household_id"].to_pylist()
    assert erased.has({"household_id": 7})


def test_a_list_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    ErasedKeys.of(tmp_path).add({"household_id": 7})
    lines = tmp_path / "erased_keys" / "digests.jsonl"
    lines.write_text(lines.read_text().replace('"numbers": ["household_id"], ', ""))

    assert 0 == ErasedKeys.of(tmp_path).without(pa.table({"household_id": [7]})).num_rows


def test_no_file_holds_the_key_and_only_the_owner_reads_the_secret(tmp_path: Path) -> None:
    ErasedKeys.of(tmp_path).add({"customer_id": "anna-karenina"})

    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert [] == [file for file in files if b"anna" in file.read_bytes()]
    assert 0o600 == (tmp_path / "erased_keys" / "key").stat().st_mode & 0o777


def test_a_list_whose_key_is_gone_is_refused_instead_of_passing_everybody(tmp_path: Path) -> None:
    ErasedKeys.of(tmp_path).add({"customer_id": "00042"})
    (tmp_path / "erased_keys" / "key").unlink()

    with pytest.raises(SourceError, match="the list of erased keys cannot be used"):
        ErasedKeys.of(tmp_path).without(pa.table({"customer_id": ["1"]}))
