"""Fits candidates on a few rows first, to refuse in seconds what could not be registered or served."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import skops.io
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from contract.values.vocabulary import MISSING_CODE, UNSEEN_CODE
from scoring.agreement import spread_of
from scoring.errors import ModelError
from scoring.evaluation import Labels
from scoring.models.model_frame import NUMBERS, CodedColumns
from scoring.models.stored_pipeline import foreign_types, untrusted
from scoring.models.task_models import PredictedTask, task_model
from training.compilation import onnx_model
from training.compilation.boosters import booster_in
from training.compilation.planted_rows import planted_rows
from training.errors import ModelImportError, TrainingError

_ROWS_OF_A_CLASS = 60


def check_candidate(
    name: str,
    made: Callable[[], Pipeline],
    matrix: pd.DataFrame,
    labels: Labels,
    task: PredictedTask,
    coded: CodedColumns = NUMBERS,
) -> None:
    """Fit a candidate on a few training rows and check that it could be registered and served.

    A candidate that cannot be fitted on so few rows passes; the fit on all rows will raise its error.

    Args:
        matrix: float32 (n, k), named as in training.
        coded: its columns that hold codes or nulls.

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
            pipeline = made().fit(coded.frame(rows.to_numpy(dtype=np.float32), list(rows.columns)), of_rows)
    except Exception:  # whatever the estimator raises
        return
    check_registrable(pipeline, rows, task, f"candidate {name!r}", coded, saw_all=False)


def check_registrable(
    pipeline: Pipeline,
    rows: pd.DataFrame,
    task: PredictedTask,
    what: str,
    coded: CodedColumns = NUMBERS,
    saw_all: bool = True,
) -> tuple[str, ...]:
    """Check that a fitted pipeline can be registered and served.

    Args:
        rows, coded: as of `check_candidate`.
        saw_all: it was fitted on all rows, so it must take each value of each category.

    Returns:
        Its types that are not on our list, for its contract.

    Raises:
        TrainingError: it cannot be registered or served.
    """
    try:
        own = task_model(task)
        own.check_pipeline(pipeline)
        frame = coded.frame(rows.to_numpy(dtype=np.float32), list(rows.columns))
        answered = own.answered_by(pipeline, frame)
        own.check_outputs([answered], len(rows))
    except ModelError as error:
        raise TrainingError(f"{what} cannot be served: {error}") from None
    _check_planted(pipeline, rows, task, what, coded, saw_all)
    types = _types(pipeline, what)
    if library := booster_in(pipeline):
        try:
            compiled = onnx_model.compile_to_onnx(pipeline, rows.shape[1], task, coded)
            unit = 1.0 if task.class_names else spread_of(answered)
            compared = (pipeline, compiled, rows, task, coded, unit)
            made = {
                "at its thresholds": onnx_model.difference_at_thresholds(*compared),
                "with nulls and unseen values": onnx_model.difference_on_planted(*compared),
            }
        except ModelImportError as error:
            raise TrainingError(f"{what} cannot be served: {booster_refusal(library, str(error))}") from None
        for which, (count, difference) in made.items():
            if not difference <= onnx_model.MAX_DIFFERENCE:
                said = f"ONNX answers otherwise: {count:,} rows {which}, largest difference {difference:.1e}"
                raise TrainingError(f"{what} cannot be served: {booster_refusal(library, said)}")
    return types


def _check_planted(
    pipeline: Pipeline, rows: pd.DataFrame, task: PredictedTask, what: str, coded: CodedColumns, saw_all: bool
) -> None:
    """Check that the pipeline takes the nulls, the unseen values and the categories that would reach it."""
    names, own = list(rows.columns), task_model(task)
    for at, planted in planted_rows(rows.to_numpy(dtype=np.float32), coded):
        if at is None or not (saw_all or _is_absent(planted[:, at])):
            continue
        try:
            own.answered_by(pipeline, coded.frame(planted, names))
        except Exception as error:  # whatever the estimator raises
            said = (str(error).splitlines() or [type(error).__name__])[0]
            lacking = _what_it_lacks(names[at], planted[:, at])
            raise TrainingError(f"{what} cannot be served: {lacking}: {said}") from None


def _is_absent(values: NDArray[np.float32]) -> bool:
    """True if they are null or unseen."""
    return bool(np.isnan(values[0]) or ((values == values[0]).all() and values[0] in (MISSING_CODE, UNSEEN_CODE)))


def _what_it_lacks(name: str, values: NDArray[np.float32]) -> str:
    if not _is_absent(values):
        return f"it does not take every value of {name!r} that its contract names; give its encoder handle_unknown"
    if values[0] == UNSEEN_CODE:
        return (
            f"it takes no value of {name!r} that training did not see; give its encoder handle_unknown, "
            'or the feature the tag on_unseen: "use_default" or "refuse"'
        )
    return (
        f'it takes no null of {name!r}, which the feature\'s tag on_missing: "keep" passes on; '
        "give it an imputer, or the feature another on_missing"
    )


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
