"""What a key names, and which rows, objects and lines are the entity's."""

from pathlib import Path

import pyarrow as pa
import pytest

from jobs.erasure.entity import Entity, parsed
from jobs.erasure.text_files import erased_text
from jobs.errors import ArgumentError
from scoring.pseudonyms import Pseudonyms

ONE, TWO = {"customer_id": "string"}, {"household_id": "int64", "department": "string"}


@pytest.mark.parametrize(
    ("text", "keys", "values"),
    [
        ("00042", ONE, {"customer_id": "00042"}),
        ("a=b,c", ONE, {"customer_id": "a=b,c"}),
        ("customer_id=a=b", ONE, {"customer_id": "a=b"}),
        ("household_id=7,department=GROCERY", TWO, {"household_id": 7, "department": "GROCERY"}),
        ("department=MEAT, DELI,household_id=-7", TWO, {"household_id": -7, "department": "MEAT, DELI"}),
        ("household_id=7", TWO, {"household_id": 7}),
        ("42", {"customer_id": "int64"}, {"customer_id": 42}),
    ],
)
def test_a_key_is_read_by_the_join_keys(text: str, keys: dict[str, str], values: dict[str, str | int]) -> None:
    assert values == parsed(text, keys)


@pytest.mark.parametrize(
    ("text", "keys", "said"),
    [
        ("7", TWO, "name the join keys, as department=…,household_id=…"),
        ("household_id=x", TWO, "household_id is int64; expected a whole number, found 'x'"),
        ("household_id=9223372036854775808", TWO, "household_id is int64, which cannot hold 9223372036854775808"),
        ("2147483648", {"shelf_no": "int32"}, "shelf_no is int32, which cannot hold 2147483648"),
        ("", ONE, "customer_id has no value"),
        ("household_id=7,household_id=8", TWO, "a join key is given twice"),
        ("customerid=00042", ONE, "'customerid' is no join key; customer_id=… names it"),
    ],
)
def test_a_key_that_does_not_fit_is_refused(text: str, keys: dict[str, str], said: str) -> None:
    with pytest.raises(ArgumentError, match=said):
        parsed(text, keys)


def test_rows_are_found_by_every_value_and_its_pseudonyms_and_by_no_prefix() -> None:
    pseudonyms = Pseudonyms(b"k" * 32)
    entity = Entity.of({"customer_id": "0004"}, [pseudonyms])
    rows = pa.table({"customer_id": ["0004", "00042", "000", None, pseudonyms.of(["0004"])[0]]})

    mask = entity.rows_of(rows)

    assert mask is not None
    assert [True, False, False, False, True] == mask.to_pylist()
    assert entity.rows_of(pa.table({"other": ["0004"]})) is None


def test_a_composite_key_is_found_only_where_all_of_it_stands() -> None:
    entity = Entity.of({"household_id": 7, "department": "GROCERY"})
    rows = pa.table({"household_id": [7, 7, 8], "department": ["GROCERY", "MEAT", "GROCERY"]})

    mask = entity.rows_of(rows)

    assert mask is not None
    assert [True, False, False] == mask.to_pylist()
    assert entity.rows_of(pa.table({"household_id": [7]})) is None


@pytest.mark.parametrize(
    ("line", "is_its"),
    [
        ('{"customer_id": "0004", "amount": 1}', True),
        ('{"customer_id": "00042", "amount": 1}', False),
        ('{"event": "{\\"customer_id\\": \\"0004\\"}", "reason": "r"}', True),
        ('{"event": "{\\"customer_id\\": \\"00042\\"}", "reason": "r"}', False),
        ('{"event": "broken 0004,", "reason": "is not JSON"}', True),
        ('{"event": "broken 00042,", "reason": "is not JSON"}', False),
        ('{"event": "broken 0004_2,", "reason": "is not JSON"}', False),
        ('{"customer_id": "0004", "event": "cancelled", "reason": "price"}', True),
        ('{"customer_id": "00042", "event": "like 0004", "reason": "price"}', False),
        ("0004", False),
    ],
)
def test_lines_of_json_are_found_also_where_they_hold_a_refused_event(line: str, is_its: bool, tmp_path: Path) -> None:
    entity, file = Entity.of({"customer_id": "0004"}), tmp_path / "lines.json"
    for others in ("", '{"customer_id": "00042"}\n'):
        file.write_text(f"{line}\n{others}")
        assert is_its == bool(erased_text(file, entity, entity.rows_of).removed)


def test_a_null_is_no_key() -> None:
    assert not Entity.of({"customer_id": "None"}).is_event({"customer_id": None})
