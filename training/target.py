"""What a model predicts belongs to the model: settings that define it follow the champion's contract.

A label of 30 days and one of 90 are two questions. Models of different labels are held neither against each other nor
against the other's labels.
"""

import logging
from pathlib import Path

from mlflow.tracking import MlflowClient

from artefacts.addresses import Artefacts
from contract import Label, ModelContract, Population
from training.errors import ModelImportError, OtherTargetError
from training.settings import TrainingSettings
from training.tracking import registry
from training.tracking.registry import CHAMPION

_LOG = logging.getLogger(__name__)

VARIABLE = "TRAINING_LABEL_DAYS"
ACTIVE = "active"
"""The population that metrics of this prefix are of."""


def label_of(settings: TrainingSettings) -> Label:
    """What the positive class means to models trained with these settings."""
    days = settings.label_days
    return Label(name="churned", days=days, definition=f"no order in the {days} days from the time asked for on")


def populations_of(settings: TrainingSettings) -> dict[str, Population]:
    """Who has metrics of their own."""
    return {ACTIVE: Population(feature=settings.recency_feature, at_most=settings.active_days)}


def following(settings: TrainingSettings, contract: ModelContract) -> TrainingSettings:
    """The settings with the label's length and the active customers of a contract, where nobody has set them."""
    promised: dict[str, float | None] = {"label_days": contract.label_days}
    if active := contract.populations.get(ACTIVE):
        promised["active_days"] = active.at_most
    unset = {
        name: int(value)
        for name, value in promised.items()
        if value is not None and name not in settings.model_fields_set
    }
    return settings.model_copy(update=unset)


def refuse_other_setting(settings: TrainingSettings, contract: ModelContract, whose: str) -> None:
    """Hold the setting, if somebody has set it, against a contract.

    Raises:
        OtherTargetError: they differ; both lengths and the ways out are named.
    """
    days = contract.label_days
    if days is None or "label_days" not in settings.model_fields_set or settings.label_days == days:
        return
    raise OtherTargetError(
        f"{whose}, predicts who orders nothing in {days} days, and {VARIABLE} is {settings.label_days}: unset it to go "
        f"on with {days} days. `{VARIABLE}={settings.label_days} make train` makes a champion of "
        f"{settings.label_days} days, which is held against no other"
    )


def refuse_other_label(one: ModelContract, whose: str, other: ModelContract, others: str) -> None:
    """Hold two contracts against each other, as far as both tell their label's length.

    Raises:
        OtherTargetError: they differ.
    """
    days, other_days = one.label_days, other.label_days
    if days is not None and other_days is not None and days != other_days:
        raise OtherTargetError(
            f"{whose} predicts who orders nothing in {days} days, {others} in {other_days} days: these are two "
            f"questions, and neither answers the other's. `make retrain FORCE=1` without {VARIABLE} trains one as the "
            "champion is"
        )


def champion_contract(client: MlflowClient, name: str) -> tuple[str, ModelContract] | None:
    """Number and contract of the champion; None where there is none.

    Raises:
        ModelImportError: its contract is missing or altered.
        TrainingError: the alias points nowhere.
    """
    if CHAMPION not in registry.aliases_of(client, name):
        return None
    version = registry.version_of(client, name, CHAMPION)
    return str(version.version), registry.contract_of(version)


def for_training(client: MlflowClient, settings: TrainingSettings) -> TrainingSettings:
    """Settings of a version that is held against no other: as the champion's where nobody has set them, and says so."""
    try:
        champion = champion_contract(client, settings.model_name)
    except ModelImportError as error:
        _LOG.warning(f"note: labels of {settings.label_days} days; the champion's are not known: {error}")
        return settings
    if champion is None:
        return settings
    number, contract = champion
    followed = following(settings, contract)
    if contract.label_days not in (None, followed.label_days):
        _LOG.info(
            f"note: labels of {followed.label_days} days, as {VARIABLE} says; those of the champion, version {number}, "
            f"have {contract.label_days}",
        )
    elif followed.label_days != settings.label_days:
        _LOG.info(f"labels of {followed.label_days} days, as those of the champion, version {number}")
    return followed


def before_training(artefacts: Artefacts, settings: TrainingSettings, local_only: bool = False) -> TrainingSettings:
    """As `for_training`, without making a registry where there is none.

    Args:
        local_only: ask no server, which may be out of reach for minutes.

    Raises:
        TrainingError: the registry cannot be read.
    """
    uri = artefacts.mlflow_tracking_uri
    file = Path(uri.removeprefix("sqlite:///").partition("?")[0]) if uri.startswith("sqlite:///") else None
    if (file is None and local_only) or (file is not None and not file.exists()):
        return settings
    return for_training(registry.open_registry(uri, settings.model_name), settings)
