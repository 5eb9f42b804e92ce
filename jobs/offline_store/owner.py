"""Who an offline store belongs to: an id that stays with its folder, wherever that is moved."""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

from artefacts.process.atomic_files import replaced_file
from jobs.errors import JobError

_FILE = "owner.json"


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
    with replaced_file(file) as partial, partial.open("w", encoding="utf-8") as writing:
        noted = {"id": owner.id, "host": owner.host, "path": owner.path, "inode": partial.stat().st_ino}
        json.dump(noted, writing)
    return owner
