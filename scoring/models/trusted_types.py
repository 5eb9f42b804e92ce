"""The types that a stored scikit-learn pipeline may hold, beyond skops' own list.

A skops file names the types that loading it builds. MLflow stores its list of trusted types inside the model, where
anyone who can write the model can extend it. So every plane checks against this list and `MODEL_TRUSTED_TYPES`, which
the operator of the process sets.
"""

import re
from collections.abc import Mapping
from typing import Final

from contract.errors import ContractError

SETTING: Final = "MODEL_TRUSTED_TYPES"
"""Environment variable of every plane: additional types by full name, separated by spaces or commas."""

# scikit-learn's own classes and statistics functions. None of them runs code from the file.
# `scoring.models.stored_indices` checks those that follow indices from the file (trees, neighbours).
TRUSTED_TYPES = frozenset(
    {
        "builtins.object",  # what `make_column_selector` chooses texts by
        "numpy.dtype",
        "numpy.number",  # and numbers
        "sklearn._loss.link.Interval",
        "sklearn._loss.link.LogitLink",
        "sklearn._loss.loss.HalfBinomialLoss",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.calibration._TemperatureScaling",
        "sklearn.compose._column_transformer.make_column_selector",
        "sklearn.ensemble._hist_gradient_boosting.binning._BinMapper",
        "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",
        "sklearn.feature_selection._univariate_selection.chi2",
        "sklearn.feature_selection._univariate_selection.f_classif",
        "sklearn.feature_selection._univariate_selection.f_regression",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.metrics._dist_metrics.EuclideanDistance64",
        "sklearn.metrics._dist_metrics.ManhattanDistance64",
        "sklearn.neighbors._ball_tree.BallTree",
        "sklearn.neighbors._kd_tree.KDTree",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.tree._tree.Tree",
        "sklearn.utils._bunch.Bunch",
    }
)


def trusted_types(environ: Mapping[str, str]) -> frozenset[str]:
    """Our list and the types in `MODEL_TRUSTED_TYPES`.

    Raises:
        ContractError: an entry is not the full name of a type.
    """
    named = environ.get(SETTING, "").replace(",", " ").split()
    for name in named:
        if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", name):
            raise ContractError(f"{SETTING}: {name!r} is not the full name of a type, like xgboost.core.Booster")
    return TRUSTED_TYPES | set(named)
