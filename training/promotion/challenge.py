"""Sets or removes this machine's challenger: a second model that shadows the served one or answers as a canary."""

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
    """Make a version the challenger of the model that is pinned on this machine. Aliases and the pin stay.

    A version that is the challenger already is not imported again; only its mode and share change.

    Args:
        wanted: version or alias.
        share: of the customers whom a canary answers, in (0, 1].

    Raises:
        TrainingError: the version is pinned here.
        OtherTargetError: its label differs from that of the pinned model, or from the label that is set.
        ModelImportError: it did not pass the gate, or is missing or altered.
        LedgerError: another move came first; or the move is recorded, but the challenger file cannot be written.
    """
    file = opened.artefacts.challenger
    before = challenging(opened.artefacts)
    chain = opened.ledger.read()
    version = registry.version_of(opened.client, opened.name, wanted)
    # The pin decides, not the alias: this machine may not serve the champion yet.
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
    """Refuse a challenger with another label than the served model: clients could not tell their answers apart."""
    contract = registry.contract_of(challenger)
    whose = f"version {challenger.version} of {opened.name!r}"
    refuse_other_setting(opened.settings, contract, whose)
    try:
        served = registry.contract_of(registry.version_of(opened.client, opened.name, beside))
    except TrainingError:
        return  # the served model was removed from the registry; it is still served
    refuse_other_label(contract, whose, served, f"version {beside}, which is served here,")


def record_off(opened: OpenedRegistry, before: Mapping[str, Any]) -> Recorded:
    """Record in the ledger that this machine's challenger was removed.

    Other moves are recorded before they are made. A removal comes first, because it must not wait for the registry.

    Args:
        before: what `artefacts.local_pin.switch_off` returned.

    Raises:
        TrainingError: the removal cannot be recorded.
    """
    number = version_in(before.get("tag"))
    chain = opened.ledger.read()
    versions = {str(v.version): v for v in registry.versions_of(opened.client, opened.name)}
    # An entry must belong to a version; the champion stands in if the challenger's is gone.
    version = versions.get(str(number)) or registry.version_of(opened.client, opened.name, CHAMPION)
    why = f"version {number or 'unknown'} challenges no longer, on {_here()}"
    entry = opened.entry("challenge", None, None, why)
    try:
        return opened.ledger.append(entry.model_copy(update={"from_version": number}), chain, version)
    except LedgerError as error:
        raise LedgerError(f"{why}, but the ledger does not say so: {error}") from None


def _here() -> str:
    return os.uname().nodename
