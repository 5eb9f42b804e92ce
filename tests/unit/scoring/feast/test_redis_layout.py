"""Keys are laid out as Feast's own `serialize_entity_key` does, for every type of key and every number of join keys."""

import struct
from typing import Any

import pytest
from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from hypothesis import given
from hypothesis import strategies as st

from scoring.feast.redis_layout import KeyLayout, feast_key

TEXTS = st.text() | st.sampled_from(["", "00042", "Zoë-客户", "with\r\n$3 and \x00", "x" * 70_000])
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "string": TEXTS,
    "int32": st.integers(-(2**31), 2**31 - 1) | st.sampled_from([0, -1, -(2**31), 2**31 - 1]),
    "int64": st.integers(-(2**63), 2**63 - 1) | st.sampled_from([0, -1, -(2**63), 2**63 - 1, 2**53 + 1]),
}
JOIN_KEYS = st.dictionaries(
    st.text(min_size=1) | st.sampled_from(["customer_id", "merchant_id", "Ωμέγα", "10", "9"]),
    st.sampled_from(sorted(VALUES)),
    min_size=1,
    max_size=4,
)


@st.composite
def keys(draw: st.DrawFn) -> tuple[dict[str, str], tuple[Any, ...]]:
    """Join keys with their types in any order, and one entity's values in that order."""
    join_keys = draw(JOIN_KEYS)
    return join_keys, tuple(draw(VALUES[dtype]) for dtype in join_keys.values())


def as_feast_stores(project: str, join_keys: dict[str, str], values: tuple[Any, ...]) -> bytes:
    protos = [Value(**{f"{dtype}_val": value}) for dtype, value in zip(join_keys.values(), values, strict=True)]
    entity = EntityKey(join_keys=list(join_keys), entity_values=protos)
    return bytes(serialize_entity_key(entity, entity_key_serialization_version=3)) + project.encode()


@given(keys(), st.text())
def test_a_key_is_laid_out_as_feast_does(made: tuple[dict[str, str], tuple[Any, ...]], project: str) -> None:
    join_keys, values = made
    expected = as_feast_stores(project, join_keys, values)
    key = values[0] if len(values) == 1 else values

    assert expected == KeyLayout.of(project, join_keys).key(key)
    assert expected == feast_key(project, join_keys, key)


@pytest.mark.parametrize(("dtype", "value"), [("int32", 2**31), ("int32", -(2**31) - 1), ("int64", 2**63)])
def test_a_number_that_its_type_cannot_hold_is_refused(dtype: str, value: int) -> None:
    with pytest.raises(struct.error):
        KeyLayout.of("shop", {"customer_id": dtype}).key(value)
