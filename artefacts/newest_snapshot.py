"""The time of the newest windowed snapshot online, which a materialization notes in Redis and the service reads.

Its key ends like those of customers' rows, so that the rights of docs/redis.md cover it.
"""

FIELD = "unix_seconds"


def key_of(project: str) -> str:
    """The hash that holds it."""
    return f"newest_snapshot:{project}"


def unix_seconds(stored: object) -> float | None:
    """What a field holds, bytes or text; None: nothing, or no time."""
    text = stored.decode("utf-8", "replace") if isinstance(stored, bytes) else stored
    try:
        return float(text) if isinstance(text, str) else None
    except ValueError:
        return None
