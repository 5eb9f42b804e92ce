"""A model whose outputs are not the two classes of its contract is refused by name, in whichever form it comes."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.base import BaseEstimator
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from scoring.errors import ModelError
from scoring.models.classes import check_classifier
from tests.models.fakes import small_contract, store_model, training_rows
from training.compilation.onnx_model import compile_to_onnx

ROWS, CHURNED = training_rows(rows=300)
NAMES = ("retained", "churned")


def three(_: NDArray[np.bool_]) -> NDArray[np.int64]:
    return np.arange(len(ROWS)) % 3


def words(churned: NDArray[np.bool_]) -> NDArray[np.str_]:
    return np.where(churned, "churned", "retained")


def pipeline(estimator: BaseEstimator, labels: NDArray[Any]) -> Pipeline:
    return Pipeline([("classifier", estimator)]).fit(ROWS, labels)


WRONG = {
    "three classes": (DecisionTreeClassifier(max_depth=2), three(CHURNED), r"3 classes apart \(0, 1, 2\)"),
    "one class": (DummyClassifier(), np.zeros(len(ROWS), dtype=int), r"1 class apart \(0\)"),
    "a regression": (LinearRegression(), CHURNED.astype(float), "LinearRegression gives no probabilities"),
    "no probabilities": (LinearSVC(), CHURNED, "LinearSVC gives no probabilities"),
    "several outputs": (KNeighborsClassifier(), np.stack([CHURNED, CHURNED], axis=1), "2 outputs, each with classes"),
    "classes in another order": (LogisticRegression(), words(CHURNED), "'churned', 'retained', in this order"),
    "other labels": (LogisticRegression(), np.where(CHURNED, 2, 1), "classes are 1, 2, in this order"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", WRONG)
def test_a_pipeline_with_other_outputs_is_refused_by_name_wherever_it_is_loaded(tmp_path: Path, kind: str) -> None:
    estimator, labels, said = WRONG[kind]
    wrong = pipeline(estimator, labels)

    with pytest.raises(ModelError, match=rf"{said}.*two classes are expected, retained and churned"):
        check_classifier(wrong, NAMES)
    with pytest.raises(ModelError, match=rf"model\.skops cannot be loaded: .*{said}.*two classes are expected"):
        store_model(tmp_path, small_contract(), wrong, "sklearn").load()


@pytest.mark.parametrize("labels", [CHURNED, CHURNED.astype(int)])
def test_false_and_true_or_0_and_1_are_the_contracts_classes(labels: NDArray[Any]) -> None:
    check_classifier(pipeline(LogisticRegression(max_iter=500), labels), NAMES)


def test_labels_by_the_contracts_own_names_and_order_are_taken() -> None:
    check_classifier(pipeline(LogisticRegression(max_iter=500), words(CHURNED)), ("churned", "retained"))


@pytest.mark.parametrize("width", [ROWS.shape[1], None], ids=["as wide as it says", "of open width"])
@pytest.mark.parametrize("kind", ["three classes", "classes in another order", "other labels"])
def test_a_compiled_model_of_other_classes_is_refused_by_name(tmp_path: Path, kind: str, width: int | None) -> None:
    estimator, labels, _ = WRONG[kind]
    stored = store_model(tmp_path, small_contract())
    _replace(stored, compile_raw(pipeline(estimator, labels), width))

    with pytest.raises(ModelError, match=r"model\.onnx cannot be loaded: the model .*(retained|contract)"):
        stored.load()


def test_a_compiled_regression_is_refused_by_name(tmp_path: Path) -> None:
    stored = store_model(tmp_path, small_contract())
    _replace(stored, compile_raw(pipeline(LinearRegression(), CHURNED.astype(float))))

    with pytest.raises(ModelError, match=r"has 1 output\(s\).*two are expected, a class and the probabilities"):
        stored.load()


def test_a_compiled_model_of_other_inputs_is_refused(tmp_path: Path) -> None:
    fewer = Pipeline([("classifier", LogisticRegression(max_iter=500))]).fit(ROWS.iloc[:, :3], CHURNED)
    stored = store_model(tmp_path, small_contract())
    _replace(stored, compile_to_onnx(fewer, 3))

    with pytest.raises(ModelError, match=r"model\.onnx cannot be loaded"):
        stored.load()


def compile_raw(fitted: Pipeline, width: int | None = ROWS.shape[1]) -> bytes:
    """As somebody else would compile it, unchecked."""
    classifier = hasattr(fitted, "classes_")
    model = to_onnx(
        fitted,
        initial_types=[("features", FloatTensorType([None, width]))],
        options={id(fitted): {"zipmap": False}} if classifier else None,
    )
    return bytes(model.SerializeToString())


def _replace(stored: Any, model: bytes) -> None:
    (stored.folder / "model.onnx").write_bytes(model)
    stored.metadata["file_sha256"] = hashlib.sha256(model).hexdigest()
