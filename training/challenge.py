"""A second model beside the champion: `make challenge` says which, and what it is to do."""

import json
import os
import re
from collections.abc import Mapping
from typing import Any, Literal

from contract.artefacts import Artefacts
from training import registry
from training.bento_import import alone, prepare, store, write_whole
from training.errors import LedgerError, TrainingError
from training.ledger import Recorded
from training.opened_registry import OpenedRegistry
from training.promotion import refuse_unpassed
from training.registry import CHAMPION


def challenge(
    opened: OpenedRegistry, wanted: str, mode: Literal["shadow", "canary", "off"], share: float
) -> Recorded | None:
    """Have a second model score beside the champion on this machine, or no longer; no alias and no pin is moved.

    Args:
        share: of customers that a canary answers, in (0, 1].

    Returns:
        The entry; None if there was nothing to switch off.

    Raises:
        ModelImportError: it may not be served, is missing or altered.
        LedgerError: another move came first; or it is recorded, but the file cannot be written.
    """
    file = opened.artefacts.challenger
    before = challenging(opened.artefacts)
    from_version = _version_in(before)
    chain = opened.ledger.read()
    if mode == "off":
        if not file.exists():
            return None
        versions = {str(v.version): v for v in registry.versions_of(opened.client, opened.name)}
        # The entry needs some version to point at, also where the challenger's is gone.
        version = versions.get(str(from_version)) or registry.version_of(opened.client, opened.name, CHAMPION)
        entry = opened.entry("challenge", None, None, f"off, on {_here()}")
        with alone(opened.artefacts):
            recorded = opened.ledger.append(entry.model_copy(update={"from_version": from_version}), chain, version)
            file.unlink(missing_ok=True)
        return recorded
    version = registry.version_of(opened.client, opened.name, wanted)
    if str(version.version) == registry.aliases_of(opened.client, opened.name).get(CHAMPION):
        raise TrainingError(f"version {version.version} of {opened.name!r} is {CHAMPION}; it cannot challenge itself")
    refuse_unpassed(version)
    servable = prepare(opened.client, version)
    opened.refuse_unservable(servable)
    store(opened.artefacts, servable)
    part = f"canary for {share:.0%} of the customers" if mode == "canary" else mode
    entry = opened.entry("challenge", None, version, f"{part}, on {_here()}", served=servable.identity)
    with alone(opened.artefacts):
        recorded = opened.ledger.append(entry.model_copy(update={"from_version": from_version}), chain, version)
        try:
            write_whole(file, json.dumps({"tag": servable.tag, "mode": mode, "share": share}) + "\n")
        except OSError as error:
            raise LedgerError(
                f"entry {recorded.number} says {entry.why}, but {file} cannot be written: {error.strerror}; "
                "mend that and run again"
            ) from None
    return recorded


def _here() -> str:
    return os.uname().nodename


def challenging(artefacts: Artefacts) -> Mapping[str, Any]:
    """What the file of the challenger says; empty without one, or where it cannot be read."""
    try:
        found = json.loads(artefacts.challenger.read_text())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _version_in(challenger: Mapping[str, Any]) -> str | None:
    found = re.search(r":v(\d+)-", str(challenger.get("tag", "")))
    return found.group(1) if found else None
