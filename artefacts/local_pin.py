"""What this machine serves: the pin, the challenger beside it, and the lock under which both change. Quick to load."""

import fcntl
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from artefacts.addresses import Artefacts
from artefacts.process.small_files import read_small_text


@contextmanager
def alone(artefacts: Artefacts) -> Iterator[None]:
    """One at a time on this machine puts models into the store and moves; so the last claim is the last pin.

    Held for moments.
    """
    file = artefacts.model_tag.with_name(f"{artefacts.model_tag.name}.lock")
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def pinned(artefacts: Artefacts) -> str:
    """Tag of the model that is served from here; empty without one, or where it cannot be read."""
    try:
        return read_small_text(artefacts.model_tag).strip()
    except OSError:
        return ""


def pin(artefacts: Artefacts, tag: str) -> None:
    """Name the model that is served from here, in one step; it challenges no longer. To be done `alone`."""
    write_whole(artefacts.model_tag, tag + "\n")
    if challenging(artefacts).get("tag") == tag:  # nobody challenges itself
        artefacts.challenger.unlink()
        print(f"{tag} was the challenger here; there is none now")


def challenging(artefacts: Artefacts) -> Mapping[str, Any]:
    """What the file of the challenger says; empty without one, or where it cannot be read."""
    try:
        found = json.loads(read_small_text(artefacts.challenger))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def switch_off(artefacts: Artefacts) -> Mapping[str, Any] | None:
    """Have no model challenge here any more.

    Returns:
        What the file said; None if there was none.
    """
    with alone(artefacts):
        said = challenging(artefacts)
        try:
            artefacts.challenger.unlink()
        except FileNotFoundError:
            return None
    return said


def version_in(tag: object) -> str | None:
    """Number of the version that a tag of the model store is of."""
    found = re.search(r":v(\d+)-", str(tag))
    return found.group(1) if found else None


def write_whole(file: Path, text: str) -> None:
    """Replace a file in one step, so that no reader ever sees half of it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    partial.replace(file)
