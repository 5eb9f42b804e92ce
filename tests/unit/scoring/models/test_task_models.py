"""Models of several classes and of numbers are scored as scikit-learn does, and other models are refused by name."""

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from contract import ModelContract
from contract.tasks import TaskKind
from scoring.agreement import CONVERTED, RECOMPUTED, deviations
from scoring.errors import ModelError
from scoring.models.onnx_scorer import onnx_scorer
from tests.models.fakes import contract_of, small_contract, small_pipeline, store_model, training_rows
from training.compilation.onnx_model import compile_to_onnx

KINDS: tuple[TaskKind, ...] = get_args(TaskKind)
ROWS = training_rows(seed=9, rows=50)[0]


def expected(kind: TaskKind) -> Any:
    pipeline = small_pipeline(kind)
    if kind == "regression":
        return pipeline.predict(ROWS)
    probabilities = pipeline.predict_proba(ROWS)
    return probabilities[:, 1] if kind == "binary" else probabilities


@pytest.mark.parametrize("runtime", ["onnx", "sklearn"])
@pytest.mark.parametrize("kind", KINDS)
def test_scores_are_scikit_learns(tmp_path: Path, kind: TaskKind, runtime: str) -> None:
    model = store_model(tmp_path, contract_of(kind), runtime=runtime).load()

    scores = model.score(ROWS.to_numpy(np.float32))

    assert np.dtype(np.float32) == scores.dtype
    assert expected(kind).shape == scores.shape
    assert deviations(expected(kind), scores).max() <= CONVERTED


@pytest.mark.parametrize("kind", KINDS)
def test_the_number_of_rows_in_a_batch_does_not_move_a_score(tmp_path: Path, kind: TaskKind) -> None:
    model = store_model(tmp_path, contract_of(kind)).load()
    matrix = ROWS.to_numpy(np.float32)

    alone = np.concatenate([model.score(matrix[row : row + 1]) for row in range(len(matrix))])

    assert deviations(model.score(matrix), alone).max() <= RECOMPUTED[kind]


WRONG: list[tuple[ModelContract, TaskKind, str, str]] = [
    (contract_of("regression"), "binary", "one is expected, the predicted value", "tells classes apart"),
    (contract_of("regression"), "multiclass", "one is expected, the predicted value", "tells classes apart"),
    (contract_of("multiclass"), "regression", "two are expected, .* of low, middle and high", "Ridge gives no"),
    (contract_of("multiclass"), "binary", r"\(2, 3\) is expected, .* low, middle and high", "3 classes are expected"),
    (small_contract(), "multiclass", r"\(2, 2\) is expected, .*retained and churned", "two classes are expected"),
]


@pytest.mark.parametrize(("contract", "kind", "said", "said_of_pipeline"), WRONG)
def test_a_model_of_another_task_is_refused_by_name(
    tmp_path: Path, contract: ModelContract, kind: TaskKind, said: str, said_of_pipeline: str
) -> None:
    compiled = compile_to_onnx(small_pipeline(kind), ROWS.shape[1], contract_of(kind).task)

    with pytest.raises(ModelError, match=said):
        onnx_scorer(compiled, contract.task, ROWS.shape[1])
    with pytest.raises(ModelError, match=rf"model\.skops cannot be loaded: .*{said_of_pipeline}"):
        store_model(tmp_path, contract, small_pipeline(kind), "sklearn").load()
