"""The pin and the challenger file of this machine, and the lock for changing them. Imports quickly."""

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from artefacts.addresses import Artefacts
from artefacts.process.atomic_files import write_atomically
from artefacts.process.file_locks import locked
from artefacts.process.small_files import read_small_text

_LOG = logging.getLogger(__name__)


@contextmanager
def store_lock(artefacts: Artefacts) -> Iterator[None]:
    """Exclusive lock on this machine's model store and pin file, held briefly; so the last claim is the last pin."""
    with locked(artefacts.model_tag.with_name(f"{artefacts.model_tag.name}.lock")):
        yield


def read_pin(artefacts: Artefacts) -> str:
    """Tag of the pinned model; empty if there is none.

    Raises:
        OSError: the pin cannot be read.
    """
    try:
        return read_small_text(artefacts.model_tag).strip()
    except (FileNotFoundError, NotADirectoryError):
        return ""


def pinned(artefacts: Artefacts) -> str:
    """As `read_pin`, but empty if the pin cannot be read."""
    try:
        return read_pin(artefacts)
    except OSError:
        return ""


def pin(artefacts: Artefacts, tag: str) -> None:
    """Pin the model that this machine serves; if it was the challenger, there is none now. Hold `store_lock`."""
    write_atomically(artefacts.model_tag, tag + "\n")
    if challenging(artefacts).get("tag") == tag:  # a model cannot challenge itself
        artefacts.challenger.unlink()
        _LOG.info(f"{tag} was the challenger here; there is none now")


def challenging(artefacts: Artefacts) -> Mapping[str, Any]:
    """Content of the challenger file; empty if there is none or it cannot be read."""
    try:
        found = json.loads(read_small_text(artefacts.challenger))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def switch_off(artefacts: Artefacts) -> Mapping[str, Any] | None:
    """Remove the challenger of this machine.

    Returns:
        The challenger file's content; None if there was no file.
    """
    with store_lock(artefacts):
        said = challenging(artefacts)
        try:
            artefacts.challenger.unlink()
        except FileNotFoundError:
            return None
    return said
