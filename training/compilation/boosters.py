"""LightGBM and XGBoost in a pipeline: told to the converter where they are installed."""

import importlib
from importlib.util import find_spec
from typing import Any

from skl2onnx import update_registered_converter
from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes

from scoring.models.pipeline_parts import parts
from scoring.models.stored_pipeline import BOOSTERS

_CLASSIFIERS = {
    "lightgbm": ("LGBMClassifier", "lightgbm.operator_converters.LightGbm", "convert_lightgbm"),
    "xgboost": ("XGBClassifier", "xgboost.operator_converters.XGBoost", "convert_xgboost"),
}


def register_converters() -> None:
    """Tell skl2onnx how to convert those boosters that are installed; calling it again changes nothing."""
    for library, (classifier, module, convert) in _CLASSIFIERS.items():
        if find_spec(library) is None:
            continue
        update_registered_converter(
            getattr(importlib.import_module(library), classifier),
            classifier,
            calculate_linear_classifier_output_shapes,
            getattr(importlib.import_module(f"onnxmltools.convert.{module}"), convert),
            options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
        )


def booster_in(pipeline: Any) -> str:
    """The library of a booster that the pipeline holds; empty if it holds none."""
    libraries = (type(part).__module__.split(".")[0] for part, _ in parts(pipeline))
    return next((library for library in libraries if library in BOOSTERS), "")
