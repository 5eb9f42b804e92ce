"""How Feast's Redis store lays out rows: one hash per entity, a field per feature, and one per view for its event time.

The key is the serialised entity key (version 3) and the project. A feature's field is the murmur3 hash of
`view:feature`; its value is a serialised `ValueProto`. `_ts:view` holds a serialised `Timestamp`.

Source: https://github.com/feast-dev/feast/blob/master/docs/specs/online_store_format.md#redis-online-store-format
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from struct import Struct, pack
from typing import Any

import mmh3
from feast.infra.key_encoding_utils import serialize_entity_key, serialize_entity_key_prefix
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value, ValueType

KEY_VERSION = 3
"""The version of entity keys that `KeyLayout` writes."""

_LENGTH_AND_TYPE = Struct("<II")


@dataclass(frozen=True)
class KeyType:
    """How the values of a join key are laid out: the type's number and the length, four bytes each, and the value.

    number: Feast's `ValueType`.
    whole: the format of a whole number; None for text, which is UTF-8.
    proto: makes Feast's own message of a value.
    """

    number: int
    whole: Struct | None
    proto: Callable[[Any], Value]

    def encoder(self) -> Callable[[Any], bytes]:
        """The function that lays out one value; raises `struct.error` for a number that the type cannot hold."""
        if self.whole is not None:
            head, pack_value = pack("<II", self.number, self.whole.size), self.whole.pack
            return lambda value: head + pack_value(value)
        pack_head, number = _LENGTH_AND_TYPE.pack, self.number

        def text(value: str) -> bytes:
            raw = value.encode()
            return pack_head(number, len(raw)) + raw

        return text


KEY_TYPES = {
    "string": KeyType(ValueType.STRING, None, lambda value: Value(string_val=value)),
    "int32": KeyType(ValueType.INT32, Struct("<i"), lambda value: Value(int32_val=value)),
    "int64": KeyType(ValueType.INT64, Struct("<q"), lambda value: Value(int64_val=value)),
}
"""Feast's type of a join key, in lower case → its layout."""


def feature_field(view: str, feature: str) -> bytes:
    """The field of a hash that holds a feature."""
    return pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def time_field(view: str) -> bytes:
    """The field of a hash that holds a view's event time."""
    return f"_ts:{view}".encode()


def keys_prefix(join_keys: Sequence[str]) -> bytes:
    """The beginning of every key of entities with these join keys."""
    return bytes(serialize_entity_key_prefix(list(join_keys)))


def feast_key(project: str, join_keys: Mapping[str, str], key: str | int | tuple[str | int, ...]) -> bytes:
    """A key as Feast's own code serialises it. It is slow; use it to check `KeyLayout`, whose arguments it takes."""
    values = key if isinstance(key, tuple) else (key,)
    protos = [KEY_TYPES[dtype].proto(value) for dtype, value in zip(join_keys.values(), values, strict=True)]
    entity = EntityKey(join_keys=list(join_keys), entity_values=protos)
    return bytes(serialize_entity_key(entity, entity_key_serialization_version=KEY_VERSION)) + project.encode()


@dataclass(frozen=True)
class KeyLayout:
    """The Redis keys of entities with the same join keys.

    A key is the prefix, each value in the order of the sorted names of the join keys (see `KeyType`), and the suffix.

    join_keys: name → type, in the order of a key's values.
    stored: positions of the join keys, in the order in which their values are laid out.
    key: lays out one entity: the bare value of a single join key, else a tuple of the values in the order of
        `join_keys`. Raises `struct.error` for a number that its type cannot hold.
    """

    join_keys: Mapping[str, str]
    prefix: bytes
    suffix: bytes
    stored: tuple[int, ...]
    key: Callable[[Any], bytes]

    @classmethod
    def of(cls, project: str, join_keys: Mapping[str, str]) -> "KeyLayout":
        """The layout of a project's keys.

        Args:
            join_keys: name → type (`KEY_TYPES`), in the order of a key's values.
        """
        names = list(join_keys)
        prefix, suffix = keys_prefix(names), project.encode()
        stored = tuple(sorted(range(len(names)), key=names.__getitem__))
        encoders = [KEY_TYPES[join_keys[names[at]]].encoder() for at in stored]
        key = _one_value(prefix, suffix, *encoders) if len(names) == 1 else _values(prefix, suffix, stored, encoders)
        return cls(dict(join_keys), prefix, suffix, stored, key)


def _one_value(prefix: bytes, suffix: bytes, encode: Callable[[Any], bytes]) -> Callable[[Any], bytes]:
    return lambda value: b"%b%b%b" % (prefix, encode(value), suffix)


def _values(
    prefix: bytes, suffix: bytes, stored: Sequence[int], encoders: Sequence[Callable[[Any], bytes]]
) -> Callable[[Any], bytes]:
    in_order = itemgetter(*stored)

    def key(values: tuple[Any, ...]) -> bytes:
        parts = [encode(value) for encode, value in zip(encoders, in_order(values), strict=True)]
        return b"%b%b%b" % (prefix, b"".join(parts), suffix)

    return key
