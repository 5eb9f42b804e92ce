"""Pseudonyms of entity keys, by HMAC-SHA256: the same entity key and secret key give the same pseudonym."""

import hashlib
import hmac
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from artefacts.process.file_access import why_unreadable
from artefacts.process.small_files import read_small_file
from contract import Key, key_text
from scoring.errors import ModelError

_PREFIX, _HEX_DIGITS = "p:", 32
FORM = f"{_PREFIX}[0-9a-f]{{{_HEX_DIGITS}}}"
"""Regular expression of a whole pseudonym. Keys that merely begin like one, as `p:17`, are keys."""
_SHORTEST_KEY = 32


class Pseudonyms:
    """Entity key → `p:` and the first 32 hex digits (128 bits) of HMAC-SHA256 (RFC 2104) under one secret key.

    A log has one pseudonym per join key, so that all rows of one of its values can be told.
    """

    def __init__(self, key: bytes) -> None:
        self._keyed = hmac.new(key, digestmod=hashlib.sha256)

    @classmethod
    def from_file(cls, file: Path) -> "Pseudonyms":
        """Read the secret key from one line; surrounding white space is stripped.

        Raises:
            ModelError: the file cannot be read, or the key is too short.
        """
        try:
            key = read_small_file(file).strip()
        except OSError as error:
            why = why_unreadable(file, error)
            raise ModelError(f"{file}: the pseudonym key cannot be read: {why}") from None
        if len(key) < _SHORTEST_KEY:
            raise ModelError(
                f"{file}: the pseudonym key has {len(key)} characters, at least {_SHORTEST_KEY} are needed; "
                "make one with `openssl rand -hex 32`"
            )
        return cls(key)

    def of(self, entity_keys: Iterable[Key]) -> list[str]:
        """The pseudonym of each entity key; a number has that of its decimal text."""
        found = []
        for entity_key in entity_keys:
            keyed = self._keyed.copy()  # costs half as much as a new one
            keyed.update(key_text(entity_key).encode())
            found.append(_PREFIX + keyed.hexdigest()[:_HEX_DIGITS])
        return found


def are_pseudonyms(logged: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """Which of n texts are pseudonyms, by their form."""
    return pc.match_substring_regex(logged, f"^{FORM}$")
