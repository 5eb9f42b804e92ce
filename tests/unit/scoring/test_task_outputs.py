"""Each task's outputs are made from the scores by one rule, in every plane."""

import numpy as np
import pytest

from contract import MulticlassTask, RegressionTask, outputs_of
from scoring.task_outputs import BinaryOutputs, MulticlassOutputs, RegressionOutputs, task_outputs
from tests.unit.contract.builders import contract


def test_a_contract_names_its_rules() -> None:
    departments = contract(task=MulticlassTask(classes=("a", "b")), outputs=outputs_of("multiclass", "department"))
    spend = contract(task=RegressionTask(at_least=0.0), outputs=outputs_of("regression", "spend"))

    assert BinaryOutputs(0.5) == task_outputs(contract())
    assert MulticlassOutputs(("a", "b")) == task_outputs(departments)
    assert RegressionOutputs(0.0, None) == task_outputs(spend)


def test_a_binary_decision_is_positive_from_the_threshold_on() -> None:
    task = BinaryOutputs(0.5)

    assert [(0.25, False), (0.5, True), (0.75, True)] == task.values(task.of(np.array([0.25, 0.5, 0.75])))


def test_a_multiclass_answer_names_every_class_and_the_likeliest_one() -> None:
    task = MulticlassOutputs(("none", "one", "many"))

    values = task.values(task.of(np.array([[0.25, 0.5, 0.25], [0.5, 0.5, 0.0]])))

    assert [
        ({"none": 0.25, "one": 0.5, "many": 0.25}, "one"),
        ({"none": 0.5, "one": 0.5, "many": 0.0}, "none"),
    ] == values
    assert 3 == task.score_width


@pytest.mark.parametrize(
    ("task", "answered"),
    [
        (RegressionOutputs(None, None), [-3.0, 2.0, 90.0]),
        (RegressionOutputs(0.0, None), [0.0, 2.0, 90.0]),
        (RegressionOutputs(None, 10.0), [-3.0, 2.0, 10.0]),
        (RegressionOutputs(0.0, 10.0), [0.0, 2.0, 10.0]),
    ],
)
def test_a_value_beyond_a_bound_is_answered_as_the_bound(task: RegressionOutputs, answered: list[float]) -> None:
    assert [(value,) for value in answered] == task.values(task.of(np.array([-3.0, 2.0, 90.0])))
