"""Keeps the prediction target: settings that define it default to the champion's contract.

Labels of 30 and of 90 days are different targets. Models of different targets are not compared with each other, nor
with each other's labels.
"""

import logging
from dataclasses import replace
from pathlib import Path

from mlflow.tracking import MlflowClient

from artefacts.addresses import Artefacts
from contract import Label, ModelContract
from training.errors import ModelImportError, OtherTargetError
from training.settings import TrainingSettings
from training.tracking import registry
from training.tracking.registry import CHAMPION
from training.use_case import ByFeature, UseCase

_LOG = logging.getLogger(__name__)

VARIABLE = "TRAINING_LABEL_DAYS"


def label_of(case: UseCase, settings: TrainingSettings) -> Label:
    """The label of models trained with these settings."""
    days = settings.label_days
    words = case.definition or (f"{case.task.target}, known {{days}} days later" if days else case.task.target)
    return Label(name=case.task.target, days=days or None, definition=words.format(days=days))


def with_settings(case: UseCase, settings: TrainingSettings) -> UseCase:
    """The use case with what the settings change of it: the baseline's feature, the headline population's bound."""
    baseline, populations = case.baseline, dict(case.populations)
    if settings.recency_feature not in ("", baseline.feature) and isinstance(baseline, ByFeature):
        baseline = replace(baseline, feature=settings.recency_feature)
    headline = populations.get(case.judged_by[0])
    if headline is not None and headline.feature == case.baseline.feature:
        headline = headline.model_copy(update={"feature": settings.recency_feature})
    if headline is not None and settings.active_days is not None and headline.at_most is not None:
        headline = headline.model_copy(update={"at_most": settings.active_days})
    if headline is not None:
        populations[case.judged_by[0]] = headline
    return replace(case, baseline=baseline, populations=populations)


def follow_contract(settings: TrainingSettings, contract: ModelContract) -> TrainingSettings:
    """The settings with a contract's label length and bound of the headline population, unless they are set."""
    promised: dict[str, float | None] = {"label_days": contract.label_days}
    if headline := contract.populations.get(contract.headline.population):
        promised["active_days"] = headline.at_most
    unset = {
        name: value for name, value in promised.items() if value is not None and name not in settings.model_fields_set
    }
    return settings.model_copy(update=unset)


def refuse_other_setting(settings: TrainingSettings, contract: ModelContract, whose: str) -> None:
    """Refuse a label length that is set and differs from a contract's.

    Raises:
        OtherTargetError: names both lengths and the remedies.
    """
    days = contract.label_days
    if days is None or "label_days" not in settings.model_fields_set or settings.label_days == days:
        return
    raise OtherTargetError(
        f"{whose}, {predicted(contract)}, and {VARIABLE} is {settings.label_days}: unset it to "
        f"keep {days} days. `{VARIABLE}={settings.label_days} make train` trains a champion with "
        f"{settings.label_days} days, without comparing it with this one"
    )


def refuse_other_label(one: ModelContract, whose: str, other: ModelContract, others: str) -> None:
    """Refuse two contracts with different tasks, outputs, classes or label lengths; one without a length passes.

    Raises:
        OtherTargetError: what differs.
    """
    what = _answer(one), _answer(other)
    if what[0] != what[1]:
        raise OtherTargetError(f"{whose} answers {what[0]}, {others} {what[1]}: these are different targets")
    days, other_days = one.label_days, other.label_days
    if days is not None and other_days is not None and days != other_days:
        raise OtherTargetError(
            f"{whose} {predicted(one)}, {others} {predicted(other)}: these are different targets. "
            f"`make retrain FORCE=1` without {VARIABLE} trains a model with the champion's target"
        )


def _answer(contract: ModelContract) -> str:
    classes = f" of {', '.join(contract.task.class_names)}" if contract.task.class_names else ""
    return f"{contract.task.kind}: {', '.join(output.name for output in contract.outputs)}{classes}"


def predicted(contract: ModelContract) -> str:
    """What a model predicts, in words: "predicts churn, known 90 days later"."""
    known = "" if contract.label_days is None else f", known {contract.label_days} days later"
    return f"predicts {contract.outputs[-1].name}{known}"


def champion_contract(client: MlflowClient, name: str) -> tuple[str, ModelContract] | None:
    """Version number and contract of the champion; None if there is none.

    Raises:
        ModelImportError: its contract is missing or altered.
        TrainingError: the alias points to no version.
    """
    if CHAMPION not in registry.aliases_of(client, name):
        return None
    version = registry.version_of(client, name, CHAMPION)
    return str(version.version), registry.contract_of(version)


def follow_champion(client: MlflowClient, settings: TrainingSettings) -> TrainingSettings:
    """The settings with the champion's target unless one is set; prints which target is used.

    For a version that is not compared with the champion.
    """
    try:
        champion = champion_contract(client, settings.model_name)
    except ModelImportError as error:
        _LOG.warning(f"note: labels of {settings.label_days} days; the champion's are not known: {error}")
        return settings
    if champion is None:
        return settings
    number, contract = champion
    followed = follow_contract(settings, contract)
    if contract.label_days not in (None, followed.label_days):
        _LOG.info(
            f"note: labels of {followed.label_days} days, as {VARIABLE} says; those of the champion, version {number}, "
            f"have {contract.label_days}",
        )
    elif followed.label_days != settings.label_days:
        _LOG.info(f"labels of {followed.label_days} days, as those of the champion, version {number}")
    return followed


def follow_existing_champion(
    artefacts: Artefacts, settings: TrainingSettings, local_only: bool = False
) -> TrainingSettings:
    """As `follow_champion`, but does not create a registry.

    Args:
        local_only: skip registries on a server, which may be unreachable for minutes.

    Raises:
        TrainingError: the registry cannot be read.
    """
    uri = artefacts.mlflow_tracking_uri
    file = Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None
    if (file is None and local_only) or (file is not None and not file.exists()):
        return settings
    return follow_champion(registry.open_registry(uri, settings.model_name), settings)
