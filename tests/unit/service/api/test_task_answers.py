"""`POST /invocations` answers what the model's pipeline says, for each task."""

import json

import numpy as np
import pytest

from contract import BinaryTask, DecisionThreshold, MulticlassTask, RegressionTask
from service.api.members.task_answers import task_answers
from service.errors import InvalidRequestError

BINARY = BinaryTask(classes=("no", "yes"), threshold=DecisionThreshold(value=0.5, rule="given by the test"))
MULTICLASS = MulticlassTask(classes=("few", "some", "many"))
REGRESSION = RegressionTask(at_least=0.0, at_most=10.0)


def test_a_binary_answer_has_both_classes_as_predict_proba_has_them() -> None:
    probabilities = np.array([0.25, 0.9707947373390198], dtype=np.float32)

    answer = task_answers(BINARY).of_invocations(probabilities)

    assert {"predictions": [[0.75, 0.25], [0.029205262660980225, 0.9707947373390198]]} == json.loads(json.dumps(answer))


def test_a_multi_class_answer_has_every_class_as_predict_proba_has_them() -> None:
    probabilities = np.array([[0.25, 0.5, 0.25], [1, 0, 0]], dtype=np.float32)

    assert {"predictions": [[0.25, 0.5, 0.25], [1, 0, 0]]} == task_answers(MULTICLASS).of_invocations(probabilities)


def test_a_regression_answer_has_the_models_own_values_beyond_the_contracts_bounds_too() -> None:
    assert {"predictions": [-2.5, 12.0]} == task_answers(REGRESSION).of_invocations(np.array([-2.5, 12], np.float32))


def test_a_score_that_is_no_number_is_not_an_answer() -> None:
    with pytest.raises(InvalidRequestError, match="no probability") as binary:
        task_answers(BINARY).of_invocations(np.array([0.5, np.nan, 0.5], dtype=np.float32))
    with pytest.raises(InvalidRequestError, match="no probability") as multiclass:
        task_answers(MULTICLASS).of_invocations(np.array([[0.5, 0.5, 0], [0.5, np.nan, 0.5]], dtype=np.float32))
    with pytest.raises(InvalidRequestError, match="no value") as regression:
        task_answers(REGRESSION).of_invocations(np.array([0.5, np.inf], dtype=np.float32))

    assert ["1"] * 3 == [raised.value.field for raised in (binary, multiclass, regression)]
