"""Fits candidates on a few rows first, to refuse in seconds what could not be registered or served."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from sklearn.pipeline import Pipeline

from scoring.errors import ModelError
from scoring.evaluation import Labels
from scoring.models.stored_pipeline import foreign_types, untrusted
from scoring.models.task_models import PredictedTask, task_model
from training.compilation import onnx_model
from training.compilation.boosters import booster_in
from training.errors import ModelImportError, TrainingError

_ROWS_OF_A_CLASS = 60


def check_candidate(
    name: str, made: Callable[[], Pipeline], matrix: pd.DataFrame, labels: Labels, task: PredictedTask
) -> None:
    """Fit a candidate on a few training rows and check that it could be registered and served.

    A candidate that cannot be fitted on so few rows passes; the fit on all rows will raise its error.

    Raises:
        TrainingError: it could not be registered or served; names the candidate, the reason and the remedy.
    """
    labels = np.asarray(labels)
    if task.class_names:
        of_each = [np.flatnonzero(labels == each)[:_ROWS_OF_A_CLASS] for each in np.unique(labels)]
        few = np.sort(np.concatenate(of_each))
    else:
        few = np.arange(min(len(labels), 2 * _ROWS_OF_A_CLASS))
    rows, of_rows = matrix.iloc[few].reset_index(drop=True), labels[few]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # expected with so few rows
            pipeline = made().fit(rows, of_rows)
    except Exception:  # whatever the estimator raises
        return
    check_registrable(pipeline, rows, task, f"candidate {name!r}")


def check_registrable(pipeline: Pipeline, rows: pd.DataFrame, task: PredictedTask, what: str) -> tuple[str, ...]:
    """Check that a fitted pipeline can be registered and served.

    Returns:
        Its types that are not on our list, for its contract.

    Raises:
        TrainingError: it cannot be registered or served.
    """
    try:
        own = task_model(task)
        own.check_pipeline(pipeline)
        own.check_outputs([own.answered_by(pipeline, rows)], len(rows))
    except ModelError as error:
        raise TrainingError(f"{what} cannot be served: {error}") from None
    types = _types(pipeline, what)
    if library := booster_in(pipeline):
        try:
            compiled = onnx_model.compile_to_onnx(pipeline, rows.shape[1], task)
            made, difference = onnx_model.difference_at_thresholds(pipeline, compiled, rows, task)
        except ModelImportError as error:
            raise TrainingError(f"{what} cannot be served: {booster_refusal(library, str(error))}") from None
        if not difference <= onnx_model.MAX_DIFFERENCE:
            said = f"ONNX answers otherwise: {made:,} rows at its thresholds, largest difference {difference:.1e}"
            raise TrainingError(f"{what} cannot be served: {booster_refusal(library, said)}")
    return types


def booster_refusal(library: str, reason: str) -> str:
    """The message for a booster that ONNX cannot express: why it cannot be served, and the remedy."""
    return (
        f"{library} models are served only as ONNX, and this one cannot be: {reason}; "
        "use the booster alone, or after a StandardScaler, MinMaxScaler, SimpleImputer or OneHotEncoder, "
        "or an estimator of scikit-learn"
    )


def _types(pipeline: Pipeline, what: str) -> tuple[str, ...]:
    try:
        document: Any = skops.io.dumps(pipeline)
        foreign = foreign_types(document)
    except Exception as error:  # skops has one class per kind of unsupported member
        said = (str(error).splitlines() or [""])[0]
        raise TrainingError(f"{what} cannot be stored by skops: {type(error).__name__}: {said}") from None
    if said := untrusted(foreign):
        raise TrainingError(f"{what} cannot be registered: {said}")
    return tuple(sorted(foreign))
