"""Columns of keys are encoded as each key alone, and decode to the same values."""

from typing import Any

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from jobs.materialization.redis_store.key_columns import KeyColumns
from scoring.feast.redis_layout import KeyLayout
from tests.unit.scoring.feast.test_redis_layout import JOIN_KEYS, VALUES

ARROW_TYPES = {"string": pa.string(), "int32": pa.int32(), "int64": pa.int64()}


@st.composite
def entities(draw: st.DrawFn) -> tuple[dict[str, str], list[tuple[Any, ...]]]:
    """Join keys with their types, and some entities' values."""
    join_keys = draw(JOIN_KEYS)
    return join_keys, draw(st.lists(st.tuples(*(VALUES[dtype] for dtype in join_keys.values())), max_size=5))


def columns_of(join_keys: dict[str, str], rows: list[tuple[Any, ...]]) -> list[pa.Array]:
    return [pa.array([row[at] for row in rows], ARROW_TYPES[dtype]) for at, dtype in enumerate(join_keys.values())]


@given(entities())
def test_a_column_of_keys_is_encoded_as_each_key_alone(made: tuple[dict[str, str], list[tuple[Any, ...]]]) -> None:
    join_keys, rows = made
    layout = KeyLayout.of("shop", join_keys)
    expected = [layout.key(row[0] if len(row) == 1 else row) for row in rows]

    encoded = KeyColumns(layout).encode(columns_of(join_keys, rows))

    assert expected == encoded.to_pylist()


@given(entities())
def test_keys_decode_to_the_values_that_were_encoded(made: tuple[dict[str, str], list[tuple[Any, ...]]]) -> None:
    join_keys, rows = made
    columns, keys = columns_of(join_keys, rows), KeyColumns(KeyLayout.of("shop", join_keys))

    assert columns == keys.decode(keys.encode(columns).to_pylist())


def test_keys_of_other_types_and_other_join_keys_are_left_out_when_decoding() -> None:
    whole = KeyLayout.of("shop", {"customer_id": "int64"})
    others = [
        KeyLayout.of("shop", {"customer_id": "string"}).key("7"),
        KeyLayout.of("shop", {"customer_id": "int32"}).key(7),
        KeyLayout.of("shop", {"merchant_id": "int64"}).key(7),
        KeyLayout.of("shop", {"customer_id": "int64", "merchant_id": "int64"}).key((7, 7)),
    ]

    (decoded,) = KeyColumns(whole).decode([*others, whole.key(7)])

    assert [7] == decoded.to_pylist()


def test_text_that_is_not_utf_8_is_left_out_when_decoding() -> None:
    layout = KeyLayout.of("shop", {"customer_id": "string"})

    (decoded,) = KeyColumns(layout).decode([layout.key("é").replace(b"\xc3\xa9", b"\xff\xff"), layout.key("é")])

    assert ["é"] == decoded.to_pylist()
