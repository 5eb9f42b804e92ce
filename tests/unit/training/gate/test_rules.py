"""The gate, on its own and against the champion: one objection per rule, and none for a good model."""

import re
from dataclasses import replace
from typing import Any

import pytest
from mlflow.entities.model_registry import ModelVersion, ModelVersionTag
from pydantic import ValidationError

from contract import Headline, Population
from scoring.evaluation import BINARY, Estimate, PairedEstimate
from tests.models.fakes import small_contract
from training.errors import ModelImportError
from training.gate.comparison import ChampionComparison
from training.gate.rules import (
    FORCED,
    GATE,
    PASSED,
    Evidence,
    GateMetrics,
    gate_advice,
    objections,
    objections_to_replacing,
    refuse_unpassed,
)
from training.gate.verdicts import JudgedMetric, Verdict, verdict_on
from training.settings import TrainingSettings
from training.use_case import at_least, at_most

SETTINGS = TrainingSettings(max_calibration_error=0.05)


def gained(difference: float, low: float, high: float) -> GateMetrics:
    return GateMetrics(
        population="active",
        metric=BINARY.metric("roc_auc"),
        baseline="recency",
        headline=PairedEstimate(0.64, 0.64 + difference, Estimate(difference, low, high)),
        rows=6_000,
        calibration_metric=BINARY.calibration,
        calibration=Estimate(0.02, 0.01, 0.03),
        confidence=0.95,
    )


WELL = gained(0.08, 0.07, 0.09)
GOOD = Evidence(measured=WELL, has_signature=True, contract=small_contract())


def judged(measured: GateMetrics, settings: TrainingSettings = SETTINGS) -> list[str]:
    return objections(replace(GOOD, measured=measured), settings)


def test_a_good_model_meets_no_objection() -> None:
    assert [] == objections(GOOD, SETTINGS)


def test_a_small_gain_over_recency_alone_is_enough_where_it_is_sure() -> None:
    assert [] == judged(gained(0.013, 0.004, 0.022))


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (
            replace(gained(0.102, -0.021, 0.225), rows=69),
            r"0.742, of recency alone 0.640, gain \+0.102 "
            r"\[-0.021, \+0.225\] on 69 rows: cannot tell whether it is better than recency alone$",
        ),
        (gained(0.01, 0.0, 0.02), "cannot tell whether it is better"),
        (gained(-0.02, -0.03, -0.01), "not better than recency alone$"),
        (gained(float("nan"), float("nan"), float("nan")), "cannot tell"),
    ],
)
def test_a_model_that_is_not_shown_to_beat_recency_alone_is_objected_to(measured: GateMetrics, said: str) -> None:
    (objection,) = judged(measured)

    assert re.search(said, objection)


def test_a_margin_over_recency_alone_is_held_against_the_interval() -> None:
    asks_for_more = TrainingSettings(min_auc_margin=0.05)

    assert [] == judged(gained(0.08, 0.051, 0.11), asks_for_more)
    assert judged(gained(0.08, 0.049, 0.11), asks_for_more)[0].endswith(
        "cannot tell whether it is better than recency alone by more than 0.05"
    )
    assert judged(gained(0.03, 0.02, 0.04), asks_for_more)[0].endswith(
        ": not better than recency alone by more than 0.05"
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Estimate(0.06, 0.051, 0.07), "0.060 [0.051, 0.070]: over 0.05"),
        (Estimate(0.04, 0.02, 0.051), "cannot tell whether it is within 0.05"),
        (Estimate(0.06, 0.04, 0.08), "cannot tell whether it is within 0.05"),
        (Estimate(*[float("nan")] * 3), "cannot tell"),
    ],
)
def test_a_model_that_is_not_shown_to_be_calibrated_is_objected_to(error: Estimate, said: str) -> None:
    (objection,) = judged(replace(WELL, calibration=error))

    assert said in objection
    assert [] == judged(replace(WELL, calibration=Estimate(0.04, 0.03, 0.05)))


def test_the_ways_out_of_too_few_rows_are_told_where_that_is_the_objection() -> None:
    assert "use more of them" in gate_advice(judged(gained(0.1, -0.02, 0.22)), small_contract())
    assert "" == gate_advice(judged(gained(-0.02, -0.03, -0.01)), small_contract())


