"""Owners of online rows: each offline store has an owner id, and no job overwrites another owner's rows.

The id is not a path. It lies in the offline store and moves with it; a copy gets its own id.
`JOBS_OWNER` sets it for jobs whose disk is not kept.
"""

import logging
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from jobs.errors import JobError
from jobs.materialization.progress import Materialized
from jobs.offline_store.owner import Owner

_LOG = logging.getLogger(__name__)


class OtherOwnerError(JobError):
    """The online rows belong to another offline store."""

    exit_code = 6


def claim(client: Any, project: str, owner: Owner, take_over: bool = False) -> bool:
    """Record the owner of a project's online rows, if they have none or this one; errors are redis-py's.

    Args:
        take_over: also if they have another owner.

    Returns:
        True if they had another owner.

    Raises:
        OtherOwnerError: they have another owner, and `take_over` is not set.
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
        if other is None:  # marks of earlier versions do not prove that there are no surplus rows
            marks.forget_all()
        at = other.at if same and other is not None else datetime.now(UTC).isoformat(timespec="seconds")
        if marks.is_now_of(asdict(replace(owner, at=at)), noted):
            break
    if other is None or same:
        return False
    _LOG.info(f"  taking over the rows of {other}")
    marks.restart()
    return True
