"""Registers the ONNX converters of LightGBM and XGBoost, and finds such models in a pipeline."""

import importlib
from importlib.util import find_spec
from typing import Any

from skl2onnx import update_registered_converter
from skl2onnx.common.shape_calculator import (
    calculate_linear_classifier_output_shapes,
    calculate_linear_regressor_output_shapes,
)

from scoring.models.pipeline_parts import parts
from scoring.models.stored_pipeline import BOOSTERS
from training.compilation.exact_steps import register_exact_steps

_CONVERTERS = {
    "lightgbm": ("LGBMClassifier", "LGBMRegressor", "lightgbm.operator_converters.LightGbm", "convert_lightgbm"),
    "xgboost": ("XGBClassifier", "XGBRegressor", "xgboost.operator_converters.XGBoost", "convert_xgboost"),
}
"""Library → its classifier, its regressor, and the module and function of onnxmltools that convert both."""


def register_converters() -> None:
    """Register converters with skl2onnx for the installed boosters and the steps before them; idempotent."""
    for library, (classifier, regressor, module, name) in _CONVERTERS.items():
        if find_spec(library) is None:
            continue
        models = importlib.import_module(library)
        convert = getattr(importlib.import_module(f"onnxmltools.convert.{module}"), name)
        update_registered_converter(
            getattr(models, classifier),
            classifier,
            calculate_linear_classifier_output_shapes,
            convert,
            options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
        )
        update_registered_converter(
            getattr(models, regressor), regressor, calculate_linear_regressor_output_shapes, convert
        )
    register_exact_steps()


def booster_in(pipeline: Any) -> str:
    """Library of the booster in the pipeline; empty if there is none."""
    libraries = (type(part).__module__.split(".")[0] for part, _ in parts(pipeline))
    return next((library for library in libraries if library in BOOSTERS), "")
