"""The entity to erase: its values by join key, its pseudonyms, and how its rows are recognised."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from mmap import mmap
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc

from contract import KeyValue
from jobs.errors import ArgumentError
from scoring.entity_ids import key_texts, whole_text
from scoring.pseudonyms import Pseudonyms

_BITS = {"int32": 31, "int64": 63}
_UNMISTAKABLE = 5
"""Length from which a value is taken for the key wherever it stands; a shorter one needs the join key's name, too."""


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
            texts = key_texts(table[name], whole=self._is_whole(name))
            if texts is None:
                return None
            of_one = pc.is_in(texts, pa.array(sorted(forms), pa.string()))
            found = of_one if found is None else pc.and_(found, of_one)
        return found

    def is_value(self, name: str, value: Any) -> bool:
        """True if a value of JSON stands for the one of this join key: 7, 7.0 and "7" are household 7."""
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            return False
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        text = str(value)
        return (whole_text(text) if self._is_whole(name) else text) in self.forms[name]

    def is_event(self, event: Any, above: Mapping[str, Any] | None = None) -> bool:
        """True if a JSON object has its key, or is a refused event of the stream that has it.

        Args:
            above: join keys of the objects around it: a household's object may hold one per department.
        """
        if not isinstance(event, Mapping):
            return False
        known = {**(above or {}), **event}
        if not self.values.keys().isdisjoint(event):
            return self.is_in(known) and all(self.is_value(name, known[name]) for name in self.values)
        if event.keys() != {"event", "reason"}:  # as the stream writes it
            return False
        refused = str(event["event"])
        try:
            return self.is_event(json.loads(refused))
        except (ValueError, RecursionError):
            return all(
                any(re.search(rf"(?<!\w){re.escape(form)}(?!\w)", refused) for form in forms)
                for forms in self.forms.values()
            )

    def named_in(self, text: str) -> set[str]:
        """Join keys whose value a text has as a word; beside a short value, their name must be there, too."""
        return {
            name
            for name, forms in self.forms.items()
            if _has_any(text, forms) and (self._is_unmistakable(name) or _has_name(text, name))
        }

    def may_be_in(self, text: str) -> bool:
        """True if a text of an unknown form may be about it.

        It has each of the values as a word. A short value means much else, so the join keys' names must be there, too.
        """
        return all(_has_any(text, forms) for forms in self.forms.values()) and (
            self._has_unmistakable() or all(_has_name(text, name) for name in self.values)
        )

    def is_in_path(self, path: Path) -> bool:
        """True if a path has its key, as `household_id=7/`; a value alone may be a file's number."""
        parts = [unquote(part) for part in path.parts]
        return all(
            any(re.search(self._named_value(name, form), part) for part in parts for form in forms)
            for name, forms in self.forms.items()
        )

    def may_be_in_bytes(self, raw: bytes | mmap) -> bool:
        """As `may_be_in`, of a file that is no text, where nothing need stand between two values."""
        return all(any(raw.find(form.encode()) >= 0 for form in forms) for forms in self.forms.values()) and (
            self._has_unmistakable() or all(raw.find(name.encode()) >= 0 for name in self.values)
        )

    def hidden(self, text: str) -> str:
        """A text without the values: receipts and messages name files, whose names may hold a key."""
        for name, forms in self.forms.items():
            if self._is_unmistakable(name) or _has_name(text, name):
                for form in forms:
                    text = re.sub(_word(form), "…", text)
        return text

    def _is_unmistakable(self, name: str) -> bool:
        """True if this value is so long that it means nothing else."""
        return len(str(self.values[name])) >= _UNMISTAKABLE

    def _is_whole(self, name: str) -> bool:
        return isinstance(self.values[name], int)

    def _named_value(self, name: str, form: str) -> str:
        """Regular expression of `<name>=<form>`; a whole number may have zeros before it."""
        value = re.sub(r"^(-?)", r"\g<1>0*", form) if self._is_whole(name) else re.escape(form)
        return rf"(?<!\w)(?i:{re.escape(name)})={value}(?!\w)"

    def _has_unmistakable(self) -> bool:
        return any(map(self._is_unmistakable, self.values))


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
        if len(named) < len(parts) // 2:
            raise ArgumentError(f"KEY={text!r}: a join key is given twice; erase one entity after the other")
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
    if not -(2 ** _BITS[dtype]) <= int(text) < 2 ** _BITS[dtype]:
        raise ArgumentError(f"KEY: {name} is {dtype}, which cannot hold {text}")
    return int(text)


def _example(names: Sequence[str]) -> str:
    return ",".join(f"{name}=…" for name in names)


def _word(text: str) -> str:
    """Regular expression of a text that stands alone, also between underscores, as in `id_00042.csv`."""
    return rf"(?<![^\W_]){re.escape(text)}(?![^\W_])"


def _has_any(text: str, forms: Iterable[str]) -> bool:
    return any(form in text and re.search(_word(form), text) for form in forms)


def _has_name(text: str, name: str) -> bool:
    return re.search(_word(name), text, re.IGNORECASE) is not None
