"""Trees whose thresholds are float32 numbers, as ONNX keeps them, and which answer float32 rows as before.

scikit-learn and LightGBM compare a value with a float64 threshold. The converters round it to the nearest float32,
which may lie above it; then a value in between goes down the other branch. For a float32 x, "x ≤ t" is the same as "x ≤
the largest float32 that is not above t", so that is what each threshold is set to before it is converted.
"""

import copy
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import VotingClassifier
from sklearn.pipeline import Pipeline
from sklearn.tree import BaseDecisionTree

from scoring.models.pipeline_parts import parts


def not_above(thresholds: NDArray[np.float64]) -> NDArray[np.float32]:
    """The largest float32 that is not above each."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    return np.where(nearest > thresholds, np.nextafter(nearest, np.float32(-np.inf)), nearest).astype(np.float32)


def convertible(pipeline: Pipeline) -> Pipeline:
    """A copy that answers float32 rows like the pipeline, and that the converters express as it is.

    Beside the thresholds: classes False and True become 0 and 1, which every converter knows; and a vote is not asked
    for the answers of its voters side by side, which `predict_proba` never gives.
    """
    copied: Pipeline = copy.deepcopy(pipeline)
    for part, _ in list(parts(copied)):
        if isinstance(part, BaseDecisionTree) and hasattr(part, "tree_"):  # an ensemble keeps one that is not fitted
            part.tree_.threshold[:] = not_above(part.tree_.threshold)
        elif type(part).__name__ == "TreePredictor":  # of histogram boosting; scikit-learn has no public name for it
            part.nodes["num_threshold"] = not_above(part.nodes["num_threshold"])
        elif isinstance(part, VotingClassifier):
            part.flatten_transform = False
        elif type(part).__module__.startswith("lightgbm."):
            _round_lightgbm(part)
        elif type(part).__name__ == "XGBClassifier" and part.__sklearn_is_fitted__():
            part.get_booster().feature_names = None  # its converter knows inputs by their numbers alone
        for name in ("classes_", "classes"):
            classes = getattr(part, "__dict__", {}).get(name)
            if isinstance(classes, np.ndarray) and classes.dtype == bool:
                setattr(part, name, classes.astype(np.int64))
    return copied


def _round_lightgbm(model: Any) -> None:
    """LightGBM gives its trees away as text alone."""
    import lightgbm

    if "_Booster" not in vars(model):
        return
    lines = model.booster_.model_to_string().split("\n")
    for at, line in enumerate(lines):
        name, _, numbers = line.partition("=")
        if name == "threshold":
            rounded = not_above(np.array(numbers.split(), dtype=np.float64))
            lines[at] = "threshold=" + " ".join(repr(float(number)) for number in rounded)
    # It notes the length of each tree's text, which is another now; without the note it looks for the trees itself.
    lines = [line for line in lines if not line.startswith("tree_sizes=")]
    model._Booster = lightgbm.Booster(model_str="\n".join(lines))
