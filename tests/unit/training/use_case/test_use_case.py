"""The parts of a use case: baseline, populations, headline."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from training.churn.use_case import USE_CASE
from training.tasks import Binary, Multiclass, Regression, Task
from training.use_case import ByCategory, ByFeature, at_least, at_most

ROWS = pd.DataFrame({"x": np.arange(100, dtype=np.float32)})


@pytest.mark.parametrize("task", [Binary("y", ("no", "yes")), Regression("y")])
def test_a_baseline_by_a_feature_answers_its_value_times_the_scale(task: Task) -> None:
    baseline = ByFeature("x", scale=2).fitted(task, ROWS, np.zeros(100))

    assert [0.0, 6.0] == baseline(ROWS.iloc[[0, 3]]).tolist()


def test_a_baseline_of_several_classes_answers_the_rates_in_a_tenth_of_the_feature() -> None:
    labels = (np.arange(100) >= 50).astype(np.int64)
    baseline = ByFeature("x").fitted(Multiclass("y", ("low", "high", "never")), ROWS, labels)

    found = baseline(pd.DataFrame({"x": [-1e9, 5.0, 95.0, 1e9]}))

    # Ten rows, and one more of each class.
    np.testing.assert_allclose(found, [[11 / 13, 1 / 13, 1 / 13]] * 2 + [[1 / 13, 11 / 13, 1 / 13]] * 2)


def test_a_baseline_of_several_classes_takes_a_feature_that_is_constant() -> None:
    labels = np.arange(100) % 2
    constant = pd.DataFrame({"x": np.ones(100)})

    found = ByFeature("x").fitted(Multiclass("y", ("low", "high")), constant, labels)(constant)

    np.testing.assert_allclose(found, np.full((100, 2), 0.5))


def test_a_population_holds_its_bound_and_no_missing_value() -> None:
    values = np.array([1.0, 2.0, 3.0, np.nan])

    assert [True, True, False, False] == at_most("x", 2).contains(values).tolist()
    assert [False, True, True, False] == at_least("x", 2).contains(values).tolist()


def test_without_a_headline_all_rows_are_judged_by_the_tasks_usual_metric() -> None:
    assert ("active", "roc_auc") == USE_CASE.judged_by
    assert ("all", "roc_auc") == replace(USE_CASE, headline=None).judged_by
    assert ("all", "mae") == replace(USE_CASE, headline=None, task=Regression("y")).judged_by
    assert ("all", "log_loss") == replace(USE_CASE, headline=None, task=Multiclass("y", ("a", "b"))).judged_by


@pytest.mark.parametrize("task", [Binary("y", ("no", "yes")), Regression("y")])
def test_a_baseline_by_a_feature_takes_the_training_median_for_a_null(task: Task) -> None:
    trained = pd.DataFrame({"x": [1.0, np.nan, 3.0, 8.0]})

    found = ByFeature("x").fitted(task, trained, np.zeros(4))(pd.DataFrame({"x": [5.0, np.nan]}))

    assert [5.0, 3.0] == found.tolist()


def test_a_baseline_of_several_classes_takes_nulls() -> None:
    rows = pd.DataFrame({"x": [1.0, np.nan, 9.0]})

    found = ByFeature("x").fitted(Multiclass("y", ("low", "high")), rows, np.array([0, 1, 1]))(rows)

    assert np.isfinite(found).all()


CODES = pd.DataFrame({"plan": [0.0, 0.0, 1.0, -2.0]})


def test_a_baseline_by_a_category_answers_what_the_training_rows_of_its_value_were_like() -> None:
    asked = pd.DataFrame({"plan": [0.0, 1.0, -2.0, 7.0]})

    means = ByCategory("plan").fitted(Regression("y"), CODES, np.array([1.0, 3.0, 10.0, 6.0]))(asked)
    rates = ByCategory("plan").fitted(Binary("y", ("no", "yes")), CODES, np.array([True, False, True, True]))(asked)
    of_classes = ByCategory("plan").fitted(Multiclass("y", ("a", "b")), CODES, np.array([0, 1, 1, 1]))(asked)

    assert [2.0, 10.0, 6.0, 5.0] == means.tolist()
    np.testing.assert_allclose(rates, [2 / 4, 2 / 3, 2 / 3, 4 / 6])
    np.testing.assert_allclose(of_classes, [[2 / 4, 2 / 4], [1 / 3, 2 / 3], [1 / 3, 2 / 3], [2 / 6, 4 / 6]])
