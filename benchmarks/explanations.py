"""One row's explanation by the trees of `scoring.explanation`, beside shap's."""

import time
from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import numpy as np
import shap
from numpy.typing import NDArray
from sklearn import ensemble

from benchmarks.markdown import table
from scoring.explanation.additive_scores import AdditiveScores
from scoring.explanation.tree_models import tree_scores

ROWS, COLUMNS = 5_000, 12

MODELS: Final = {
    "histogram boosting, 100 trees of 8 leaves": lambda: ensemble.HistGradientBoostingClassifier(max_leaf_nodes=8),
    "histogram boosting, 200 trees of 31 leaves": lambda: ensemble.HistGradientBoostingClassifier(max_iter=200),
    "gradient boosting, 100 trees of depth 3": ensemble.GradientBoostingClassifier,
    "random forest, 100 trees of depth 8": lambda: ensemble.RandomForestClassifier(max_depth=8),
    "random forest, 100 trees without a limit": ensemble.RandomForestClassifier,
    "extra trees, 100 trees without a limit": ensemble.ExtraTreesClassifier,
}


def measured(rounds: int) -> str:
    """Measure each model: a table of medians in milliseconds, their ratio, and the largest difference.

    Args:
        rounds: explanations of one row by each, in turns.
    """
    random = np.random.default_rng(1)
    rows = random.normal(size=(ROWS, COLUMNS)).astype(np.float32)
    labels = rows[:, 0] * rows[:, 1] + rows[:, 2] + random.normal(size=ROWS) > 0
    lines = [
        _measured(name, made().set_params(random_state=1).fit(rows, labels), rows, rounds)
        for name, made in MODELS.items()
    ]
    return table(("model", "ours, ms", "shap, ms", "ratio", "largest difference", "made in, s"), lines, left=1)


def _measured(name: str, model: Any, rows: NDArray[np.float32], rounds: int) -> tuple[str, ...]:
    start = time.perf_counter()
    contributions = cast(AdditiveScores, tree_scores(model)).contributions
    made = time.perf_counter() - start
    explainer = shap.TreeExplainer(model, feature_perturbation="tree_path_dependent")

    def of_shap(given: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.asarray(explainer.shap_values(given, check_additivity=False), dtype=np.float64)

    some = rows[:50]
    theirs = of_shap(some).reshape(*some.shape, -1)[:, :, -1]
    difference = np.abs(contributions(some)[:, :, -1] - theirs).max()
    one, other = _medians([lambda: contributions(rows[:1]), lambda: of_shap(rows[:1])], rounds)
    return (name, f"{one:.2f}", f"{other:.2f}", f"{one / other:.1f}", f"{difference:.0e}", f"{made:.1f}")


def _medians(calls: Sequence[Callable[[], object]], rounds: int) -> list[float]:
    """Milliseconds of each; the calls take turns, after one that is not counted."""
    took: list[list[float]] = [[] for _ in calls]
    for _ in range(rounds + 1):
        for call, times in zip(calls, took, strict=True):
            start = time.perf_counter()
            call()
            times.append(time.perf_counter() - start)
    return [1000 * float(np.median(times[1:])) for times in took]
