"""What a model predicts belongs to the model: its label's length is followed where unset, another is refused."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersion
from mlflow.tracking import MlflowClient

from artefacts.addresses import Artefacts
from tests.integration.training.conftest import ALIKE, GOOD, NAME, SETTINGS, Registry, trained
from tests.integration.training.promotion.test_retraining import TEST_CUTOFF, build, known
from training.__main__ import main
from training.errors import GateError, OtherTargetError
from training.promotion import retraining
from training.promotion.challenge import challenge
from training.promotion.listing import models as listed
from training.promotion.moves import promote
from training.promotion.registry_moves import OpenedRegistry
from training.promotion.retraining import retrain
from training.settings import TrainingSettings
from training.target import follow_champion
from training.tracking.registry import LABEL_DAYS, contract_of, version_of


def promising(days: int) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        document["label"] = {"name": "churned", "days": days, "definition": f"no order in {days} days"}
        active = {"feature": SETTINGS.recency_feature, "at_most": 2.0 * days}
        document["populations"] = {"active": active}
        document["headline"] = {"population": "active", "metric": "roc_auc"}

    return change


@pytest.fixture
def thirty(models: Registry) -> Registry:
    """The champion was trained with TRAINING_LABEL_DAYS=30, and there are new data."""
    models.rewrite_contract(GOOD, promising(30))
    trained(models)
    build(models, orders=11)
    known(models, TEST_CUTOFF + timedelta(days=31))
    return models


def setting(models: Registry, **values: Any) -> OpenedRegistry:
    """The registry as opened where these variables are set."""
    return replace(models.opened, settings=SETTINGS.model_copy(update=values))


def test_a_retraining_follows_the_champion_where_nothing_is_set(
    thirty: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained_with: list[TrainingSettings] = []

    def noted(client: MlflowClient, _: Artefacts, settings: TrainingSettings) -> ModelVersion:
        trained_with.append(settings)
        return version_of(client, NAME, ALIKE)

    monkeypatch.setattr(retraining, "train_version", noted)

    assert retrain(thirty.opened) is not None
    assert [(30, 60)] == [(settings.label_days, settings.active_days) for settings in trained_with]


def test_a_retraining_refuses_another_length_before_it_trains_even_without_new_data(
    thirty: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(retraining, "train_version")
    before = thirty.state

    with pytest.raises(
        OtherTargetError,
        match=r"champion, version 1 of 'test_churn', predicts churn, known 30 days later, and TRAINING_LABEL_DAYS "
        r"is 90: unset it.*`TRAINING_LABEL_DAYS=90 make train`",
    ):
        retrain(setting(thirty, label_days=90))
    assert before == thirty.state


def test_a_version_of_another_length_is_not_held_against_the_champion_but_can_be_forced(thirty: Registry) -> None:
    thirty.rewrite_contract(ALIKE, promising(90))

    said = r"version 2 predicts .* 90 days later, the champion, version 1, predicts .* 30 days later"
    with pytest.raises(GateError, match=said):
        promote(thirty.opened, ALIKE)
    entry = promote(thirty.opened, ALIKE, reason="we ask for 90 days from now on", force=True).entry

    assert (ALIKE, True) == (thirty.champion, entry.forced)
    assert 90 == follow_champion(thirty.opened.client, SETTINGS).label_days


def test_a_promotion_refuses_where_another_length_is_set_than_the_versions(thirty: Registry) -> None:
    thirty.rewrite_contract(ALIKE, promising(30))

    with pytest.raises(OtherTargetError, match=r"version 2 of 'test_churn', predicts .* 30 days later, and .* is 90"):
        promote(setting(thirty, label_days=90), ALIKE, reason="all the same", force=True)
    assert ALIKE == promote(setting(thirty, label_days=30), ALIKE).entry.to_version


def test_a_challenger_of_another_length_than_what_is_served_is_refused(thirty: Registry) -> None:
    thirty.rewrite_contract(ALIKE, promising(90))
    before = thirty.state

    said = "90 days later, version 1, which is served here, predicts churn, known 30 days"
    with pytest.raises(OtherTargetError, match=said):
        challenge(thirty.opened, ALIKE, "canary", 0.1)
    assert before == thirty.state
    thirty.rewrite_contract(ALIKE, promising(30))
    with pytest.raises(OtherTargetError, match="TRAINING_LABEL_DAYS is 90"):
        challenge(setting(thirty, label_days=90), ALIKE, "canary", 0.1)
    assert ALIKE == challenge(thirty.opened, ALIKE, "canary", 0.1).entry.to_version


@pytest.mark.usefixtures("printed_logs")
def test_a_training_follows_the_champion_unless_it_is_told_otherwise_and_says_either(
    thirty: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    client = thirty.opened.client

    assert 30 == follow_champion(client, SETTINGS).label_days
    assert "labels of 30 days, as those of the champion, version 1\n" == capsys.readouterr().out
    assert 90 == follow_champion(client, SETTINGS.model_copy(update={"label_days": 90})).label_days
    assert "note: labels of 90 days, as TRAINING_LABEL_DAYS says; those of the champion" in capsys.readouterr().out


def test_contracts_that_do_not_tell_their_length_are_held_against_each_other_as_before(models: Registry) -> None:
    trained(models)

    assert contract_of(version_of(models.opened.client, NAME, GOOD)).label_days is None
    assert ALIKE == promote(setting(models, label_days=30), ALIKE).entry.to_version


def test_the_length_is_listed_and_the_champions_is_told(
    thirty: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    thirty.opened.client.set_model_version_tag(NAME, GOOD, LABEL_DAYS, "30")
    first = next(line for line in listed(thirty.opened).splitlines() if line.startswith(GOOD))
    assert "  30 days  passed" in first

    monkeypatch.setenv("TRAINING_MODEL_NAME", NAME)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", thirty.opened.artefacts.mlflow_tracking_uri)
    assert 0 == main(["champion"])
    assert "version 1 of test_churn is champion, and predicts churn, known 30 days later" in capsys.readouterr().out
    monkeypatch.setenv("TRAINING_LABEL_DAYS", "90")
    assert 1 == main(["champion"])
    assert "30 days later, and TRAINING_LABEL_DAYS is 90" in capsys.readouterr().err
