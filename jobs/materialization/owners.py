"""Whose rows are online: every offline store has an owner, and nobody writes over the rows of another one's.

An id that is not a path names the owner. It lies in the offline store, so it moves with it; a copy gets one of its own.
`JOBS_OWNER` declares it for jobs whose disk does not survive them.
"""

from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from jobs.errors import JobError
from jobs.materialization.progress import Materialized
from jobs.offline_store.owner import Owner


class OtherOwnerError(JobError):
    """The rows online are of another offline store."""

    exit_code = 6


def claim(client: Any, project: str, owner: Owner, take_over: bool = False) -> bool:
    """Note whose the online rows of a project are, if they are nobody's or this owner's; errors are redis-py's.

    Args:
        take_over: also if they are another one's.

    Returns:
        True if they were another one's.

    Raises:
        OtherOwnerError: they are.
    """
    marks = Materialized(client, project)
    while True:
        noted = marks.owner
        other = Owner(**noted) if noted else None
        same = other is not None and owner.is_same(other)
        if other is not None and other == replace(owner, at=other.at):
            return False
        if other and not same and not take_over:
            raise OtherOwnerError(
                f"the rows of {project} in this Redis belong to {other}; they stay as they are. This offline store is "
                f"{owner}. Give it another Redis database (REDIS_URL) or another Feast project; or, where it is to "
                "replace those rows, run `make materialize TAKE_OVER=1`"
            )
        if other is None:  # what earlier versions noted of rows does not prove that no row is too much
            marks.forget_all()
        at = other.at if same and other is not None else datetime.now(UTC).isoformat(timespec="seconds")
        if marks.is_now_of(asdict(replace(owner, at=at)), noted):
            break
    if other is None or same:
        return False
    print(f"  taking over the rows of {other}", flush=True)
    marks.restart()
    return True
