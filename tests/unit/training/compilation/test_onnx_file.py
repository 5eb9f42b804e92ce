"""ONNX files from elsewhere: the forms that other frameworks write are taken, and whatever else is refused by name."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from skl2onnx import to_onnx
from skl2onnx.common.data_types import FloatTensorType
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression

from contract import BinaryTask, DecisionThreshold, MulticlassTask, RegressionTask, Task
from scoring.errors import ModelError
from scoring.models.onnx_scorer import onnx_scorer
from training.compilation import onnx_file

COLUMNS = 4
TASKS: dict[str, Task] = {
    "binary": BinaryTask(classes=("no", "yes"), threshold=DecisionThreshold(value=0.5, rule="none")),
    "multiclass": MulticlassTask(classes=("low", "middle", "high")),
    "regression": RegressionTask(),
}
ROWS = np.random.default_rng(1).normal(size=(50, COLUMNS)).astype(np.float32)


def network(width: int, last: str = "", flat: bool = False, columns: int = COLUMNS, domain: str = "") -> Any:
    """One layer, as PyTorch exports it: one output, (n, width) or (n,)."""
    weights = np.random.default_rng(2).normal(size=columns * width).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["rows", "weights"], ["sums"])]
    nodes.append(helper.make_node(last or "Identity", ["sums"], ["answer"], domain=domain))
    if flat:
        nodes.append(helper.make_node("Squeeze", ["answer", "axis"], ["flat"]))
    name, shape = ("flat", ["n"]) if flat else ("answer", ["n", width])
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("rows", TensorProto.FLOAT, ["n", columns])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [
            helper.make_tensor("weights", TensorProto.FLOAT, [columns, width], weights),
            helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        ],
    )
    domains = [helper.make_opsetid(each, 17 if not each else 1) for each in {"", domain}]
    return helper.make_model(graph, opset_imports=domains, ir_version=9)


def sums(width: int) -> Any:
    weights = np.random.default_rng(2).normal(size=COLUMNS * width).astype(np.float32).reshape(COLUMNS, width)
    return ROWS @ weights


def softmax(values: Any) -> Any:
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


FORMS: dict[str, tuple[str, Any, Any]] = {
    "the positive class's probability, (n, 1)": ("binary", network(1, "Sigmoid"), 1 / (1 + np.exp(-sums(1)[:, 0]))),
    "the positive class's probability, (n,)": (
        "binary",
        network(1, "Sigmoid", flat=True),
        1 / (1 + np.exp(-sums(1)[:, 0])),
    ),
    "the probabilities of two classes": ("binary", network(2, "Softmax"), softmax(sums(2))[:, 1]),
    "the probabilities of several classes": ("multiclass", network(3, "Softmax"), softmax(sums(3))),
    "a value, (n, 1)": ("regression", network(1), sums(1)[:, 0]),
    "a value, (n,)": ("regression", network(1, flat=True), sums(1)[:, 0]),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_a_network_answers_is_taken(form: str) -> None:
    kind, model, expected = FORMS[form]
    document = onnx_file.with_class(model.SerializeToString(), TASKS[kind])

    onnx_file.check(document, TASKS[kind], COLUMNS)

    found = onnx_scorer(document, TASKS[kind], COLUMNS)(ROWS)
    assert expected == pytest.approx(found, abs=1e-6)


@pytest.mark.parametrize("zipmap", [True, False])
@pytest.mark.parametrize("kind", ["binary", "multiclass"])
def test_a_map_of_probabilities_is_taken_as_the_matrix_it_is_made_of(kind: str, zipmap: bool) -> None:
    labels = np.digitize(ROWS[:, 0], [0.0] if kind == "binary" else [-0.5, 0.5])
    fitted = (LogisticRegression() if kind == "binary" else RandomForestClassifier(5)).fit(ROWS, labels)
    options = {id(fitted): {"zipmap": zipmap}}
    exported = to_onnx(fitted, initial_types=[("rows", FloatTensorType([None, COLUMNS]))], options=options)

    document = onnx_file.with_class(exported.SerializeToString(), TASKS[kind])
    onnx_file.check(document, TASKS[kind], COLUMNS)

    expected = fitted.predict_proba(ROWS)
    found = onnx_scorer(document, TASKS[kind], COLUMNS)(ROWS)
    assert (expected[:, 1] if kind == "binary" else expected) == pytest.approx(found, abs=1e-6)


def external(nested: bool) -> Any:
    """Its weights lie in another file; or those of a branch."""
    model = network(1)
    tensor = model.graph.initializer[0]
    if nested:
        branch = helper.make_graph(
            [helper.make_node("Identity", ["inner"], ["out"])],
            "branch",
            [],
            [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)],
            [helper.make_tensor("inner", TensorProto.FLOAT, [1], [1.0])],
        )
        model.graph.node.append(helper.make_node("If", ["axis"], ["x"], then_branch=branch, else_branch=branch))
        tensor = model.graph.node[-1].attribute[0].g.initializer[0]
    tensor.ClearField("float_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return model


def cut_off() -> bytes:
    return bytes(network(1).SerializeToString()[:-30])


def unknown_operator() -> Any:
    model = network(1)
    model.graph.node[1].op_type = "NoSuch"
    return model


def two_inputs() -> Any:
    model = network(1)
    model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, ["n", 1]))
    return model


REFUSED: dict[str, tuple[str, Any, str]] = {
    "external data": ("regression", external(nested=False), "'weights' is in another file; save the model with its"),
    "external data of a branch": ("regression", external(nested=True), "the tensor 'inner' is in another file"),
    "operators of a library": ("regression", network(1, "Gelu", domain="com.example"), "'Gelu' is of 'com.example'"),
    "an operator that does not exist": ("regression", unknown_operator(), "onnx's checker refuses it: .*NoSuch"),
    "no ONNX": ("regression", b"\x80\x04pickle", "no ONNX file, or was cut off"),
    "half a file": ("regression", cut_off(), "no ONNX file, or was cut off"),
    "too few inputs": ("regression", network(1, columns=3), "takes 3 columns; 4 are expected"),
    "two inputs": ("regression", two_inputs(), "the model takes rows .*, more .*; one float32 matrix is expected"),
    "three numbers for one": ("regression", network(3), r"shape \(2, 3\); one number is expected for each"),
    "three classes for two": ("binary", network(3, "Softmax"), r"shape \(2, 3\); \(2, 2\) is expected, .* no and yes"),
    "two classes for three": ("multiclass", network(2, "Softmax"), r"\(2, 3\) is expected, .* low, middle and high"),
    "no probabilities": ("multiclass", network(3, "Relu"), "outputs are no probabilities"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_served_is_refused_by_name(name: str) -> None:
    kind, model, said = REFUSED[name]
    document = model if isinstance(model, bytes) else model.SerializeToString()

    with pytest.raises(ModelError, match=said) as refused:
        onnx_file.check(onnx_file.with_class(document, TASKS[kind]), TASKS[kind], COLUMNS)

    assert "\n" not in str(refused.value)


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.onnx"
    onnx.save_model(network(1), file)
    monkeypatch.setattr(onnx_file, "MAX_BYTES", 100)

    with pytest.raises(ModelError, match=f"it has {file.stat().st_size:,} bytes; at most 100 are read"):
        onnx_file.read(file)
    with pytest.raises(ModelError, match="at most 100 are read"):
        onnx_file.check(file.read_bytes(), TASKS["regression"], COLUMNS)
