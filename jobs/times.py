"""Points in time as whole microseconds since 1970, exact in every engine, and ranges of them."""

from datetime import UTC, datetime, timedelta

from jobs.errors import ArgumentError

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def unix_us(at: datetime) -> int:
    """Microseconds since 1970; rounded down."""
    return (at - EPOCH) // timedelta(microseconds=1)


def format_range(since: datetime | None, until: datetime | None) -> str:
    """The range [since, until) in words; None is an open end."""
    ends = [("from", since), ("until", until)]
    return " ".join(f"{word} {at.isoformat()}" for word, at in ends if at) or "at all"


def refuse_empty_range(since: datetime | None, until: datetime | None) -> None:
    """Check that [since, until) holds some time; None is an open end.

    Raises:
        ArgumentError: it is empty.
    """
    if since and until and since >= until:
        raise ArgumentError(f"--since {since.isoformat()} is not before --until {until.isoformat()}")
