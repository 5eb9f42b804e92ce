"""What becomes of a row follows from its features' states and its probability, in every plane alike."""

import numpy as np
import pytest

from contract import RawFeatures, Resolver
from scoring.outcomes import Outcomes, outcomes, statuses_of
from scoring.task_outputs import BinaryOutputs
from tests.models.fakes import ACTIVITY_TTL, DAYS_SINCE, DEFAULTS, NOW, small_contract

FRESH, OLD, NO_ROW = NOW - 10.0, NOW - ACTIVITY_TTL - 1, np.nan


def decided(
    probability: float,
    *,
    event_times: tuple[float, float] = (FRESH, FRESH),
    days_since: float = 5.0,
    refuse_missing: bool = False,
    threshold: float = 0.5,
) -> Outcomes:
    policies = {DAYS_SINCE: {"on_missing": "refuse"}} if refuse_missing else None
    values = np.full((1, len(DEFAULTS)), 1.0)
    values[0, list(DEFAULTS).index(DAYS_SINCE)] = days_since
    raw = RawFeatures(values, np.array([event_times]))
    resolved = Resolver.of(small_contract(policies=policies)).resolve(raw, NOW)
    return outcomes(resolved, np.array([probability], dtype=np.float32), BinaryOutputs(threshold))


def status(made: Outcomes) -> str:
    return statuses_of(small_contract())[int(made.statuses[0])]


def test_a_row_whose_features_are_all_fresh_is_ok() -> None:
    assert "ok" == status(decided(0.4))


def test_a_row_with_a_stale_feature_is_scored_and_degraded() -> None:
    made = decided(0.4, event_times=(FRESH, OLD))

    assert ("degraded", True) == (status(made), bool(made.scored[0]))


def test_a_missing_feature_degrades_or_refuses_as_the_contract_says() -> None:
    assert "degraded" == status(decided(0.4, days_since=np.nan))
    assert "refused" == status(decided(0.4, days_since=np.nan, refuse_missing=True))
    assert not decided(0.4, days_since=np.nan, refuse_missing=True).scored[0]


@pytest.mark.parametrize("probability", [np.nan, np.inf])
def test_a_row_without_a_probability_is_refused(probability: float) -> None:
    assert "refused" == status(decided(probability))


def test_a_customer_without_any_row_is_unknown_whatever_the_model_said() -> None:
    assert "unknown_customer" == status(decided(0.9, event_times=(NO_ROW, NO_ROW)))
    assert "unknown_customer" == status(decided(np.nan, event_times=(NO_ROW, NO_ROW), days_since=np.nan))


def test_the_decision_is_taken_on_the_probability_as_it_is_answered() -> None:
    as_answered = float(np.float32(0.7))

    assert decided(0.7, threshold=as_answered).outputs[1][0]
    assert not decided(0.7, threshold=np.nextafter(as_answered, 1)).outputs[1][0]
