"""Entity keys: the values by which features are looked up."""

import json
from collections.abc import Sequence

KeyValue = str | int
Key = str | int | tuple[KeyValue, ...]
"""One entity: the bare value of a single join key, or the values of several, in the order of `entity_keys`."""

EXACT_IN_JSON = 2**53
"""The largest integer up to which every JSON reader has all of them; larger ones are written as decimal text."""


def key_values(key: Key) -> tuple[KeyValue, ...]:
    """The values of a key, one per join key."""
    return key if isinstance(key, tuple) else (key,)


def key_of(values: Sequence[KeyValue]) -> Key:
    """The key of these values, one per join key."""
    return values[0] if len(values) == 1 else tuple(values)


def key_text(key: Key) -> str:
    """Canonical text of a key, different for different keys of one contract.

    A text key is itself, a number its decimal digits, several values a JSON list. Pseudonyms and canary shares hash it.
    """
    if isinstance(key, tuple):
        return json.dumps(key, ensure_ascii=False, separators=(",", ":"))
    return str(key)
