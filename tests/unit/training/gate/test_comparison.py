"""Two versions on the same customers: the differences are those that were built in, and their intervals are paired."""

import numpy as np
import pandas as pd
import pytest

from contract import FeatureInput
from scoring.evaluation import BINARY, Bools, Floats, PairedEstimate, Scored, bootstrap, evaluate
from tests.models.mixed_model import mixed_inputs
from training.churn.use_case import USE_CASE
from training.errors import DatasetError
from training.gate.comparison import TIMED_ROWS, ChampionComparison, ScoredVersion, compare, segments_of, time_calls
from training.gate.verdicts import JudgedMetric, Verdict
from training.settings import TrainingSettings

N = 1_500
ORDERS = "customer_lifetime__order_count"
SETTINGS = TrainingSettings(bootstrap_resamples=100, seed=3)
TIMES = {1: 10.0, 1_000: 500.0}


def customers(seed: int = 1) -> tuple[Bools, Floats]:
    """Who churned, and the log-odds that decided it."""
    random = np.random.default_rng(seed)
    log_odds = random.normal(0, 1.5, N)
    return random.random(N) < 1 / (1 + np.exp(-log_odds)), log_odds


def probability(log_odds: Floats) -> Floats:
    found: Floats = 1 / (1 + np.exp(-log_odds))
    return found


def scored(log_odds: Floats, threshold: float = 0.5) -> ScoredVersion:
    return ScoredVersion(Scored(probability(log_odds), threshold), compiled_bytes=100, microseconds=TIMES)


def compared(champion: ScoredVersion, candidate: ScoredVersion, **segments: Bools) -> ChampionComparison:
    churned, _ = customers()
    populations = {"all": np.ones(N, dtype=bool), "active": np.arange(N) % 2 == 0}
    return compare(USE_CASE, churned, populations, champion, candidate, segments, SETTINGS)


def measured(judged: JudgedMetric) -> PairedEstimate:
    assert judged.paired is not None
    return judged.paired


def category(name: str, values: list[str]) -> FeatureInput:
    plan = mixed_inputs()[0]
    counts = {"training": (1,) * len(values), "null_rate": 0.0}
    counts |= {"histogram": {"counts": (1,) * len(values), "unseen": 0, "missing": 0}}
    changed = {"name": name, "vocabulary": values, "default": values[0], "distribution": counts}
    return FeatureInput.model_validate({**plan.model_dump(), **changed})


