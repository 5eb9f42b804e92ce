"""Guards the C parser of Redis' replies, which trusts every length in a header.

A header like `*2147483647` makes hiredis allocate memory for all elements at once, which blocks the process for
seconds. Our replies have fewer than `_MOST_ELEMENTS`, so such a header is refused before it is parsed.
"""

import re

import hiredis
import numpy as np

LONGEST_REPLY_BYTES = 16 * 1024 * 1024
"""A thousand times what the features of an entity take; a longer reply is not from Redis."""

HOW_TO_ALLOW_PROOFS = "grant its user +multi +echo +exec: docs/redis.md, Rights"
"""Hint for an operator whose Redis user, of an older ACL, may not run the commands that prove replies."""

_MOST_ELEMENTS = 99_999
_HUGE = re.compile(rb"\n[*%~>|]\d{6}")
_BEFORE = 7  # bytes of a header that may have come with the data before
_VECTOR_FROM = 4096  # bytes; below it the expression alone is faster than numpy's constant cost
_LINES = b"+-:,(#_"  # replies that end with their line
_TEXTS = b"$=!"  # replies that are as long as their line says


class HugeReplyCheck:
    """Finds huge headers in a stream that is split in any way, at hardly any cost per read.

    It does not know where stored values begin and end, and a value may hold such bytes. `WholeReplies` does.
    """

    def __init__(self) -> None:
        self._before = b"\n"

    def suspects(self, data: bytes) -> bool:
        """True if an array or the like with too many elements may begin here."""
        if len(data) >= _VECTOR_FROM and not _may_hold_six_digits_in_a_row(data):
            found = _HUGE.search(self._before + data[:_BEFORE])
        else:
            found = _HUGE.search(self._before + data)
        self._before = (self._before + data[-_BEFORE:])[-_BEFORE:]
        return found is not None


def _may_hold_six_digits_in_a_row(data: bytes) -> bool:
    """False only if there are no six digits in a row. Six always include two adjacent pairs at even positions."""
    pairs = np.frombuffer(data, dtype=np.uint16, count=len(data) // 2)
    digits = (pairs & 0xF0F0) == 0x3030  # and six characters more, which are rare
    return bool((digits[:-1] & digits[1:]).any())


def whole_replies(data: bytes | bytearray) -> int:
    """`WholeReplies.end` for new data."""
    return WholeReplies().end(data)


class WholeReplies:
    """Finds where replies end. It resumes where it stopped, so a long reply in many pieces is scanned once.

    It checks every header in Python, so it is for connections that need it.
    """

    def __init__(self) -> None:
        self._at, self._missing = 0, 1  # the next header, and replies until the first one is whole

    def end(self, data: bytes | bytearray) -> int:
        """The length of the whole replies at the beginning of `data`.

        Args:
            data: what the last call left, followed by new data.

        Raises:
            hiredis.ProtocolError: an invalid header, or one of too many elements.
        """
        whole, at, missing = 0, self._at, self._missing
        while at <= len(data):
            if not missing:
                whole, missing = at, 1
            end = data.find(b"\r\n", at)
            if end < 0:
                break
            kind, count = data[at], data[at + 1 : end]
            at = end + 2
            missing -= 1
            if kind in _LINES:
                continue
            try:
                size = int(count)
            except ValueError:
                raise hiredis.ProtocolError("a length that is none") from None
            if kind in _TEXTS:
                at += size + 2 if size >= 0 else 0
            elif kind in b"*%~>|" and size <= _MOST_ELEMENTS:
                missing += max(size, 0) * (2 if kind in b"%|" else 1) + (kind in b"|")
            else:
                raise hiredis.ProtocolError("a reply of too many elements, or of no kind that there is")
        self._at, self._missing = at - whole, missing
        return whole
