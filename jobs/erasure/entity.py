"""The entity to erase: its values by join key, its pseudonyms, and how its rows are recognised."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from contract import KeyValue
from jobs.errors import ArgumentError
from scoring.entity_ids import text_ids
from scoring.pseudonyms import Pseudonyms


@dataclass(frozen=True)
class Entity:
    """One entity.

    values: join key → value.
    forms: join key → every text that stands for the value in a file: its own, and its pseudonyms.
    """

    values: Mapping[str, KeyValue]
    forms: Mapping[str, frozenset[str]]

    @classmethod
    def of(cls, values: Mapping[str, KeyValue], pseudonyms: Iterable[Pseudonyms] = ()) -> "Entity":
        """Args: pseudonyms: under the log's present key, and its former ones."""
        known = list(pseudonyms)
        return cls(values, {n: frozenset([str(v), *(p.of([v])[0] for p in known)]) for n, v in values.items()})

    def is_in(self, names: Iterable[str]) -> bool:
        """True if columns, or join keys, of these names can tell its rows."""
        return self.values.keys() <= set(names)

    def rows_of(self, table: pa.Table) -> pa.Array | None:
        """Boolean (n,): which rows are the entity's. None if the table has not all of its key."""
        if not self.is_in(table.column_names):
            return None
        found = None
        for name, forms in self.forms.items():
            texts = text_ids(table[name])
            if texts is None:
                return None
            of_one = pc.is_in(texts, pa.array(sorted(forms), pa.string()))
            found = of_one if found is None else pc.and_(found, of_one)
        return found

    def is_event(self, event: Any) -> bool:
        """True if a JSON object has its key."""
        return (
            isinstance(event, Mapping)
            and self.is_in(event)
            and all(str(event[name]) in forms for name, forms in self.forms.items())
        )

    def is_named_in(self, text: str) -> bool:
        """True if a text that cannot be parsed has each of its values as a word."""
        return all(
            any(re.search(rf"(?<!\w){re.escape(form)}(?!\w)", text) for form in forms) for forms in self.forms.values()
        )

    def is_line(self, line: str) -> bool:
        """True if a line of JSON is about it: an event, or a refused event of the stream."""
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return False
        if isinstance(found, Mapping) and found.keys() >= {"event", "reason"}:
            refused = str(found["event"])
            try:
                return self.is_event(json.loads(refused))
            except (ValueError, RecursionError):
                return self.is_named_in(refused)
        return self.is_event(found)


def parsed(text: str, join_keys: Mapping[str, str]) -> dict[str, KeyValue]:
    """The values of `KEY`: `42` where there is one join key, or `household_id=7,department=GROCERY`.

    Args:
        join_keys: all join keys of the feature views, name → Feast's type.

    Raises:
        ArgumentError: it names no join key, or a value is not of its key's type.
    """
    name = "|".join(map(re.escape, sorted(join_keys, key=len, reverse=True)))
    parts = re.split(rf"(?:^|,)({name})=", text)
    before, equals, _ = text.partition("=")
    if len(parts) > 1 and not parts[0]:
        named = dict(zip(parts[1::2], parts[2::2], strict=True))
    elif len(join_keys) == 1 and equals and (meant := get_close_matches(before, join_keys, n=1, cutoff=0.7)):
        raise ArgumentError(f"KEY={text!r}: {before!r} is no join key; {meant[0]}=… names it, also before such a value")
    elif len(join_keys) == 1:
        named = dict.fromkeys(join_keys, text)
    else:
        raise ArgumentError(f"KEY={text!r}: name the join keys, as {_example(sorted(join_keys))}")
    return {name: _value(name, given, join_keys[name]) for name, given in named.items()}


def _value(name: str, text: str, dtype: str) -> KeyValue:
    if not text:
        raise ArgumentError(f"KEY: {name} has no value")
    if dtype == "string":
        return text
    if not re.fullmatch(r"-?\d{1,19}", text):
        raise ArgumentError(f"KEY: {name} is {dtype}; expected a whole number, found {text!r}")
    return int(text)


def _example(names: Sequence[str]) -> str:
    return ",".join(f"{name}=…" for name in names)