def test_a_version_held_against_itself_differs_in_nothing() -> None:
    _, log_odds = customers()

    found = compared(scored(log_odds), scored(log_odds), all=np.ones(N, dtype=bool))

    for paired in (found.further["Brier score"], *map(measured, found.judged)):
        assert (0, 0, 0) == (paired.difference.value, paired.difference.low, paired.difference.high)
    assert {Verdict.NOT_WORSE} == {judged.verdict for judged in found.judged}
    assert (0, 0) == (found.changed_decisions, found.mean_change)
    assert pytest.approx(1) == found.rank_correlation
    assert (N, N // 2) == (found.rows, found.headline_rows)


def test_a_version_that_knows_less_is_worse_with_an_interval_below_zero() -> None:
    _, log_odds = customers()
    noisy = log_odds + np.random.default_rng(9).normal(0, 2, N)

    found = compared(scored(log_odds), scored(noisy))

    headline = measured(found.headline)
    assert headline.difference.high < 0 < found.further["Brier score"].difference.low
    assert headline.difference.value == headline.candidate - headline.champion
    assert Verdict.WORSE is found.headline.verdict
    assert found.mean_change > 0.1
    assert 0.3 < found.rank_correlation < 0.9


def test_probabilities_that_are_worse_calibrated_are_called_so_and_better_ones_better() -> None:
    _, log_odds = customers()
    calibrated, overconfident = scored(log_odds), scored(4 * log_odds)

    assert Verdict.WORSE is compared(calibrated, overconfident).calibration.verdict
    assert Verdict.BETTER is compared(overconfident, calibrated).calibration.verdict
    assert Verdict.NOT_WORSE is compared(calibrated, overconfident).headline.verdict  # it ranks as the other does


def test_the_interval_of_a_difference_is_paired_and_thereby_narrower_than_either_ones() -> None:
    churned, log_odds = customers()
    nearly = log_odds + np.random.default_rng(9).normal(0, 0.1, N)
    arguments = BINARY.for_baseline, 100, 3

    difference = measured(compared(scored(log_odds), scored(nearly)).headline).difference

    active = np.arange(N) % 2 == 0
    alone = evaluate(churned[active], probability(nearly)[active], *arguments)["roc_auc"]
    assert difference.high - difference.low < (alone.high - alone.low) / 3


def test_decisions_are_each_versions_own() -> None:
    _, log_odds = customers()
    found = compared(scored(log_odds), scored(log_odds, threshold=0.7))

    between = ((probability(log_odds) >= 0.5) & (probability(log_odds) < 0.7)).mean()
    assert between == found.changed_decisions
    assert 0 == found.mean_change


def test_a_fault_in_one_part_of_the_customers_shows_there_and_not_in_the_other() -> None:
    _, log_odds = customers()
    part = np.arange(N) < 500
    faulty = np.where(part, -log_odds, log_odds)

    inside, outside = compared(scored(log_odds), scored(faulty), inside=part, outside=~part).segments

    assert measured(inside).difference.high < -0.3
    assert 0 == measured(outside).difference.value
    assert (Verdict.WORSE, Verdict.NOT_WORSE) == (inside.verdict, outside.verdict)
    assert (500, 1_000) == (inside.rows, outside.rows)


def test_a_part_with_a_handful_of_one_kind_is_counted_and_not_measured() -> None:
    churned, log_odds = customers()
    part = churned & (np.arange(N) < 200)

    (found,) = compared(scored(log_odds), scored(log_odds), part=part).segments

    assert (int(part.sum()), None, Verdict.CANNOT_TELL) == (found.rows, found.paired, found.verdict)
    assert "too few" in str(compared(scored(log_odds), scored(log_odds), part=part))


def test_a_constant_score_correlates_with_nothing() -> None:
    _, log_odds = customers()

    assert 0 == compared(scored(log_odds), scored(np.zeros(N))).rank_correlation


def test_segments_are_terciles_or_lie_between_the_edges_and_hold_everybody_once() -> None:
    matrix = pd.DataFrame({"r": np.arange(9.0), ORDERS: [1, 1, 2, 3, 3, 4, 5, 9, 1]})

    found = segments_of(matrix, f"r {ORDERS}:2:4")

    assert [3, 3, 3, 3, 3, 3] == [int(mask.sum()) for mask in found.values()]
    assert [f"{ORDERS} < 2", f"{ORDERS} from 2 to < 4", f"{ORDERS} ≥ 4"] == list(found)[3:]
    assert (np.sum(list(found.values())[:3], axis=0) == 1).all()


def test_a_segment_of_a_feature_that_the_model_does_not_take_is_refused() -> None:
    with pytest.raises(DatasetError, match="TRAINING_SEGMENTS: 'not__there' is not an input"):
        segments_of(pd.DataFrame({"r": [1.0]}), "r:1 not__there")


def test_calls_are_timed_in_turns_by_number_of_rows() -> None:
    called: list[tuple[str, int]] = []

    found = time_calls({"a": lambda n: called.append(("a", n)), "b": lambda n: called.append(("b", n))}, rounds=2)

    assert [(name, rows) for rows in TIMED_ROWS for _ in range(2) for name in "ab"] == called
    assert all(found[name][rows] > 0 for name in "ab" for rows in TIMED_ROWS)


def test_a_bootstrap_covers_a_known_mean_about_as_often_as_it_says() -> None:
    random = np.random.default_rng(1)

    def covers(seed: int) -> bool:
        drawn = random.normal(5, 2, 80)
        found = bootstrap(lambda weights: {"mean": float(np.average(drawn, weights=weights))}, 80, 100, seed)["mean"]
        return found.low <= 5 <= found.high

    assert 88 <= sum(covers(seed) for seed in range(100)) <= 100


def test_a_category_is_segmented_by_value_and_nulls_are_a_segment_of_their_own() -> None:
    codes = [0, 0, 2, 2, 2, 1, 4, 3, 3, -1, -2, 5, 6, 7, 8, 9, 10, 11]
    inputs = (category("plan", [f"plan {code:02d}" for code in range(12)]),)
    matrix = pd.DataFrame({"plan": codes, "age": [np.nan, *np.arange(17)]}, dtype=np.float32)

    found = segments_of(matrix, "plan age", inputs)

    assert [f"plan = plan {code:02d}" for code in range(10)] == list(found)[:10]
    rows = {name: int(mask.sum()) for name, mask in found.items()}
    assert [2, 1, 1] == [rows[f"plan {rest}"] for rest in ("of another value", "unseen", "null")]
    assert (3, 1) == (rows["plan = plan 02"], rows["age null"])
    assert ["age < 5.33333", "age from 5.33333 to < 10.6667", "age ≥ 10.6667", "age null"] == list(found)[13:]
