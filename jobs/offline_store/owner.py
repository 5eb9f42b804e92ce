"""Owner of an offline store: an id that stays with its folder, wherever it is moved."""

import json
import logging
import os
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from artefacts.process.atomic_files import replaced_file
from jobs.errors import JobError

_LOG = logging.getLogger(__name__)

_FILE = "owner.json"


@dataclass(frozen=True)
class Owner:
    """Owner of online rows.

    id: random, or `JOBS_OWNER`.
    host, path: location of the offline store.
    declared: the id comes from `JOBS_OWNER`.
    at: when its rows were first written, ISO time; empty if unknown.
    """

    id: str
    host: str
    path: str
    declared: bool = False
    at: str = ""

    def is_same(self, other: "Owner") -> bool:
        """True for the same id, and for a store that was created again in the same place."""
        in_its_place = (self.host, self.path) == (other.host, other.path)
        return self.id == other.id or (in_its_place and not (self.declared and other.declared))

    def __str__(self) -> str:
        since = f", since {self.at}" if self.at else ""
        return f"{self.id} ({self.path} on {self.host}{since})"


def owner_of(offline_store: Path, declared: str) -> Owner:
    """Read the owner of an offline store, or create one. A copied store gets a new owner, which is printed.

    Args:
        declared: `JOBS_OWNER`; empty if it is not set.

    Raises:
        JobError: the owner's file cannot be read or written.
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
            _LOG.info(f"  {offline_store} is a copy of {owner.path} on {owner.host}; its owner id is new")
        return _written(file, here)
    except OSError as error:
        raise JobError(f"{file}: cannot read or write the offline store's owner: {error.strerror}") from None


def _is_copy(owner: Owner, inode: int, file: Path, host: str) -> bool:
    """For a store at another place than recorded: True if the recorded one still exists, or may on another machine."""
    if owner.host != host:  # a container's name changes, its volume does not
        return file.stat().st_ino != inode
    original = Path(owner.path) / _FILE
    try:
        there = _read(original)
    except OSError:
        return False
    return there is not None and there[0].id == owner.id and not original.samefile(file)


def _read(file: Path) -> tuple[Owner, int] | None:
    """The owner, and the file's inode when it was written; None if the file is absent or unreadable."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        return Owner(str(found["id"]), str(found["host"]), str(found["path"])), int(found["inode"])
    except (FileNotFoundError, NotADirectoryError, KeyError, TypeError, ValueError):
        return None


def _written(file: Path, owner: Owner) -> Owner:
    with replaced_file(file) as partial, partial.open("w", encoding="utf-8") as writing:
        noted = {"id": owner.id, "host": owner.host, "path": owner.path, "inode": partial.stat().st_ino}
        json.dump(noted, writing)
    return owner
