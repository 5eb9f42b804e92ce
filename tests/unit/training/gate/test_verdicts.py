"""What intervals show, and how often the gate is wrong about simulated customers whose truth is known."""

import math
from collections import Counter

import numpy as np
import pytest

from benchmarks.simulations.gate_power import ALIKE, BASELINE, draw, draw_pair, headline_of, on_its_own
from scoring.evaluation import BINARY, Estimate, evaluate, standard_error_interval
from training.gate.rules import verdict_on_gain
from training.gate.verdicts import Verdict, improvement, verdict_on
from training.settings import TrainingSettings

SETTINGS = TrainingSettings(bootstrap_resamples=100)
NOMINAL = (1 - SETTINGS.gate_confidence) / 2
MARGIN = SETTINGS.max_auc_loss
BRIER, ROC_AUC = BINARY.metric("brier"), BINARY.metric("roc_auc")


def at_most(rate: float, trials: int) -> float:
    """What a true rate exceeds in a thousandth of the cases, nearly: so many of the trials."""
    return trials * rate + 3.1 * math.sqrt(trials * rate * (1 - rate))


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.001, 0.02, Verdict.BETTER),
        (0.0, 0.02, Verdict.NOT_WORSE),
        (-0.01, 0.02, Verdict.NOT_WORSE),
        (-0.009, -0.001, Verdict.NOT_WORSE),
        (-0.011, 0.02, Verdict.CANNOT_TELL),
        (-0.02, -0.01, Verdict.CANNOT_TELL),
        (-0.02, -0.011, Verdict.WORSE),
        (math.nan, math.nan, Verdict.CANNOT_TELL),
        (0.0, 0.0, Verdict.NOT_WORSE),
    ],
)
def test_a_verdict_follows_from_where_the_interval_lies(low: float, high: float, verdict: Verdict) -> None:
    found = Estimate((low + high) / 2, low, high)

    assert verdict is verdict_on(found, margin=0.01)
    assert verdict is verdict_on(improvement(BRIER, Estimate(-found.value, -high, -low)), margin=0.01)
    assert verdict is verdict_on(improvement(ROC_AUC, found), margin=0.01)


def test_without_an_interval_nothing_can_be_told() -> None:
    assert Verdict.CANNOT_TELL is verdict_on(None, margin=0.01)


@pytest.mark.parametrize("size", [100, 400])
def test_a_candidate_that_is_worse_by_the_margin_passes_no_more_often_than_is_nominal(size: int) -> None:
    random, trials = np.random.default_rng(5), 200
    said = Counter(
        headline_of(customers, SETTINGS).verdict
        for customers in (draw_pair(size, -MARGIN, ALIKE, random) for _ in range(trials))
    )

    assert said[Verdict.BETTER] + said[Verdict.NOT_WORSE] <= at_most(NOMINAL, trials)


@pytest.mark.parametrize("size", [69, 400])
def test_a_model_that_is_no_better_than_recency_alone_passes_no_more_often_than_is_nominal(size: int) -> None:
    random, trials = np.random.default_rng(6), 200
    lucky = sum(
        verdict_on_gain(on_its_own(draw_pair(size, 0.0, BASELINE, random), SETTINGS), 0) is Verdict.BETTER
        for _ in range(trials)
    )

    assert lucky <= at_most(NOMINAL, trials)


def test_an_equal_candidate_passes_where_there_are_rows_enough_and_not_on_a_few() -> None:
    random = np.random.default_rng(7)

    def passed(size: int) -> int:
        found = (headline_of(draw_pair(size, 0.0, ALIKE, random), SETTINGS) for _ in range(20))
        return sum(headline.passes for headline in found)

    assert passed(6_000) >= 19
    assert passed(100) <= 3


def test_a_small_gain_over_recency_alone_is_found_where_there_are_rows_enough() -> None:
    random = np.random.default_rng(8)
    found = [on_its_own(draw_pair(20_000, 0.013, BASELINE, random), SETTINGS) for _ in range(10)]

    assert all(verdict_on_gain(measured, 0) is Verdict.BETTER for measured in found)


@pytest.mark.parametrize("size", [300, 3_000])
def test_much_of_what_chance_adds_to_a_calibration_error_is_taken_off_and_a_true_one_stays(size: int) -> None:
    random, metrics = np.random.default_rng(9), {"error": BINARY.calibration}

    def measured(shift: float, corrected: bool) -> list[Estimate]:
        found = []
        for _ in range(60):
            customers = draw(size, 0.72, 0.72, ALIKE, random)
            moved = customers.now + shift * (1 - customers.now)
            interval = standard_error_interval(SETTINGS.gate_confidence, corrected)
            found.append(evaluate(customers.churned, moved, metrics, 60, 1, interval=interval)["error"])
        return found

    plain, perfect, moved = measured(0, corrected=False), measured(0, corrected=True), measured(0.25, corrected=True)
    assert np.mean([each.value for each in perfect]) < 0.7 * np.mean([each.value for each in plain])
    # The rate is 0.6: all probabilities are 0.1 too high on average.
    assert np.mean([each.value for each in moved]) == pytest.approx(0.1, abs=0.5 / math.sqrt(size))
    assert sum(each.low > 0.05 for each in perfect) <= at_most(NOMINAL, 60)
    assert sum(each.high <= 0.05 for each in moved) <= at_most(NOMINAL, 60)
