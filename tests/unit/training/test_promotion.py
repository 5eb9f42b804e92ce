"""The gate: one objection per rule, and none for a good model."""

from dataclasses import replace
from typing import Any

import pytest

from scoring.evaluation import Estimate
from tests.fakes import small_contract
from training.promotion import Evidence, objections
from training.settings import TrainingSettings

SETTINGS = TrainingSettings(min_auc_margin=0.02, max_calibration_error=0.05)


def estimate(value: float) -> Estimate:
    return Estimate(value, value - 0.01, value + 0.01)


GOOD = Evidence(
    headline_auc=estimate(0.73),
    recency_auc=estimate(0.64),
    calibration_error=0.02,
    has_signature=True,
    contract=small_contract(),
)


def test_a_good_model_meets_no_objection() -> None:
    assert [] == objections(GOOD, SETTINGS)


@pytest.mark.parametrize("auc", [0.3, 0.64, 0.6599])
def test_a_model_that_hardly_beats_recency_alone_is_objected_to(auc: float) -> None:
    (objection,) = objections(replace(GOOD, headline_auc=estimate(auc)), SETTINGS)

    assert "recency alone" in objection
    assert f"{auc:.3f}" in objection
    assert "0.640" in objection
    assert "0.02" in objection


def test_the_margin_itself_is_enough() -> None:
    just = replace(GOOD, headline_auc=estimate(0.75), recency_auc=estimate(0.5))

    assert [] == objections(just, TrainingSettings(min_auc_margin=0.25))


def test_a_badly_calibrated_model_is_objected_to() -> None:
    (objection,) = objections(replace(GOOD, calibration_error=0.051), SETTINGS)

    assert "calibration error is 0.051, over 0.05" in objection
    assert [] == objections(replace(GOOD, calibration_error=0.05), SETTINGS)


@pytest.mark.parametrize("measured", ["headline_auc", "recency_auc", "calibration_error"])
def test_a_metric_that_is_not_a_number_is_objected_to(measured: str) -> None:
    nothing: Any = float("nan") if measured == "calibration_error" else estimate(float("nan"))

    assert 1 == len(objections(replace(GOOD, **{measured: nothing}), SETTINGS))


def test_a_model_without_a_signature_is_objected_to() -> None:
    assert ["the logged model has no signature"] == objections(replace(GOOD, has_signature=False), SETTINGS)


@pytest.mark.parametrize(
    ("member", "empty"),
    [
        ("run_id", ""),
        ("model_version", ""),
        ("data_fingerprint", ""),
        ("training_window", {}),
        ("metrics", {}),
        ("library_versions", {}),
    ],
)
def test_an_incomplete_contract_is_objected_to_by_member(member: str, empty: object) -> None:
    contract = small_contract().model_copy(update={member: empty})

    assert [f"the contract is incomplete: {member}"] == objections(replace(GOOD, contract=contract), SETTINGS)


def test_every_rule_that_fails_is_named_at_once() -> None:
    bad = Evidence(
        headline_auc=estimate(0.5),
        recency_auc=estimate(0.6),
        calibration_error=0.5,
        has_signature=False,
        contract=small_contract().model_copy(update={"run_id": "", "metrics": {}}),
    )

    found = objections(bad, SETTINGS)

    assert 4 == len(found)
    assert "the contract is incomplete: run_id, metrics" == found[-1]
