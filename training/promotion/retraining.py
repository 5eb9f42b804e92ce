"""Scheduled training: only on new data, and never moves another alias than `challenger`."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from mlflow.entities.model_registry import ModelVersion

from artefacts.process.file_locks import locked
from contract import ModelContract
from training.bento_import import prepare
from training.data.feature_service import made_of
from training.errors import DatasetError, GateError, LockedError, ModelImportError
from training.gate.rules import GATE, PASSED, gate_advice, recorded_verdict
from training.promotion.judgement import AGAINST_CHAMPION, fitted_after, judge
from training.promotion.ledger import Recorded
from training.promotion.registry_moves import OpenedRegistry
from training.settings import TrainingSettings
from training.splits import rows_sha256
from training.target import champion_contract, follow_contract, refuse_other_setting
from training.tracking import registry
from training.tracking.registry import CHALLENGER, FEATURES_SHA256
from training.train import train_version
from training.use_case_folder import current_use_case


def retrain(opened: OpenedRegistry, force: bool = False) -> Recorded | None:
    """Train a challenger if the features are new to the newest version.

    A version whose training was interrupted before the gate decided is judged, not trained again.

    Args:
        force: train without new data, as after a change of settings or candidates; the gate still decides.

    Returns:
        The ledger entry of the alias `challenger`; None without new data.

    Raises:
        LockedError: another retraining runs on this machine.
        OtherTargetError: the label length that is set is not the champion's.
        DatasetError: there are no features, or no training set can be made of them.
        GateError: the gate objects; the new version is registered without the alias.
    """
    with _one_at_a_time(opened.artefacts.model_tag.with_name("retrain.lock")):
        opened.settled()  # fails before the minutes of training, not after
        settings, champion = _target(opened)
        built = rows_sha256(opened.artefacts, current_use_case().labels(os.environ), settings)
        built = built or made_of(opened.artefacts, settings.feature_service)
        if not built:
            raise DatasetError(
                f"{opened.artefacts.offline_store}: no features; run `make features` first, or fill the views' sources"
            )
        newest = next(iter(registry.versions_of(opened.client, opened.name)), None)
        new = newest is None or newest.tags.get(FEATURES_SHA256) != built
        if force or new or newest is None or GATE not in newest.tags:
            if champion is not None:
                _refuse_earlier_labels(settings, *champion)
            version = train_version(opened.client, opened.artefacts, settings)
        elif _was_cut_off(opened, newest):
            version = newest
        else:
            return None
        chain = opened.settled()
        servable = prepare(opened.client, version)
        if servable.reason:
            print(servable)
        judgement = judge(opened.client, settings, servable)
        print(judgement)
        if judgement.objections:
            raise GateError(
                f"version {version.version} of {opened.name!r} is registered without an alias, what is served stays: "
                + "; ".join(judgement.objections)
                + gate_advice(judgement.objections, servable.contract)
            )
        why = f"trained {'on new data' if new else 'again on the same data'}, and passed the gate"
        entry = opened.entry("retrain", CHALLENGER, version, why, served=servable.identity, evidence=judgement.evidence)
        return opened.move(entry, chain, version)


def _target(opened: OpenedRegistry) -> tuple[TrainingSettings, tuple[str, ModelContract] | None]:
    """The settings with the champion's label, and the champion's number and contract."""
    try:
        champion = champion_contract(opened.client, opened.name)
    except ModelImportError:
        return opened.settings, None  # the gate will object to a damaged champion
    if champion is None:
        return opened.settings, None
    number, contract = champion
    refuse_other_setting(opened.settings, contract, f"the champion, version {number} of {opened.name!r}")
    return follow_contract(opened.settings, contract), champion


def _refuse_earlier_labels(settings: TrainingSettings, number: str, champion: ModelContract) -> None:
    """Refuse, before the minutes of training, what the gate cannot compare: a champion that has seen later labels."""
    case = current_use_case()
    cutoff = case.splits.test_from(case.labels(os.environ), settings)
    if cutoff is not None and (said := fitted_after(champion.training_window, cutoff)):
        raise DatasetError(
            f"the champion, version {number}, {said}; a version trained now could not be held against it. Take later "
            "data, or `make train`, which holds a version against no champion"
        )


def _was_cut_off(opened: OpenedRegistry, version: ModelVersion) -> bool:
    """True for a version that passed its own gate, got no alias, and was not refused beside the champion."""
    number = str(version.version)
    moved = any(r.entry.to_version == number for r in opened.ledger.read().recorded if r.behind is None)
    moved = moved or number in registry.aliases_of(opened.client, opened.name).values()
    refused = "refused: " in version.tags.get(AGAINST_CHAMPION, "")
    return recorded_verdict(version) == PASSED and not moved and not refused


@contextmanager
def _one_at_a_time(file: Path) -> Iterator[None]:
    with ExitStack() as held:
        try:
            held.enter_context(locked(file, wait=False))
        except BlockingIOError:
            raise LockedError(f"{file}: another retraining is running") from None
        yield
