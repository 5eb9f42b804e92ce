"""Whose rows are online: every offline store has an owner, and nobody writes over the rows of another one's.

An id that is not a path names the owner. It lies in the offline store, so it moves with it; a copy gets one of its own.
`JOBS_OWNER` declares it for jobs whose disk does not survive them.
"""

import json
import os
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from jobs.errors import JobError
from jobs.materialization.progress import Materialized

_FILE = "owner.json"


class OtherOwnerError(JobError):
    """The rows online are of another offline store."""

    exit_code = 6


@dataclass(frozen=True)
class Owner:
    """Who writes rows.

    id: random, or what `JOBS_OWNER` says.
    host, path: where the offline store lies.
    declared: the id is of `JOBS_OWNER`.
    at: when the rows were first written, ISO time; empty where that is not known.
    """

    id: str
    host: str
    path: str
    declared: bool = False
    at: str = ""

    def is_same(self, other: "Owner") -> bool:
        """True for one id; and for a store that was made anew in the place of one that was removed."""
        in_its_place = (self.host, self.path) == (other.host, other.path)
        return self.id == other.id or (in_its_place and not (self.declared and other.declared))

    def __str__(self) -> str:
        since = f", since {self.at}" if self.at else ""
        return f"{self.id} ({self.path} on {self.host}{since})"


def owner_of(offline_store: Path, declared: str) -> Owner:
    """The owner of an offline store, which gets one here if it has none; says where that of a copy becomes another.

    Args:
        declared: `JOBS_OWNER`; empty where nobody declares it.

    Raises:
        JobError: its file cannot be read or written.
    """
    host, path = os.uname().nodename, str(offline_store.resolve())
    if declared:
        return Owner(declared, host, path, declared=True)
    file = offline_store / _FILE
    try:
        known = _read(file)
        if known is None:
            return _written(file, Owner(uuid4().hex, host, path))
        owner, inode = known
        if (owner.host, owner.path) == (host, path):
            return owner
        here = replace(owner, host=host, path=path)
        if _is_copy(owner, inode, file, host):
            here = replace(here, id=uuid4().hex)
            print(f"  {offline_store} is a copy of {owner.path} on {owner.host}: it owns no row of it", flush=True)
        return _written(file, here)
    except OSError as error:
        raise JobError(f"{file}: the owner of the offline store: {error.strerror}") from None


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


def _is_copy(owner: Owner, inode: int, file: Path, host: str) -> bool:
    """Of a store with another place than recorded: is the recorded one there, too, or on a machine out of sight?"""
    if owner.host != host:  # a container's name changes, its volume does not
        return file.stat().st_ino != inode
    original = Path(owner.path) / _FILE
    try:
        there = _read(original)
    except OSError:
        return False
    return there is not None and there[0].id == owner.id and not original.samefile(file)


def _read(file: Path) -> tuple[Owner, int] | None:
    """The owner, and the inode that the file had when it was written; None where there is none, or nothing legible."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Owner(str(found["id"]), str(found["host"]), str(found["path"])), int(found["inode"])
    except (FileNotFoundError, NotADirectoryError, KeyError, TypeError, ValueError):
        return None


def _written(file: Path, owner: Owner) -> Owner:
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    with partial.open("w", encoding="utf-8") as writing:
        noted = {"id": owner.id, "host": owner.host, "path": owner.path, "inode": partial.stat().st_ino}
        json.dump(noted, writing)
    partial.replace(file)
    return owner
