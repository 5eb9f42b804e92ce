"""Converts pipelines that choose columns by name or take text, so that one float32 matrix (n, k) is their input.

skl2onnx takes one variable for all numbers and one for each text column, and chooses columns by their positions in
these. Nodes before the converted pipeline make the variables from the matrix: they turn the codes of a category into
the texts on which the pipeline was fitted.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from skl2onnx.common.data_types import FloatTensorType, StringTensorType
from sklearn.compose import ColumnTransformer

from contract import Vocabulary
from contract.values.vocabulary import MISSING_CODE, MISSING_TEXT, UNSEEN_CODE, UNSEEN_TEXT
from scoring.models.pipeline_parts import chosen_columns, parts

FEATURES = "features"
"""The compiled model's input."""

_ML = "ai.onnx.ml"
_LABEL_ENCODER = 2
"""Opset of `ai.onnx.ml` whose LabelEncoder maps numbers to texts."""

Categories = Mapping[int, Vocabulary]
Variable = tuple[str, list[int]]
"""Name of a variable of the conversion, and the positions of its columns in the matrix."""


def variables_of(pipeline: Any, inputs: int, categories: Categories) -> list[Variable]:
    """The variables in the order of their first columns. All numbers are one, unless their order changes."""
    every = list(range(inputs))
    if _reorders(pipeline, categories):
        return [(f"input_{at}", [at]) for at in every]
    if not categories:
        return [(FEATURES, every)]
    numbers = [at for at in every if at not in categories]
    found: list[Variable] = [(f"input_{at}", [at]) for at in categories]
    if numbers:
        found.append(("numbers", numbers))
    return sorted(found, key=lambda variable: variable[1][0])


def initial_types(variables: Sequence[Variable], categories: Categories) -> list[tuple[str, Any]]:
    """The variables as skl2onnx takes them."""
    return [
        (name, StringTensorType([None, 1]) if columns[0] in categories else FloatTensorType([None, len(columns)]))
        for name, columns in variables
    ]


def number_columns(copied: Any, variables: Sequence[Variable], categories: Categories) -> None:
    """Choose columns by position in the variables instead of by name. The pipeline is changed: give a copy."""
    texts = _texts(copied, categories)
    for step in _column_transformers(copied):
        placed = _placed(step, texts) if len(variables) < len(_names(copied)) else list(range(step.n_features_in_))
        step.transformers_ = [
            (name, part, [placed[at] for at in chosen_columns(step, columns)])
            for name, part, columns in step.transformers_
        ]


def _column_transformers(pipeline: Any) -> Iterator[ColumnTransformer]:
    for part, _ in list(parts(pipeline)):
        if isinstance(part, ColumnTransformer) and hasattr(part, "transformers_"):
            yield part


def _names(step: Any) -> list[str]:
    return list(getattr(step, "feature_names_in_", []))


def _texts(pipeline: Any, categories: Categories) -> set[str]:
    names = _names(pipeline)
    return {names[at] for at in categories}


def _placed(step: ColumnTransformer, texts: set[str]) -> list[int]:
    """For each column of a ColumnTransformer its place in the variables, where the numbers stand together."""
    names = _names(step)
    if texts.isdisjoint(names):
        return list(range(step.n_features_in_))
    first = next((at for at, name in enumerate(names) if name not in texts), 0)
    order = sorted(range(len(names)), key=lambda at: (at if names[at] in texts else first, at))
    return [order.index(at) for at in range(len(names))]


def _reorders(pipeline: Any, categories: Categories) -> bool:
    """True if a part takes all of the numbers in another order, which skl2onnx overlooks."""
    texts = _texts(pipeline, categories)
    for step in _column_transformers(pipeline):
        names = _names(step) or [""] * step.n_features_in_
        numbers = [at for at, name in enumerate(names) if name not in texts]
        for _, _, columns in step.transformers_:
            chosen = [at for at in chosen_columns(step, columns) if at in numbers]
            if chosen != numbers and sorted(chosen) == numbers:
                return True
    return False


def with_decoding(model: onnx.ModelProto, variables: Sequence[Variable], inputs: int, categories: Categories) -> None:
    """Put the nodes that make the variables before a converted pipeline, which is changed."""
    graph, converted = model.graph, list(model.graph.node)
    nodes = [node for name, columns in variables for node in _nodes(graph, name, columns, categories)]
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes, *converted])
    graph.input.append(helper.make_tensor_value_info(FEATURES, TensorProto.FLOAT, [None, inputs]))
    if not categories:
        return
    by_domain = {each.domain: each for each in model.opset_import}
    if _ML not in by_domain:
        model.opset_import.append(helper.make_opsetid(_ML, _LABEL_ENCODER))
    elif by_domain[_ML].version < _LABEL_ENCODER:  # then no node of the pipeline's is a LabelEncoder
        by_domain[_ML].version = _LABEL_ENCODER


def _nodes(graph: Any, name: str, columns: list[int], categories: Categories) -> Iterator[onnx.NodeProto]:
    positions = numpy_helper.from_array(np.array(columns, dtype=np.int64), f"{name}_columns")
    graph.initializer.append(positions)
    codes = categories.get(columns[0])
    taken = name if codes is None else f"{name}_code"
    yield helper.make_node("Gather", [FEATURES, positions.name], [taken], axis=1)
    if codes is not None:
        seen = np.arange(len(codes), dtype=np.float32)
        yield helper.make_node(
            "LabelEncoder",
            [taken],
            [name],
            domain=_ML,
            keys_floats=[MISSING_CODE, UNSEEN_CODE, *seen.tolist()],
            values_strings=[MISSING_TEXT, UNSEEN_TEXT, *codes.texts(seen)],
            default_string=UNSEEN_TEXT,
        )
