"""Labels of a split that no model or interval can be made of are refused with population and counts."""

import numpy as np
import pandas as pd
import pytest

from scoring.evaluation import Labels
from training.data.dataset import LabelledRows
from training.errors import DatasetError
from training.fit import Split, check_classes, check_labels
from training.tasks import Binary, Multiclass, Regression, Task
from training.use_case import at_most

CHURN = Binary("churn", ("retained", "churned"))
ORDERS = Multiclass("orders", ("none", "one", "more"))


def split(labels: Labels) -> Split:
    matrix = pd.DataFrame({"x": np.arange(len(labels), dtype=np.float32)})
    rows = LabelledRows(pd.DataFrame(), matrix.astype(np.float64), labels, {})
    return Split.of(rows, matrix, (), {"early": at_most("x", 19)})


def test_a_split_has_a_mask_for_each_population_and_for_all() -> None:
    found = split(np.arange(40) % 2 == 0).populations

    assert {"all": 40, "early": 20} == {name: int(mask.sum()) for name, mask in found.items()}


@pytest.mark.parametrize(
    ("task", "labels", "said"),
    [
        (CHURN, np.zeros(100, dtype=bool), "training split, population 'all': .*at least 20 of each are needed"),
        (CHURN, np.arange(100) >= 30, "training split, population 'early': .*at least 20 of each are needed"),
        (
            ORDERS,
            np.zeros(100, dtype=np.int64),
            "training split, population 'all': .*of each of two classes are needed",
        ),
        (Regression("spend"), np.zeros(100), "training split, population 'all': .*with a target other than 0"),
    ],
)
def test_too_few_rows_of_a_class_are_refused_by_split_and_population(task: Task, labels: Labels, said: str) -> None:
    with pytest.raises(DatasetError, match=said):
        check_labels("training", split(labels), task)


def test_labels_of_another_type_than_the_tasks_are_an_error_of_the_data() -> None:
    with pytest.raises(DatasetError, match="training split, population 'all': "):
        check_labels("training", split(np.arange(100)), CHURN)


def test_a_class_without_a_training_row_is_refused_by_name() -> None:
    check_classes(split(np.arange(90) % 3), ORDERS)
    check_classes(split(np.arange(90.0)), Regression("spend"))
    with pytest.raises(DatasetError, match=r"^training split: 'orders' is never more; a model cannot learn it$"):
        check_classes(split(np.arange(90) % 2), ORDERS)
