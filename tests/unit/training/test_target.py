"""Models of another task, output, class or label length are another target; settings change what the use case says."""

import pytest

from contract import MulticlassTask
from tests.models.fakes import contract_of
from training.churn.use_case import USE_CASE
from training.errors import OtherTargetError
from training.settings import TrainingSettings
from training.target import refuse_other_label, with_settings


def test_models_of_one_target_can_be_compared() -> None:
    for kind in ("binary", "multiclass", "regression"):
        refuse_other_label(contract_of(kind), "version 2", contract_of(kind), "the champion")


def test_another_task_or_other_classes_are_refused_with_both() -> None:
    segment = contract_of("multiclass")
    other = segment.model_copy(update={"task": MulticlassTask(classes=("low", "high"))})

    with pytest.raises(OtherTargetError) as raised:
        refuse_other_label(contract_of("regression"), "version 2", segment, "the champion")
    assert str(raised.value) == (
        "version 2 answers regression: spend, the champion multiclass: segment_probabilities, segment of low, middle, "
        "high: these are different targets"
    )
    with pytest.raises(OtherTargetError, match=r"segment of low, high, the champion .* of low, middle, high"):
        refuse_other_label(other, "version 2", segment, "the champion")


def test_settings_take_their_defaults_from_the_use_case_and_variables_override_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("USE_CASE", raising=False)
    of_case = TrainingSettings()
    monkeypatch.setenv("TRAINING_LABEL_DAYS", "30")
    monkeypatch.setenv("TRAINING_MODEL_NAME", "mine")
    monkeypatch.setenv("TRAINING_SEGMENTS", "x:1")
    of_variables = TrainingSettings()

    assert ("customer_churn", 90, " ".join(USE_CASE.segments)) == (
        of_case.model_name,
        of_case.label_days,
        of_case.segments,
    )
    assert ("mine", 30, "x:1") == (of_variables.model_name, of_variables.label_days, of_variables.segments)
    assert of_case.max_auc_loss == of_variables.max_auc_loss == USE_CASE.gate.max_loss


def test_settings_change_the_baselines_feature_and_the_bound_of_the_headlines_population() -> None:
    unchanged = with_settings(USE_CASE, TrainingSettings())
    changed = with_settings(USE_CASE, TrainingSettings(recency_feature="x", active_days=60))

    assert USE_CASE == unchanged
    assert "x" == changed.baseline.feature == changed.populations["active"].feature
    assert 60 == changed.populations["active"].at_most
