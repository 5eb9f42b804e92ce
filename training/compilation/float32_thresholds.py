"""Rounds the thresholds of trees down to float32, so that ONNX gives the same answers for float32 rows.

scikit-learn and LightGBM compare a value with a float64 threshold. The converters round the threshold to the nearest
float32, which may be larger; a value in between then takes the other branch. For a float32 x, "x ≤ t" equals "x ≤ the
largest float32 ≤ t", so each threshold is set to that before conversion.
"""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import VotingClassifier
from sklearn.pipeline import Pipeline
from sklearn.tree import BaseDecisionTree

from scoring.models.pipeline_parts import parts


def round_down_to_float32(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 ≤ each threshold."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest).astype(np.float32)


def with_float32_thresholds(pipeline: Pipeline) -> Pipeline:
    """A copy that gives the same answers for float32 rows and that converters express exactly.

    Besides thresholds: classes False and True become 0 and 1, which every converter supports; and voting classifiers
    get `flatten_transform=False`, which `predict_proba` ignores.
    """
    copied: Pipeline = copy.deepcopy(pipeline)
    for part, _ in list(parts(copied)):
        if isinstance(part, BaseDecisionTree) and hasattr(part, "tree_"):  # ensembles also hold an unfitted tree
            part.tree_.threshold[:] = round_down_to_float32(part.tree_.threshold)
        elif type(part).__name__ == "TreePredictor":  # of histogram boosting; scikit-learn has no public class for it
            part.nodes["num_threshold"] = round_down_to_float32(part.nodes["num_threshold"])
        elif isinstance(part, VotingClassifier):
            part.flatten_transform = False
        elif type(part).__module__.startswith("lightgbm."):
            _round_lightgbm(part)
        elif type(part).__name__ in ("XGBClassifier", "XGBRegressor") and part.__sklearn_is_fitted__():
            part.get_booster().feature_names = None  # its converter supports only numbered inputs
        for name in ("classes_", "classes"):
            classes = getattr(part, "__dict__", {}).get(name)
            if isinstance(classes, np.ndarray) and classes.dtype == bool:
                setattr(part, name, classes.astype(np.int64))
    return copied


def _round_lightgbm(model: Any) -> None:
    """Round the thresholds in LightGBM's text form, its only access to the trees."""
    import lightgbm

    if "_Booster" not in vars(model):
        return
    lines = model.booster_.model_to_string().split("\n")
    for at, line in enumerate(lines):
        name, _, numbers = line.partition("=")
        if name == "threshold":
            rounded = round_down_to_float32(np.array(numbers.split(), dtype=np.float64))
            lines[at] = "threshold=" + " ".join(repr(float(number)) for number in rounded)
    # Without `tree_sizes`, which no longer match, LightGBM finds the trees itself.
    lines = [line for line in lines if not line.startswith("tree_sizes=")]
    model._Booster = lightgbm.Booster(model_str="\n".join(lines))
