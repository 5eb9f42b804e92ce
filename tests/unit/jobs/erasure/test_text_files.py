"""What is removed from a text file is the entity's, and the rest stays as it was."""

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest

from jobs.erasure.entity import Entity
from jobs.erasure.text_files import NotTextError, erase_text, erased_text

ENTITY = Entity.of({"customer_id": "42"})
LONG = Entity.of({"customer_id": "00042"})
HOUSEHOLD = Entity.of({"household_id": 7})
BOTH = Entity.of({"household_id": 7, "department": "DELI"})


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [
        pytest.param(
            "events.jsonl",
            '{"customer_id": "42", "note": "a\u2028b"}\n{"customer_id": "43"}\n'.encode(),
            b'{"customer_id": "43"}\n',
            id="a line of JSON with a separator of lines in a text",
        ),
        pytest.param(
            "orders.csv",
            b"customer_id,price\n42,1\n43,2,more\n44\n",
            b"customer_id,price\n43,2,more\n44\n",
            id="other customers' rows of another length stay",
        ),
        pytest.param(
            "orders.csv",
            b"customer_id,price\n42,1,more\n42\n43,2\n",
            b"customer_id,price\n43,2\n",
            id="the customer's own rows of another length go",
        ),
        pytest.param(
            "orders.csv",
            b"customer_id,name\n42,M\xfcller\n43,J\xfcrgen\n",
            b"customer_id,name\n43,J\xfcrgen\n",
            id="a file in Latin-1",
        ),
        pytest.param(
            "orders.csv",
            b"\xef\xbb\xbfcustomer_id,price\n42,1\n43,2\n",
            b"customer_id,price\n43,2\n",
            id="a byte order mark",
        ),
        pytest.param(
            "orders.csv",
            b'customer_id;price\r\n42;"1,5"\r\n43;"2,5"\r\n',
            b'customer_id;price\r\n43;"2,5"\r\n',
            id="semicolons, Windows' ends of lines, and quotes that need not be",
        ),
        pytest.param("orders.tsv", b"price\tcustomer_id\n1\t42\n2\t43\n", b"price\tcustomer_id\n2\t43\n", id="tabs"),
        pytest.param(
            "orders.txt", b"price|customer_id\n1|42\n2|43\n", b"price|customer_id\n2|43\n", id="bars in a text file"
        ),
        pytest.param(
            "orders.csv",
            b"sep=;\ncustomer_id; price\n42 ; 1\n43 ; 2\n",
            b"sep=;\ncustomer_id; price\n43 ; 2\n",
            id="a line for Excel above the names, and spaces around cells",
        ),
        pytest.param(
            "orders.csv",
            b"customer_id,price\n42.0,1\n,2\n43.0,3\n",
            b"customer_id,price\n,2\n43.0,3\n",
            id="whole numbers that pandas wrote beside a null",
        ),
        pytest.param(
            "orders.csv",
            b"customer_id,price\n42.0,1\nx42,2\n",
            b"customer_id,price\n42.0,1\nx42,2\n",
            id="a text that only looks like a number",
        ),
        pytest.param(
            "orders.csv",
            b'customer_id,note\n43,"two\nlines"\n42,"also\ntwo"\n44,x',
            b'customer_id,note\n43,"two\nlines"\n44,x',
            id="cells over several lines, and no end of the last line",
        ),
        pytest.param(
            "one.json",
            b'[\n{"customer_id": "43"},\n{"customer_id": "42"}\n]\n',
            b'[\n  {\n    "customer_id": "43"\n  }\n]\n',
            id="a list whose last line is an object",
        ),
        pytest.param("one.json", b'{\n  "customer_id": "42",\n  "n": 1\n}\n', b"", id="an object that stands alone"),
        pytest.param(
            "one.json",
            b'{"by_id": {"42": {"customer_id": 42.0}, "43": {"customer_id": 43}}, "n": 2}\n',
            b'{"by_id": {"43": {"customer_id": 43}}, "n": 2}\n',
            id="an object that is a member of another",
        ),
        pytest.param(
            "events.jsonl",
            b'{"n": 1, "of": [{"customer_id": "42"}, {"customer_id": "43"}]}\n{"n": 1.50}\n',
            b'{"n": 1, "of": [{"customer_id": "43"}]}\n{"n": 1.50}\n',
            id="an object inside a line of JSON",
        ),
        pytest.param(
            "events.jsonl",
            b'{"of": [{"customer_id": "42"}], "n": "\xc3\xa4 \\ud83d \xfc"}\n',
            b'{"of": [], "n": "\xc3\xa4 \\ud83d \xfc"}\n',
            id="half a pair of surrogates, and bytes of another encoding",
        ),
    ],
)
def test_rows_of_the_entity_go_from_a_text_file(name: str, before: bytes, after: bytes, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(before)

    erase_text(file, erased_text(file, ENTITY, ENTITY.rows_of)[1])

    assert after == file.read_bytes()
    assert 0 == erased_text(file, ENTITY, ENTITY.rows_of)[0]
    assert "" == erased_text(file, ENTITY, ENTITY.rows_of).unclear


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        (HOUSEHOLD, "household_id,n\n7,1\n7.0,2\n07,3\n70,4\n", "household_id,n\n70,4\n"),
        (HOUSEHOLD, '[{"household_id": 7.0}, {"household_id": "7"}, {"household_id": 70}]', '[{"household_id": 70}]\n'),
        (
            BOTH,
            "household_id;department\n7;DELI\n7;MEAT\n8;DELI\n",
            "household_id;department\n7;MEAT\n8;DELI\n",
        ),
        (
            BOTH,
            '[{"household_id": 7, "of": [{"department": "DELI"}, {"department": "MEAT"}]}]',
            '[{"household_id": 7, "of": [{"department": "MEAT"}]}]\n',
        ),
    ],
)
def test_keys_of_numbers_and_of_several_values_are_told(key: Entity, before: str, after: str, tmp_path: Path) -> None:
    file = tmp_path / "rows.txt"
    file.write_text(before)

    assert after == erased_text(file, key, key.rows_of).text