@pytest.mark.parametrize(
    ("populations", "said"),
    [
        ({"active": at_most("days", 90)}, ", or a wider population 'active', as by a TRAINING_ACTIVE_DAYS above 90 ("),
        ({"active": at_least("spend", 5)}, ": use more of them ("),
        ({}, ": use more of them ("),
    ],
)
def test_a_variable_that_widens_the_headline_population_is_named_where_there_is_one(
    populations: dict[str, Population], said: str
) -> None:
    headline = Headline(population="active" if populations else "all", metric="roc_auc")
    contract = small_contract().model_copy(update={"populations": populations, "headline": headline})

    advice = gate_advice(judged(gained(0.1, -0.02, 0.22)), contract)

    assert said in advice
    assert ("TRAINING_ACTIVE_DAYS" in said) == ("TRAINING_ACTIVE_DAYS" in advice)


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
        measured=replace(gained(-0.1, -0.2, -0.05), calibration=Estimate(0.5, 0.4, 0.6)),
        has_signature=False,
        contract=small_contract().model_copy(update={"run_id": "", "metrics": {}}),
    )

    found = objections(bad, SETTINGS)

    assert 4 == len(found)
    assert "the contract is incomplete: run_id, metrics" == found[-1]


def paired(difference: float, low: float, high: float) -> PairedEstimate:
    return PairedEstimate(0.7, 0.7 + difference, Estimate(difference, low, high))


def active(difference: float, low: float, high: float) -> JudgedMetric:
    found = paired(difference, low, high)
    return JudgedMetric("ROC AUC of active rows", 500, found, 0.01, verdict_on(found.difference, 0.01))


def part(verdict: Verdict) -> JudgedMetric:
    return JudgedMetric("ROC AUC of rows with few orders", 300, paired(-0.02, -0.06, 0.01), 0.01, verdict)


CALIBRATED = JudgedMetric("calibration error of all rows", 1_000, paired(0, -0.01, 0.02), 0.02, Verdict.NOT_WORSE)
NO_WORSE = ChampionComparison(
    rows=1_000,
    headline_rows=500,
    confidence=0.95,
    headline=active(0.001, -0.01, 0.01),
    calibration=CALIBRATED,
    further={"Brier score": paired(0, -0.001, 0.001)},
    segments=(part(Verdict.CANNOT_TELL), JudgedMetric("tiny", 4, None, 0.01, Verdict.CANNOT_TELL)),
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
    assert [] == objections_to_replacing(NO_WORSE, SETTINGS)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"headline": active(0.001, -0.0101, 0.01)},
            r"ROC AUC of active rows .*\[-0.0101, \+0.0100\] on 500 rows: cannot tell whether it is worse by more "
            "than 0.01$",
        ),
        ({"headline": active(-0.03, -0.04, -0.02)}, "ROC AUC of active rows .*: worse by more than 0.01$"),
        ({"headline": active(float("nan"), float("nan"), float("nan"))}, "ROC AUC of active rows .*cannot tell"),
        (
            {"headline": JudgedMetric("ROC AUC of active rows", 30, None, 0.01, Verdict.CANNOT_TELL)},
            "ROC AUC of active rows too few rows on 30 rows: cannot tell",
        ),
        ({"calibration": replace(CALIBRATED, verdict=Verdict.WORSE)}, "calibration error .* worse by more than 0.02$"),
        ({"calibration": replace(CALIBRATED, verdict=Verdict.CANNOT_TELL)}, "calibration error .* cannot tell"),
        ({"segments": (part(Verdict.WORSE),)}, "with few orders .*: worse by more than 0.01$"),
        ({"changed_decisions": 0.101}, "10.1% of the decisions change, more than 10.0%"),
        ({"candidate_microseconds": {1: 51, 1_000: 500}}, "51 µs for 1 rows, the champion's 10: more than 5 times"),
        ({"candidate_microseconds": {1: 10, 1_000: 2_501}}, "2,501 µs for 1,000 rows"),
    ],
)
def test_each_bound_of_the_written_gate_is_held(change: dict[str, Any], said: str) -> None:
    (objection,) = objections_to_replacing(replace(NO_WORSE, **change), SETTINGS)

    assert re.search(said, objection)


def test_only_what_passed_or_was_forced_may_be_served() -> None:
    def version(**tags: str) -> ModelVersion:
        return ModelVersion("churn", "7", 0, tags=[ModelVersionTag(*tag) for tag in tags.items()])  # type: ignore[no-untyped-call]

    refuse_unpassed(version(**{GATE: PASSED}))
    refuse_unpassed(version(**{GATE: FORCED + "it is all there is"}))
    for verdict in ("ROC AUC 0.5 beats recency alone", "passed by"):
        with pytest.raises(ModelImportError, match=rf"'churn' version 7 did not pass the gate: {verdict}"):
            refuse_unpassed(version(**{GATE: verdict}))
    with pytest.raises(ModelImportError, match="the gate has no record of it"):
        refuse_unpassed(version())


@pytest.mark.parametrize(
    ("described", "said"),
    [("a:x", "'a:x': expected feature, or feature:number:number"), ("a:4:2", "the edges must ascend")],
)
def test_segments_that_cannot_be_made_are_refused_as_a_setting(described: str, said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainingSettings(segments=described)
