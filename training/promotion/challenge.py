"""A second model beside the one that is served here: `make challenge` says which, and what it is to do."""

import os
from collections.abc import Mapping
from typing import Any

from mlflow.entities.model_registry import ModelVersion

from artefacts.challenger_file import Challenge, Mode
from artefacts.local_pin import challenging, pinned, store_lock
from artefacts.model_tag import version_in
from artefacts.process.atomic_files import write_atomically
from training.bento_import import prepare, store, stored
from training.errors import LedgerError, TrainingError
from training.gate.rules import refuse_unpassed
from training.promotion.ledger import Recorded
from training.promotion.registry_moves import OpenedRegistry
from training.target import refuse_other_label, refuse_other_setting
from training.tracking import registry
from training.tracking.registry import CHAMPION


def challenge(opened: OpenedRegistry, wanted: str, mode: Mode, share: float) -> Recorded:
    """Have a second model score beside the one that is pinned here; no alias and no pin is moved.

    One that challenges here already is not imported again: only what it is to do changes.

    Args:
        wanted: version or alias.
        share: of customers that a canary answers, in (0, 1].

    Raises:
        TrainingError: it is what is served here.
        OtherTargetError: it is about another label than what is served here, or than is set.
        ModelImportError: it may not be served, is missing or altered.
        LedgerError: another move came first; or it is recorded, but the file cannot be written.
    """
    file = opened.artefacts.challenger
    before = challenging(opened.artefacts)
    chain = opened.ledger.read()
    version = registry.version_of(opened.client, opened.name, wanted)
    # What is pinned and not the alias: the champion may be one that this machine does not serve yet.
    served = version_in(pinned(opened.artefacts))
    beside = served or str(registry.version_of(opened.client, opened.name, CHAMPION).version)
    if str(version.version) == beside:
        what = "pinned here" if served else CHAMPION
        raise TrainingError(f"version {version.version} of {opened.name!r} is {what}; it cannot challenge itself")
    refuse_unpassed(version)
    _refuse_other_label(opened, version, beside)
    identity = stored(version, str(before.get("tag")))
    if identity is None:
        servable = prepare(opened.client, version)
        opened.refuse_unservable(servable)
        store(opened.artefacts, servable)
        identity = servable.identity
    does = f"is canary for {share:.0%} of the customers of" if mode == "canary" else "shadows"
    why = f"version {version.version} {does} version {beside}, on {_here()}"
    entry = opened.entry("challenge", None, version, why, served=identity)
    with store_lock(opened.artefacts):
        recorded = opened.ledger.append(
            entry.model_copy(update={"from_version": version_in(before.get("tag"))}), chain, version
        )
        try:
            write_atomically(file, Challenge(tag=identity["tag"], mode=mode, share=share).to_text())
        except OSError as error:
            raise LedgerError(
                f"entry {recorded.number} says {entry.why}, but {file} cannot be written: {error.strerror}; "
                "mend that and run again"
            ) from None
    return recorded


def _refuse_other_label(opened: OpenedRegistry, challenger: ModelVersion, beside: str) -> None:
    """A canary that answers another question than the model beside it would be taken for the same."""
    contract = registry.contract_of(challenger)
    whose = f"version {challenger.version} of {opened.name!r}"
    refuse_other_setting(opened.settings, contract, whose)
    try:
        served = registry.contract_of(registry.version_of(opened.client, opened.name, beside))
    except TrainingError:
        return  # what is served here is no longer in the registry; it goes on all the same
    refuse_other_label(contract, whose, served, f"version {beside}, which is served here,")


def record_off(opened: OpenedRegistry, before: Mapping[str, Any]) -> Recorded:
    """Record that a model challenges here no longer. The only move that is made first: it must not wait for a registry.

    Args:
        before: as `artefacts.local_pin.switch_off` gave it.

    Raises:
        TrainingError: it cannot be recorded.
    """
    number = version_in(before.get("tag"))
    chain = opened.ledger.read()
    versions = {str(v.version): v for v in registry.versions_of(opened.client, opened.name)}
    # The entry needs some version to point at, also where the challenger's is gone.
    version = versions.get(str(number)) or registry.version_of(opened.client, opened.name, CHAMPION)
    why = f"version {number or 'unknown'} challenges no longer, on {_here()}"
    entry = opened.entry("challenge", None, None, why)
    try:
        return opened.ledger.append(entry.model_copy(update={"from_version": number}), chain, version)
    except LedgerError as error:
        raise LedgerError(f"{why}, but the ledger does not say so: {error}") from None


def _here() -> str:
    return os.uname().nodename
