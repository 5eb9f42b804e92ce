"""Promotes and rolls back the champion. Each move is recorded in the ledger before it is made.

The order is always: verify, store the model, append to the ledger, set the alias, pin. A failure before the
ledger entry leaves alias and pin unchanged.
"""

import logging

from mlflow.entities.model_registry import ModelVersion

from artefacts.model_record import FILE_SHA256
from contract.model_contract import EVERYONE
from training.bento_import import Servable, prepare, store
from training.errors import GateError, LedgerError, ModelImportError, TrainingError
from training.gate.rules import FORCED, GATE, PASSED, gate_advice, recorded_verdict
from training.promotion.judgement import judge
from training.promotion.ledger import Chain, Recorded
from training.promotion.registry_moves import OpenedRegistry
from training.target import refuse_other_setting
from training.tracking import registry
from training.tracking.registry import CHALLENGER, CHAMPION

_LOG = logging.getLogger(__name__)


def _begun(opened: OpenedRegistry) -> Chain:
    """The checked ledger. An empty one gets an entry for the present champion, so that a rollback can restore it."""
    chain = opened.settled()
    champion = registry.aliases_of(opened.client, opened.name).get(CHAMPION)
    if chain.champions or champion is None:
        return chain
    version = registry.version_of(opened.client, opened.name, CHAMPION)
    try:
        served = prepare(opened.client, version).identity
    except ModelImportError:
        return chain  # nobody can go back to a damaged champion
    why = "champion when the ledger began"
    opened.move(opened.entry("found", CHAMPION, version, why, served=served), chain, version)
    return opened.settled()


def promote_trained(opened: OpenedRegistry, version: ModelVersion) -> Recorded:
    """Make a newly trained version champion that passed its own gate. Nothing is pinned.

    Raises:
        TrainingError: the version cannot be served, or another move came first.
    """
    chain = _begun(opened)
    servable = prepare(opened.client, version)
    if servable.reason:
        _LOG.warning(f"{servable}")
    metrics = servable.contract.metrics
    headline = servable.contract.headline
    judged = f"{headline.population}_{headline.metric}"
    evidence = {
        name: metrics[name] for name in (judged, f"{judged}_gain", f"{EVERYONE}_{headline.metric}") if name in metrics
    }
    why = "trained, and passed the gate on its own"
    entry = opened.entry("train", CHAMPION, version, why, served=servable.identity, evidence=evidence)
    return opened.move(entry, chain, version)


def promote(opened: OpenedRegistry, wanted: str = CHALLENGER, reason: str = "", force: bool = False) -> Recorded:
    """Make a version champion if it passes the gate, and pin it on this machine.

    Args:
        wanted: version or alias.
        reason: for the ledger.
        force: promote despite the gate's objections; needs a reason.

    Raises:
        GateError: the gate objects.
        OtherTargetError: the label length that is set is not this version's.
        TrainingError: the version cannot be served, or another move came first.
    """
    registry.version_of(opened.client, opened.name, wanted)  # an unknown version fails before anything is downloaded
    chain = _begun(opened)
    version = registry.version_of(opened.client, opened.name, wanted)
    if str(version.version) == registry.aliases_of(opened.client, opened.name).get(CHAMPION):
        raise TrainingError(f"version {version.version} of {opened.name!r} is {CHAMPION} already")
    servable = prepare(opened.client, version)
    refuse_other_setting(opened.settings, servable.contract, f"version {version.version} of {opened.name!r}")
    opened.refuse_unservable(servable)
    judgement = judge(opened.client, opened.settings, servable)
    print(judgement)
    if judgement.objections and not (force and reason):
        raise GateError(
            f"version {version.version} of {opened.name!r} is not promoted, what is served stays: "
            + "; ".join(judgement.objections)
            + gate_advice(judgement.objections, servable.contract)
            + '. FORCE=1 REASON="…" promotes it all the same'
        )
    store(opened.artefacts, servable)
    entry = opened.entry(
        "promote",
        CHAMPION,
        version,
        reason or "passed the gate",
        forced=bool(judgement.objections),
        served=servable.identity,
        evidence=judgement.evidence,
    )
    recorded = opened.move(entry, chain, version, pinned=servable)
    if entry.forced and recorded_verdict(version) != PASSED:
        opened.client.set_model_version_tag(opened.name, version.version, GATE, FORCED + reason)
    _challenges_no_longer(opened, servable)
    return recorded


def roll_back(opened: OpenedRegistry, to: int | None, reason: str) -> Recorded:
    """Restore the champion of an earlier ledger entry, byte for byte as it was served.

    Args:
        to: number of the entry; None for the one before the present champion's; a second call goes one further back.

    Raises:
        LedgerError: there is no such entry, or another move came first.
        ModelImportError: its model is missing or altered, or can no longer be served.
    """
    chain = opened.ledger.read()
    target = _target(chain, to)
    champion = registry.aliases_of(opened.client, opened.name).get(CHAMPION)
    latest = chain.champions[-1].entry.to_version
    if target.entry.to_version == champion == latest:
        raise LedgerError(f"entry {target.number} made version {champion} champion, which it is; nothing to roll back")
    if FILE_SHA256 not in target.entry.served:
        raise LedgerError(f"entry {target.number} does not say which files it served; name another, or promote")
    version = registry.version_of(opened.client, opened.name, str(target.entry.to_version))
    servable = prepare(opened.client, version, target.entry.served[FILE_SHA256])
    for name, digest in target.entry.served.items():
        if servable.identity[name] != digest:
            raise ModelImportError(
                f"model {opened.name!r} version {version.version}: {name} is {servable.identity[name]}, "
                f"entry {target.number} served {digest}"
            )
    opened.refuse_unservable(servable)
    store(opened.artefacts, servable)
    restores = target.entry.restores or target.number
    entry = opened.entry("rollback", CHAMPION, version, reason, restores=restores, served=servable.identity)
    recorded = opened.move(entry, chain, version, pinned=servable)
    _challenges_no_longer(opened, servable)
    return recorded


def _challenges_no_longer(opened: OpenedRegistry, servable: Servable) -> None:
    """Remove the alias `challenger` from a version that became champion."""
    if registry.aliases_of(opened.client, opened.name).get(CHALLENGER) == str(servable.registered.version.version):
        opened.client.delete_registered_model_alias(opened.name, CHALLENGER)


def _target(chain: Chain, to: int | None) -> Recorded:
    moves = chain.champions
    if not moves:
        raise LedgerError("the ledger has no entry to roll back to")
    if to is not None:
        found = next((r for r in moves if r.number == to), None)
        if found is None:
            numbers = ", ".join(str(r.number) for r in moves)
            raise LedgerError(f"entry {to} of the ledger promoted no champion; these did: {numbers}")
        return found
    present = moves[-1].entry.restores or moves[-1].number
    earlier = [r for r in moves if r.number < present and r.entry.to_version != moves[-1].entry.to_version]
    if not earlier:
        raise LedgerError(f"entry {present} is the first of the ledger; there is nothing before it to roll back to")
    return earlier[-1]
