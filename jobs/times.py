"""Points in time as whole microseconds since 1970, which every engine computes with exactly."""

from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def unix_us(at: datetime) -> int:
    """Microseconds since 1970; rounded down."""
    return (at - EPOCH) // timedelta(microseconds=1)
