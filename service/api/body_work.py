"""How much work a body may ask for, whatever its bytes: parsing holds up everybody who waits for the same worker.

A megabyte may hold a third of a million lists, and every one of them becomes an object.
"""

from service.errors import InvalidRequestError

MOST_COLUMNS = 10_000
"""Of one table, those that the model does not take included."""

MOST_BLANK_LINES = 10_000
"""Of one CSV."""


def refuse_many_parts(raw: bytes, most: int) -> None:
    """Count the lists and objects of a JSON body before it is parsed, at the speed of copying it.

    Raises:
        InvalidRequestError: there are more than `most`.
    """
    if raw.count(b"[") + raw.count(b"{") <= most:
        return
    # Some may stand in texts. What stands between two quotes is text, once no quote is escaped any more.
    plain = raw.replace(rb"\\", b"").replace(rb"\"", b"")
    outside = b"".join(plain.split(b'"')[::2])
    if outside.count(b"[") + outside.count(b"{") > most:
        raise InvalidRequestError(f"the body holds more than {most} lists and objects")
