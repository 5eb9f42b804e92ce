"""The time of the newest windowed snapshot online. A materialization writes it to Redis; the service reads it.

Its key ends like the keys of entities' rows, so the ACL rules in docs/redis.md cover it.
"""

FIELD = "unix_seconds"


def key_of(project: str) -> str:
    """Key of the Redis hash that holds it."""
    return f"newest_snapshot:{project}"


def unix_seconds(stored: object) -> float | None:
    """Parse the field's value, bytes or text; None if it is absent or not a number."""
    text = stored.decode("utf-8", "replace") if isinstance(stored, bytes) else stored
    try:
        return float(text) if isinstance(text, str) else None
    except ValueError:
        return None
