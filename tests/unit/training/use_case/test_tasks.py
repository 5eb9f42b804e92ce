"""Labels, scores and promised task of each kind of use case."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from contract import BinaryTask, MulticlassTask, RegressionTask
from training.errors import DatasetError, UseCaseError
from training.tasks import Binary, Multiclass, Regression, Task

CHURN = Binary("churn", ("retained", "churned"))
ORDERS = Multiclass("orders", ("none", "one", "more"))
SPEND = Regression("spend", at_least=0, at_most=100, unit="USD")


@dataclass(frozen=True)
class Answers:
    """A pipeline that says the same whatever it is given."""

    said: Any

    def predict_proba(self, _: pd.DataFrame) -> Any:
        return np.array(self.said)

    predict = predict_proba


@pytest.mark.parametrize(
    ("task", "column", "expected"),
    [
        (CHURN, [True, False], [True, False]),
        (CHURN, pd.array([True, False], "boolean"), [True, False]),
        (CHURN, pd.Series([True, False], dtype=object), [True, False]),  # as beside nulls that were left out
        (CHURN, ["churned", "retained"], [True, False]),
        (CHURN, pd.Categorical(["churned", "retained"]), [True, False]),
        (ORDERS, ["more", "none", "one"], [2, 0, 1]),
        (SPEND, [1, 2], [1.0, 2.0]),
        (SPEND, pd.array([1, 2], "Int64"), [1.0, 2.0]),
        (SPEND, pd.Series([1, 2], dtype=object), [1.0, 2.0]),
    ],
)
def test_a_column_becomes_labels_of_the_tasks_type(task: Task, column: Any, expected: list[Any]) -> None:
    found = task.labels(pd.Series(column))

    assert expected == found.tolist()
    assert {"binary": "bool", "multiclass": "int64", "regression": "float64"}[task.kind] == str(found.dtype)


@pytest.mark.parametrize(
    ("task", "column", "said"),
    [
        (CHURN, ["churned", "left"], "labels: 'churn' has 'left', which is not one of the classes retained, churned"),
        (CHURN, [0, 1], "labels: 'churn' has 0, which is not one of the classes retained, churned"),
        (CHURN, [True, None], "labels: 'churn' has null, which is not one of the classes retained, churned"),
        (SPEND, pd.Series([1, None], dtype=object), "labels: 'spend' is null or infinite in 1 of 2 rows"),
        (CHURN, pd.array([True, None], "boolean"), "labels: 'churn' has null"),
        (ORDERS, ["none", None], "labels: 'orders' has null, which is not one of the classes none, one, more"),
        (ORDERS, ["none", "four"], "labels: 'orders' has 'four'"),
        (
            SPEND,
            [True, False],
            "labels: 'spend' is bool; a regression needs numbers, a Binary",
        ),
        (
            SPEND,
            pd.array([True, False], "boolean"),
            "labels: 'spend' is boolean; a regression needs numbers, a Binary",
        ),
        (
            SPEND,
            pd.Series(["1", "2"], dtype=object),
            "labels: 'spend' is object; a regression needs numbers, a Binary",
        ),
        (SPEND, [1.0, None], "labels: 'spend' is null or infinite in 1 of 2 rows"),
        (SPEND, pd.array([1, None], "Int64"), "labels: 'spend' is null or infinite in 1 of 2 rows"),
        (SPEND, [1.0, np.inf], "labels: 'spend' is null or infinite in 1 of 2 rows"),
    ],
)
def test_a_column_that_does_not_fit_the_task_is_refused_by_name(task: Task, column: Any, said: str) -> None:
    with pytest.raises(DatasetError) as raised:
        task.labels(pd.Series(column))

    assert str(raised.value).startswith(said)


def test_scores_have_the_shape_of_the_task_and_a_regressions_are_within_its_bounds() -> None:
    rows = pd.DataFrame({"x": [0.0, 1.0]})

    assert [0.25, 0.5] == CHURN.scores(Answers([[0.75, 0.25], [0.5, 0.5]]), rows).tolist()
    assert (2, 3) == ORDERS.scores(Answers([[0.5, 0.25, 0.25], [0, 0, 1]]), rows).shape
    assert [0.0, 100.0] == SPEND.scores(Answers([[-5.0], [500.0]]), rows).tolist()
    assert [-5.0, 500.0] == Regression("spend").scores(Answers([-5.0, 500.0]), rows).tolist()


def test_each_task_promises_what_the_contract_calls_it() -> None:
    labels, scores = np.array([False, True]), np.array([0.2, 0.7])

    promised = CHURN.promised(labels, scores)

    assert isinstance(promised, BinaryTask)
    assert (("retained", "churned"), 0.7) == (promised.classes, promised.threshold.value)
    assert MulticlassTask(classes=ORDERS.classes) == ORDERS.promised(labels, scores)
    assert RegressionTask(at_least=0, at_most=100, unit="USD") == SPEND.promised(labels, scores)


@pytest.mark.parametrize("value", [-0.1, 1.1, np.nan])
def test_a_threshold_that_is_no_probability_is_refused_by_name(value: float) -> None:
    task = Binary("churn", ("retained", "churned"), threshold=lambda _labels, _scores: value)

    with pytest.raises(UseCaseError, match=f"task: threshold: {value:g} is no probability"):
        task.promised(np.array([False, True]), np.array([0.2, 0.7]))
