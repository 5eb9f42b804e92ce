"""A candidate fitted on a few rows, so that what could never be registered is said before the minutes of fitting."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from scoring.errors import ModelError
from scoring.models.classes import check_classifier, check_probabilities
from scoring.models.stored_pipeline import foreign_types, untrusted
from training.compilation import onnx_model
from training.compilation.boosters import booster_in
from training.errors import ModelImportError, TrainingError

_ROWS_OF_A_CLASS = 60


def rehearse(
    name: str, made: Callable[[], Pipeline], matrix: pd.DataFrame, labels: NDArray[np.bool_], class_names: Sequence[str]
) -> None:
    """Fit a candidate on a few of the training rows and hold it against all that a version must be.

    One that cannot be fitted on so few rows is let through: the fit on all of them will say what is wrong.

    Raises:
        TrainingError: it could not be registered or served; names the candidate, what is wrong and the way out.
    """
    labels = np.asarray(labels)
    few = np.sort(np.concatenate([np.flatnonzero(labels == each)[:_ROWS_OF_A_CLASS] for each in np.unique(labels)]))
    rows, of_rows = matrix.iloc[few].reset_index(drop=True), labels[few]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of so few rows
            pipeline = made().fit(rows, of_rows)
    except Exception:  # whatever the estimator raises
        return
    check_registrable(pipeline, rows, class_names, f"candidate {name!r}")


def check_registrable(pipeline: Pipeline, rows: pd.DataFrame, class_names: Sequence[str], what: str) -> tuple[str, ...]:
    """Hold a fitted pipeline against all that a version must be.

    Returns:
        The types that it holds beyond our own list, for its contract.

    Raises:
        TrainingError: it could not be registered or served.
    """
    try:
        check_classifier(pipeline, class_names)
        check_probabilities(pipeline.predict_proba(rows), len(rows), class_names)
    except ModelError as error:
        raise TrainingError(f"{what} cannot be served: {error}") from None
    types = _types(pipeline, what)
    if library := booster_in(pipeline):
        try:
            onnx_model.compile_to_onnx(pipeline, rows.shape[1])
        except ModelImportError as error:
            raise TrainingError(f"{what} cannot be served: {only_as_onnx(library, str(error))}") from None
    return types


def only_as_onnx(library: str, reason: str) -> str:
    """Why a booster that is not expressed in ONNX has no way to be served, and what to do."""
    return (
        f"a model of {library} is served as ONNX only, and this one is not: {reason}; "
        "take the booster by itself, without steps around it, or an estimator of scikit-learn"
    )


def _types(pipeline: Pipeline, what: str) -> tuple[str, ...]:
    try:
        document: Any = skops.io.dumps(pipeline)
        foreign = foreign_types(document)
    except Exception as error:  # skops has one for each kind of member that it does not write
        said = (str(error).splitlines() or [""])[0]
        raise TrainingError(f"{what} cannot be stored by skops: {type(error).__name__}: {said}") from None
    if said := untrusted(foreign):
        raise TrainingError(f"{what} cannot be registered: {said}")
    return tuple(sorted(foreign))