def test_a_text_that_looks_like_a_number_is_itself_unless_a_null_has_made_it_one(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("version,n\n1.0,1\n2.0,2\n")
    one, exactly = Entity.of({"version": "1"}), Entity.of({"version": "1.0"})

    assert "version,n\n2.0,2\n" == erased_text(file, exactly, exactly.rows_of).text
    assert (0, file.read_text()) == erased_text(file, one, one.rows_of)[:2]
    assert erased_text(file, one, one.rows_of).unclear.startswith("its keys are numbers with `.0` or texts")

    file.write_text("version,n\n1.0,1\n,2\n")
    for key in (one, exactly):
        assert "version,n\n,2\n" == erased_text(file, key, key.rows_of).text


@pytest.mark.parametrize(("suffix", "packing"), [(".gz", gzip), (".xz", lzma)])
def test_a_compressed_file_is_compressed_again(suffix: str, packing: Any, tmp_path: Path) -> None:
    for name, before, after in (
        ("rows.csv", b"customer_id\n42\n43\n", b"customer_id\n43\n"),
        ("rows.json", b'{"customer_id": "42"}\n{"customer_id": "43"}\n', b'{"customer_id": "43"}\n'),
    ):
        file = tmp_path / f"{name}{suffix}"
        file.write_bytes(packing.compress(before))

        erase_text(file, erased_text(file, ENTITY, ENTITY.rows_of).text)

        assert after == packing.decompress(file.read_bytes())


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("list.csv", "00041\n00042\n", "it is a list without the columns' names"),
        ("notes.md", "# customer 00042 called\n", "it names the key in a form that is not known here"),
        ("rows.csv", "id,price\n00042,1\n", "it names the key in a form that is not known here"),
        ("rows.csv", "customer_id,customer_id\n00042,1\n", "two columns have the join key's name"),
        ("rows.csv", 'customer_id,note\n1,"open\n00042,x\n', "a quoted cell goes over several lines and names the key"),
        ("rows.json", '{"customer_id": ["00041", "00042"]}', "its JSON has the key outside of objects"),
        ("rows.json", '{"customer_id": {"0": "00041", "1": "00042"}}', "its JSON has the key outside of objects"),
        ("rows.json", '{"00042": {"price": 1}}', "its JSON has the key outside of objects"),
        ("rows.json", '{"note": "customer 00042 called"}', "its JSON has the key outside of objects"),
        ("rows.csv", 'customer_id,note\n1,"neighbour of 00042"\n', "a text in another column names the key"),
        ("rows.csv", "customer_id,order\n1,00042\n", ""),
        ("notes.md", "see customer_00042\n", "it names the key in a form that is not known here"),
        ("rows.jsonl", '{"customer_id": "1"}\n{"customer_id": "00042", \n', "a line is no JSON and names the key"),
    ],
)
def test_what_names_the_key_and_cannot_be_changed_is_said(name: str, text: str, why: str, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(text)

    erased = erased_text(file, LONG, LONG.rows_of)

    assert (0, text) == (erased.removed, erased.text)
    assert erased.unclear.startswith(why)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("rows.csv", "week,n\n6,7\n", False),
        ("rows.csv", "household_id,n\n6,7\n", False),
        ("report.json", json.dumps({"n": 7, "by_week": [6, 7], "rows": [{"household_id": 6, "n": 7}]}), False),
        ("notes.md", "7 of 9\n", False),
        ("notes.md", "household_id: 7\n", True),
        ("asked.json", json.dumps({"household_ids": [6, 7]}), True),
        ("said.json", json.dumps({"message": "household_id=7 asked"}), True),
        ("said.json", json.dumps({"message": "open 7 days"}), False),
    ],
)
def test_a_short_number_is_the_key_only_beside_the_join_keys_name(
    name: str, text: str, said: bool, tmp_path: Path
) -> None:
    file = tmp_path / name
    file.write_text(text)

    assert said == bool(erased_text(file, HOUSEHOLD, HOUSEHOLD.rows_of).unclear)


def test_damaged_and_binary_files_are_no_text(tmp_path: Path) -> None:
    for name, raw, why in (
        ("rows.csv.gz", b"no gzip", "it is damaged, or no gz"),
        ("rows.parquet.gz", gzip.compress(b"PAR1\0"), "it is neither text nor Parquet"),
        ("rows.bin", b"\0\1", "it is neither text nor Parquet"),
    ):
        (tmp_path / name).write_bytes(raw)

        with pytest.raises(NotTextError, match=why):
            erased_text(tmp_path / name, ENTITY, ENTITY.rows_of)
