"""Keys that were erased: keyed digests beside the offline store, so that no later delivery brings their rows back.

`erased_keys/digests.jsonl` has one object per erased key: the names of its join keys (`numbers`: of whole numbers) and
its digest. `erased_keys/key` has the secret key of the digests, readable by its owner only. No line holds a key's
value.
"""

import json
import secrets
from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from artefacts.errors import SourceError
from artefacts.process.atomic_files import replaced_file
from artefacts.process.file_locks import locked
from contract import KeyValue
from scoring.entity_ids import key_texts
from scoring.errors import ModelError
from scoring.pseudonyms import Pseudonyms

FOLDER = "erased_keys"
"""The folder, in an offline store."""
_BETWEEN = "\x1f"
_Names = tuple[str, ...]


class ErasedKeys:
    """The erased keys as they are now; `of` reads them again.

    digests: names of the join keys, and of those that are numbers → digests.
    """

    def __init__(self, folder: Path, digests: Mapping[tuple[_Names, _Names], frozenset[str]]) -> None:
        self._folder = folder
        self._digests = digests

    @classmethod
    def of(cls, offline_store: Path) -> "ErasedKeys":
        """Read the list of an offline store; empty if nothing was erased.

        Raises:
            SourceError: the list cannot be read.
        """
        folder = offline_store / FOLDER
        found: dict[tuple[_Names, _Names], set[str]] = defaultdict(set)
        try:
            for line in _lines(folder):
                erased = json.loads(line)
                found[tuple(erased["keys"]), tuple(erased.get("numbers", ()))].add(erased["digest"])
        except (OSError, ValueError, KeyError, TypeError):
            raise SourceError(f"{folder}: the list of erased keys cannot be read; restore it from a backup") from None
        return cls(folder, {names: frozenset(digests) for names, digests in found.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ErasedKeys) and (self._folder, self._digests) == (other._folder, other._digests)

    __hash__ = None  # type: ignore[assignment]

    def has(self, key: Mapping[str, KeyValue]) -> bool:
        """True if this key, by the names of its join keys, was erased."""
        names = tuple(sorted(key))
        return any(
            names == known and self._digest(names, _joined(key, names)) in digests
            for (known, _), digests in self._digests.items()
        )

    def add(self, key: Mapping[str, KeyValue]) -> None:
        """Note a key as erased; it is on the disk when this returns."""
        names = tuple(sorted(key))
        numbers = tuple(name for name in names if isinstance(key[name], int))
        with locked(self._folder / ".lock"):
            secret = self._folder / "key"
            if not secret.exists() and not _lines(self._folder):  # another secret would forget every key
                with replaced_file(secret, durable=True) as partial:
                    partial.touch(mode=0o600)
                    partial.write_text(secrets.token_hex(32) + "\n", encoding="ascii")
            digest = self._digest(names, _joined(key, names))
            since = datetime.now(UTC).isoformat(timespec="seconds")
            noted = {"keys": names, "numbers": numbers, "digest": digest, "since": since}
            lines = [*_lines(self._folder), json.dumps(noted)]
            with replaced_file(self._folder / "digests.jsonl", durable=True) as partial:
                partial.write_text("\n".join(lines) + "\n", encoding="utf-8")
        told = names, numbers
        self._digests = {**self._digests, told: self._digests.get(told, frozenset()) | {digest}}

    def without(self, rows: pa.Table) -> pa.Table:
        """The rows of all keys but the erased ones; a table without the columns of a key has none of its rows."""
        for (names, numbers), digests in self._digests.items():
            if not rows.num_rows or not set(names) <= set(rows.column_names):
                continue
            texts = _texts(rows, names, numbers)
            if texts is None:
                continue
            distinct = pc.unique(texts).drop_null()
            erased = [text for text in distinct.to_pylist() if self._digest(names, text) in digests]
            if erased:
                rows = rows.filter(pc.invert(pc.is_in(texts, pa.array(erased, pa.string()))))
        return rows

    def _digest(self, names: Sequence[str], text: str) -> str:
        if not hasattr(self, "_keyed"):
            try:
                self._keyed = Pseudonyms.from_file(self._folder / "key")
            except ModelError as error:
                raise SourceError(f"the list of erased keys cannot be used: {error}") from None
        return self._keyed.of([_BETWEEN.join((*names, text))])[0]


def _lines(folder: Path) -> list[str]:
    file = folder / "digests.jsonl"
    return file.read_text(encoding="utf-8").splitlines() if file.exists() else []


def _joined(key: Mapping[str, Any], names: Sequence[str]) -> str:
    return _BETWEEN.join(str(key[name]) for name in names)


def _texts(rows: pa.Table, names: Sequence[str], numbers: Sequence[str]) -> pa.ChunkedArray | None:
    """The key of each row as one text; None if a column's type holds no keys."""
    columns = [key_texts(rows[name], whole=name in numbers) for name in names]
    if any(column is None for column in columns):
        return None
    return columns[0] if len(columns) == 1 else pc.binary_join_element_wise(*columns, _BETWEEN)
