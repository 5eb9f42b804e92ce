"""The gate, on its own and against the champion: one objection per rule, and none for a good model."""

import re
from dataclasses import replace
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag
from pydantic import ValidationError

from scoring.evaluation import Estimate, Paired
from tests.fakes import small_contract
from training.comparison import Comparison, Segment
from training.errors import ModelImportError
from training.promotion import FORCED, GATE, PASSED, Evidence, objections, objections_against, refuse_unpassed
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


def paired(difference: float, low: float, high: float) -> Paired:
    return Paired(0.7, 0.7 + difference, Estimate(difference, low, high))


NO_WORSE = Comparison(
    rows=1_000,
    active_rows=500,
    headline=paired(0.001, -0.009, 0.01),
    brier=paired(0, -0.001, 0.001),
    champion_calibration_error=0.02,
    candidate_calibration_error=0.03,
    segments=(Segment("few orders", 300, paired(-0.02, -0.06, 0.01), None), Segment("tiny", 4, None, None)),
    changed_decisions=0.04,
    mean_change=0.01,
    rank_correlation=0.99,
    champion_bytes=1_000,
    candidate_bytes=100_000,
    champion_microseconds={1: 10, 1_000: 500},
    candidate_microseconds={1: 49, 1_000: 2_400},
)
"""Within every bound, and near each."""


def test_a_candidate_that_is_within_every_bound_takes_the_champions_place() -> None:
    assert [] == objections_against(NO_WORSE, SETTINGS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"headline": paired(0.001, -0.0101, 0.01)}, "ROC AUC of active customers .* worse by more than 0.01"),
        ({"headline": paired(float("nan"), float("nan"), float("nan"))}, "ROC AUC of active customers"),
        ({"candidate_calibration_error": 0.041}, "calibration error 0.020 → 0.041, worse by more than 0.02"),
        ({"candidate_calibration_error": float("nan")}, "calibration error"),
        (
            {"segments": (Segment("few orders", 300, paired(-0.031, -0.06, -0.001), None),)},
            "few orders: ROC AUC .* surely worse and by more than 0.03",
        ),
        ({"changed_decisions": 0.101}, "10.1% of the decisions change, more than 10.0%"),
        ({"candidate_microseconds": {1: 51, 1_000: 500}}, "51 µs for 1 rows, the champion's 10: more than 5 times"),
        ({"candidate_microseconds": {1: 10, 1_000: 2_501}}, "2,501 µs for 1,000 rows"),
    ],
)
def test_each_bound_of_the_written_gate_is_held(change: dict[str, Any], said: str) -> None:
    (objection,) = objections_against(replace(NO_WORSE, **change), SETTINGS)

    assert re.search(said, objection)


def test_a_segment_is_worse_only_if_that_is_sure_and_much() -> None:
    sure_but_little, much_but_unsure = paired(-0.02, -0.03, -0.01), paired(-0.1, -0.25, 0.001)
    parts = (Segment("a", 300, sure_but_little, None), Segment("b", 60, much_but_unsure, None))

    assert [] == objections_against(replace(NO_WORSE, segments=parts), SETTINGS)


def test_only_what_passed_or_was_forced_may_be_served() -> None:
    def version(**tags: str) -> ModelVersion:
        return ModelVersion("churn", "7", 0, tags=[ModelVersionTag(*tag) for tag in tags.items()])  # type: ignore[no-untyped-call]

    refuse_unpassed(version(**{GATE: PASSED}))
    refuse_unpassed(version(**{GATE: FORCED + "it is all there is"}))
    for verdict in ("ROC AUC 0.5 beats recency alone", "passed by"):
        with pytest.raises(ModelImportError, match=rf"'churn' version 7 did not pass the gate: {verdict}"):
            refuse_unpassed(version(**{GATE: verdict}))
    with pytest.raises(ModelImportError, match="it was never held to it"):
        refuse_unpassed(version())


@pytest.mark.parametrize(
    ("described", "said"), [("a:x", "'a:x': what follows the feature are numbers"), ("a:4:2", "the edges must ascend")]
)
def test_segments_that_cannot_be_made_are_refused_as_a_setting(described: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainingSettings(segments=described)
