"""Limits on the work that a body causes beyond its size in bytes: parsing blocks all other requests of the worker.

One megabyte can hold a third of a million lists, and each becomes an object.
"""

from service.errors import InvalidRequestError

MOST_COLUMNS = 10_000
"""In one table, including columns that the model does not take."""

MOST_BLANK_LINES = 10_000
"""In one CSV."""


def refuse_many_parts(raw: bytes, most: int) -> None:
    """Count the lists and objects of a JSON body before it is parsed, as fast as copying it.

    Raises:
        InvalidRequestError: there are more than `most`.
    """
    if raw.count(b"[") + raw.count(b"{") <= most:
        return
    # Brackets inside strings do not count. With escaped quotes removed, what is between two quotes is a string.
    plain = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = b"".join(plain.split(b'"')[::2])
    if outside.count(b"[") + outside.count(b"{") > most:
        raise InvalidRequestError(f"the body holds more than {most} lists and objects")
