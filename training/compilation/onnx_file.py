"""Checks an ONNX file that was made elsewhere: it is data from outside, and onnxruntime runs what stands in it.

An ONNX graph holds no code of its own, but it may read other files, and name operators that somebody's library defines.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import onnx
from google.protobuf.message import DecodeError, Message
from onnx import TensorProto, helper

from scoring.errors import ModelError
from scoring.models.onnx_scorer import onnx_scorer
from scoring.models.task_models import PredictedTask

MAX_BYTES: Final = 256 * 2**20
"""Largest file; it is held in memory by every process that scores."""

_STANDARD = ("", "ai.onnx")
_DOMAINS = frozenset({*_STANDARD, "ai.onnx.ml"})
_OPSET = 17  # of the nodes that we add to a file that has none of the standard's
_CLASS, _PROBABILITIES = "own_class", "own_probabilities"


def read(file: Path) -> bytes:
    """Read a file.

    Raises:
        ModelError: it is missing, or too large.
    """
    try:
        size = file.stat().st_size
        document = file.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error.strerror}") from None
    _check_size(size)
    return document


def check(document: bytes, task: PredictedTask, columns: int) -> None:
    """Check that a file is whole, holds standard operators only, and answers as a model of the task.

    Args:
        columns: number of the model's inputs.

    Raises:
        ModelError: names what was found, and what is expected.
    """
    _check_size(len(document))
    model = _parsed(document)
    for message in _messages(model):
        if isinstance(message, TensorProto) and (message.external_data or message.data_location):
            raise ModelError(
                f"the tensor {message.name!r} is in another file; save the model with its tensors inside, in one file"
            )
        if isinstance(message, onnx.NodeProto) and message.domain not in _DOMAINS:
            raise ModelError(
                f"the operator {message.op_type!r} is of {message.domain!r}; "
                "only operators of ai.onnx and ai.onnx.ml are run"
            )
    try:
        onnx.checker.check_model(model)
    except Exception as error:  # the checker has no class for all that it finds
        raise ModelError(f"onnx's checker refuses it: {_first_line(error)}") from None
    for given in model.graph.input[:1]:
        for width in given.type.tensor_type.shape.dim[-1:]:
            if width.HasField("dim_value") and width.dim_value != columns:
                raise ModelError(f"it takes {width.dim_value} columns; {columns} are expected, the model's inputs")
    try:
        onnx_scorer(document, task, columns)
    except ModelError:
        raise
    except Exception as error:  # onnxruntime has no class for all that it raises
        raise ModelError(f"onnxruntime cannot run it: {_first_line(error)}") from None


def with_class(document: bytes, task: PredictedTask) -> bytes:
    """The same model with the outputs that a classifier of the project has: a class, and the probabilities (n, c).

    A map of class to probability, as skl2onnx and CatBoost write it, becomes the matrix that it is made of. If the file
    has one output, the class is made from it: of probabilities (n, c), or of the positive class's (n,) or (n, 1).
    A regression, and a file that cannot be read, are given back as they are.
    """
    if not task.class_names:
        return document
    model = _parsed(document)
    graph = model.graph
    _without_map(graph)
    if len(graph.output) == 1:
        if not any(each.domain in _STANDARD for each in model.opset_import):
            model.opset_import.append(helper.make_opsetid("", _OPSET))
        probabilities = graph.output[0].name
        dimensions = graph.output[0].type.tensor_type.shape.dim
        if len(task.class_names) == 2 and (len(dimensions) == 1 or [each.dim_value for each in dimensions][1:] == [1]):
            kind = graph.output[0].type.tensor_type.elem_type
            graph.initializer.append(helper.make_tensor("own_one", kind, [1], [1.0]))
            graph.initializer.append(helper.make_tensor("own_column", TensorProto.INT64, [2], [-1, 1]))
            graph.node.extend(
                [
                    helper.make_node("Reshape", [probabilities, "own_column"], ["own_positive"]),
                    helper.make_node("Sub", ["own_one", "own_positive"], ["own_negative"]),
                    helper.make_node("Concat", ["own_negative", "own_positive"], [_PROBABILITIES], axis=1),
                ]
            )
            probabilities = _PROBABILITIES
            del graph.output[:]
            graph.output.append(helper.make_tensor_value_info(probabilities, kind, [None, 2]))
        graph.node.append(helper.make_node("ArgMax", [probabilities], [_CLASS], axis=1, keepdims=0))
        graph.output.insert(0, helper.make_tensor_value_info(_CLASS, TensorProto.INT64, [None]))
    return bytes(model.SerializeToString())


def _without_map(graph: Any) -> None:
    if not graph.output or not graph.output[-1].type.HasField("sequence_type"):
        return
    for position, node in enumerate(graph.node):
        if node.op_type == "ZipMap" and list(node.output) == [graph.output[-1].name]:
            matrix = node.input[0]
            del graph.node[position]
            del graph.output[-1]
            graph.output.append(helper.make_tensor_value_info(matrix, TensorProto.FLOAT, [None, None]))
            return


def _parsed(document: bytes) -> Any:
    try:
        return onnx.load_model_from_string(document)
    except DecodeError:
        raise ModelError("it is no ONNX file, or was cut off") from None


def _messages(message: Message) -> Iterator[Message]:
    """A message and all that stands in it: nested graphs and functions, too."""
    yield message
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if isinstance(value, Message) else value:
                yield from _messages(each)


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise ModelError(f"it has {size:,} bytes; at most {MAX_BYTES:,} are read")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
