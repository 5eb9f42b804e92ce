"""Reads and changes what Feast stores of an entity in Redis, to plant faults."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any


@dataclass(frozen=True)
class StoredHash:
    """An entity's rows in Redis. Features are named by their references, `<view>__<field>`."""

    client: Any
    key: bytes

    @classmethod
    def of(cls, client: Any, project: str, key: Mapping[str, int | str]) -> "StoredHash":
        """That of an entity: the values of its join keys."""
        from feast.infra.online_stores.helpers import _redis_key
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.protos.feast.types.Value_pb2 import Value

        values = [
            Value(int64_val=value) if isinstance(value, int) else Value(string_val=value)
            for _, value in sorted(key.items())
        ]
        of = EntityKey(join_keys=sorted(key), entity_values=values)
        return cls(client, bytes(_redis_key(project, of, entity_key_serialization_version=3)))

    def put(self, reference: str, **value: Any) -> None:
        """A member of Feast's `Value`, as `string_val="MEAT"`; without any it is null."""
        from feast.protos.feast.types.Value_pb2 import Value

        assert self.client.hset(self.key, _field(reference), Value(**value).SerializeToString()) == 0

    def get(self, reference: str) -> Any:
        """Feast's `Value`."""
        from feast.protos.feast.types.Value_pb2 import Value

        return Value.FromString(self.client.hget(self.key, _field(reference)))

    def drop(self, *references: str) -> None:
        """Remove values."""
        assert self.client.hdel(self.key, *map(_field, references)) == len(references)

    def drop_all(self) -> None:
        """Remove every row."""
        assert self.client.delete(self.key) == 1

    def shift(self, view: str, by: timedelta) -> None:
        """Move the event time of a view's row; the values stay."""
        from google.protobuf.timestamp_pb2 import Timestamp

        at = Timestamp.FromString(self.client.hget(self.key, f"_ts:{view}"))
        at.FromMicroseconds(at.ToMicroseconds() + by // timedelta(microseconds=1))
        self.client.hset(self.key, f"_ts:{view}", at.SerializeToString())


def _field(reference: str) -> bytes:
    from feast.infra.online_stores.helpers import _mmh3

    return bytes(_mmh3(reference.replace("__", ":", 1)))
