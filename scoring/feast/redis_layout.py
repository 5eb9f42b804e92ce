"""How Feast's Redis store lays out rows: one hash per entity, a field per feature, and one per view for its event time.

The key is the serialised entity key (version 3) and the project. A feature's field is the murmur3 hash of
`view:feature`; its value is a serialised `ValueProto`. `_ts:view` holds a serialised `Timestamp`.

Source: https://github.com/feast-dev/feast/blob/master/docs/specs/online_store_format.md#redis-online-store-format
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import mmh3
from feast.infra.key_encoding_utils import serialize_entity_key, serialize_entity_key_prefix
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value, ValueType

KEY_VERSION = 3
"""The version of entity keys that `KeyLayout` writes."""


def feature_field(view: str, feature: str) -> bytes:
    """The field of a hash that holds a feature."""
    return struct.pack("<I", mmh3.hash(f"{view}:{feature}", signed=False))


def time_field(view: str) -> bytes:
    """The field of a hash that holds a view's event time."""
    return f"_ts:{view}".encode()


def keys_prefix(join_keys: Sequence[str]) -> bytes:
    """The beginning of every key of entities with these join keys."""
    return bytes(serialize_entity_key_prefix(list(join_keys)))


def feast_key(project: str, join_key: str, value: str) -> bytes:
    """A key as Feast's own code serialises it. It is slow; use it to check `KeyLayout`."""
    entity = EntityKey(join_keys=[join_key], entity_values=[Value(string_val=value)])
    return bytes(serialize_entity_key(entity, entity_key_serialization_version=KEY_VERSION)) + project.encode()


@dataclass(frozen=True)
class KeyLayout:
    """The keys of entities with one join key, a string.

    A key is the prefix, the value's length in four bytes (little-endian), the value in UTF-8, and the suffix.
    """

    prefix: bytes
    suffix: bytes

    @classmethod
    def of(cls, project: str, join_key: str) -> "KeyLayout":
        """The layout of a project's keys."""
        return cls(keys_prefix([join_key]) + struct.pack("<I", ValueType.STRING), project.encode())
