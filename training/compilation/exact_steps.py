"""Converts steps to the very operations of scikit-learn's code, where skl2onnx's converters give other answers."""

from typing import Any

import numpy as np
from skl2onnx import update_registered_converter
from skl2onnx.algebra.onnx_ops import (
    OnnxArrayFeatureExtractor,
    OnnxCast,
    OnnxConcat,
    OnnxDiv,
    OnnxEqual,
    OnnxIdentity,
    OnnxSub,
)
from skl2onnx.common.data_types import FloatTensorType
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from scoring.models.pipeline_parts import parts

_FLOAT = 1
"""`onnx.TensorProto.FLOAT`."""


class ExactScaler(StandardScaler):  # type: ignore[misc]
    """x minus mean, divided by scale.

    skl2onnx multiplies by 1 / scale, which gives another last bit. Linear models hardly notice; trees that follow take
    another branch.
    """


class ExactOneHot(OneHotEncoder):  # type: ignore[misc]
    """1 where x equals the category; skl2onnx takes 3.4 for category 3."""


def with_exact_steps(copied: Any, scalers: bool) -> None:
    """Have the steps of a pipeline converted exactly. It is changed: give a copy.

    Args:
        scalers: scalers, too; only before boosters, because scikit-learn can serve its own models as they are.
    """
    for part, _ in list(parts(copied)):
        if scalers and type(part) is StandardScaler:
            part.__class__ = ExactScaler
        elif type(part) is OneHotEncoder and _is_plain(part):
            part.__class__ = ExactOneHot


def register_exact_steps() -> None:
    """Register the converters with skl2onnx; idempotent."""
    update_registered_converter(ExactScaler, "ExactScaler", _shape_of_scaled, _convert_scaler)
    update_registered_converter(ExactOneHot, "ExactOneHot", _shape_of_one_hot, _convert_one_hot)


def _is_plain(encoder: OneHotEncoder) -> bool:
    """Every category is a number with a column of its own."""
    grouped = encoder.drop is not None or encoder.min_frequency is not None or encoder.max_categories is not None
    numbers = all(each.dtype == np.float32 and np.isfinite(each).all() for each in getattr(encoder, "categories_", ()))
    return numbers and not grouped


def _shape_of_scaled(operator: Any) -> None:
    _set_width(operator, operator.raw_operator.n_features_in_)


def _shape_of_one_hot(operator: Any) -> None:
    _set_width(operator, sum(map(len, operator.raw_operator.categories_)))


def _set_width(operator: Any, width: int) -> None:
    operator.outputs[0].type = FloatTensorType([operator.inputs[0].get_first_dimension(), width])


def _convert_scaler(scope: Any, operator: Any, container: Any) -> None:
    scaler, made, version = operator.raw_operator, _one_input(operator, container), container.target_opset
    if scaler.with_mean:
        made = OnnxSub(made, scaler.mean_.astype(np.float32), op_version=version)
    if scaler.with_std:
        made = OnnxDiv(made, scaler.scale_.astype(np.float32), op_version=version)
    OnnxIdentity(made, op_version=version, output_names=operator.outputs[:1]).add_to(scope, container)


def _convert_one_hot(scope: Any, operator: Any, container: Any) -> None:
    version, matrix, columns = container.target_opset, _one_input(operator, container), []
    for number, categories in enumerate(operator.raw_operator.categories_):
        column = OnnxArrayFeatureExtractor(matrix, np.array([number], dtype=np.int64), op_version=version)
        equal = OnnxEqual(column, categories.reshape(1, -1), op_version=version)
        columns.append(OnnxCast(equal, to=_FLOAT, op_version=version))
    OnnxConcat(*columns, axis=1, op_version=version, output_names=operator.outputs[:1]).add_to(scope, container)


def _one_input(operator: Any, container: Any) -> Any:
    if len(operator.inputs) == 1:
        return operator.inputs[0]
    return OnnxConcat(*operator.inputs, axis=1, op_version=container.target_opset)
