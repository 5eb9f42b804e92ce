"""The gate for several classes and for values: the better side of a metric, its unit in margins, changed decisions."""

from dataclasses import replace

import numpy as np
import pytest

from scoring.evaluation import Floats, Labels, Scored
from training.churn.use_case import USE_CASE
from training.gate.comparison import TIMED_ROWS, ChampionComparison, ScoredVersion, compare
from training.gate.rules import measure, objections_to_replacing, verdict_on_gain
from training.gate.verdicts import Verdict
from training.settings import TrainingSettings
from training.tasks import Multiclass, Regression
from training.use_case import UseCase

N = 1_500
ALL = np.ones(N, dtype=bool)
SPEND = replace(USE_CASE, task=Regression("spend"), headline=None, populations={})
SEGMENT = replace(USE_CASE, task=Multiclass("segment", ("low", "middle", "high")), headline=None, populations={})
SETTINGS = TrainingSettings(
    bootstrap_resamples=100, max_auc_loss=0.5, max_calibration_loss=50, max_calibration_error=50, min_auc_margin=0
)
RANDOM = np.random.default_rng(4)
TRUE = RANDOM.exponential(40, N)
WANTED: Labels = RANDOM.integers(0, 3, N)


def spend(noise: float) -> Floats:
    """Predictions with a mean absolute error of about 0.8 times the noise."""
    found: Floats = TRUE + np.random.default_rng(5).normal(0, noise, N)
    return found


def segment(sharpness: float) -> Floats:
    """Probabilities that favour the right class, the more the sharper."""
    logits = sharpness * np.eye(3)[WANTED] + np.random.default_rng(6).normal(0, 1, (N, 3))
    found: Floats = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return found


def compared(
    case: UseCase, labels: Labels, champion: Floats, candidate: Floats, settings: TrainingSettings = SETTINGS
) -> ChampionComparison:
    before, now = (ScoredVersion(Scored(each), 100, dict.fromkeys(TIMED_ROWS, 10.0)) for each in (champion, candidate))
    return compare(case, labels, {"all": ALL}, before, now, {"first half": np.arange(N) < N // 2}, settings)


CASES = [
    pytest.param(SPEND, TRUE, spend(5), spend(20), "mean absolute error", id="regression"),
    pytest.param(SEGMENT, WANTED, segment(3), segment(1), "log loss", id="multiclass"),
]


@pytest.mark.parametrize(("case", "labels", "good", "bad", "metric"), CASES)
def test_a_lower_error_is_better_and_a_higher_one_worse(
    case: UseCase, labels: Labels, good: Floats, bad: Floats, metric: str
) -> None:
    settings = SETTINGS.model_copy(update={"max_auc_loss": 0.01, "max_segment_auc_loss": 0.01})
    better = compared(case, labels, bad, good, settings)
    worse = compared(case, labels, good, bad, settings)

    assert (Verdict.BETTER, Verdict.WORSE) == (better.headline.verdict, worse.headline.verdict)
    assert [Verdict.BETTER, Verdict.WORSE] == [found.segments[0].verdict for found in (better, worse)]
    assert f"{metric} of all rows" == better.headline.what
    paired = better.headline.paired
    assert paired is not None
    assert paired.difference.high < 0  # as it is printed; the verdict knows the side
    assert any(said.startswith(f"{metric} of all rows") for said in objections_to_replacing(worse, settings))


def test_a_margin_is_in_the_unit_of_the_metric() -> None:
    dollar_worse = compared(SPEND, TRUE, spend(5), spend(5.4))

    assert Verdict.NOT_WORSE is dollar_worse.headline.verdict
    assert (
        Verdict.WORSE
        is compared(
            SPEND, TRUE, spend(5), spend(5.4), SETTINGS.model_copy(update={"max_auc_loss": 0.1})
        ).headline.verdict
    )


def test_a_decision_changes_with_the_class_or_by_a_tenth_of_the_scale() -> None:
    swapped = segment(3)
    swapped[:150] = swapped[:150][:, [1, 2, 0]]
    scale = np.abs(TRUE - np.median(TRUE)).mean()
    moved = TRUE + np.where(np.arange(N) < 300, 0.11, 0.09) * scale

    assert pytest.approx(0.1) == compared(SEGMENT, WANTED, segment(3), swapped).changed_decisions
    assert pytest.approx(0.2) == compared(SPEND, TRUE, TRUE, moved).changed_decisions


@pytest.mark.parametrize(("case", "labels", "good", "bad", "metric"), CASES)
def test_a_gain_over_the_baseline_is_positive_where_the_error_is_lower(
    case: UseCase, labels: Labels, good: Floats, bad: Floats, metric: str
) -> None:
    gained = measure(case, labels, {"all": ALL}, bad, good, SETTINGS)
    lost = measure(case, labels, {"all": ALL}, good, bad, SETTINGS)

    assert metric == gained.metric.title
    assert gained.gain.low > 0 > lost.gain.high
    assert pytest.approx(gained.headline.champion - gained.headline.candidate) == gained.gain.value
    assert f"all_{gained.metric.name}_gain" in gained.estimates
    assert (Verdict.BETTER, Verdict.WORSE) == (verdict_on_gain(gained, 0), verdict_on_gain(lost, 0))
    assert Verdict.BETTER is not verdict_on_gain(gained, gained.gain.value + 1)
