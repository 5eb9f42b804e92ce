"""What goes from a text file is the entity's, and the rest stays as it was."""

from pathlib import Path

import pytest

from jobs.erasure.entity import Entity
from jobs.erasure.rewriting import erase_text, erased_text

ENTITY = Entity.of({"customer_id": "42"})


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
    ],
)
def test_rows_of_the_entity_go_from_a_text_file(name: str, before: bytes, after: bytes, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_bytes(before)

    erase_text(file, erased_text(file, ENTITY, ENTITY.rows_of)[1])

    assert after == file.read_bytes()
    assert 0 == erased_text(file, ENTITY, ENTITY.rows_of)[0]
