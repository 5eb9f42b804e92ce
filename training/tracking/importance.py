"""Draws how much each input adds to the scores of the test rows."""

import logging
from collections.abc import Sequence
from typing import Final

import mlflow
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn.pipeline import Pipeline

from contract import FeatureInput
from contract.tasks import TaskKind
from scoring.errors import ExplanationError
from scoring.evaluation import Floats
from scoring.explanation import Explainer
from scoring.models.model_frame import CodedColumns

_LOG = logging.getLogger(__name__)

MOST_ROWS: Final = 500
MOST_INPUTS: Final = 20


def log_importance(
    pipeline: Pipeline, inputs: Sequence[FeatureInput], task: TaskKind, rows: pd.DataFrame, seed: int
) -> None:
    """Log a figure of the mean absolute SHAP value of each input; nothing where there is no exact explanation.

    Of a multi-class task those of the likeliest class are drawn.

    Args:
        rows: the model's inputs, categories as codes; at most `MOST_ROWS` of them are drawn by `seed`.
    """
    names = [given.name for given in inputs]
    drawn = rows.sample(min(len(rows), MOST_ROWS), random_state=seed)
    try:
        explainer = Explainer.of(pipeline, names, task, CodedColumns.of(inputs))
        found = explainer.explain(drawn.to_numpy(dtype=np.float32))
    except ExplanationError as error:
        _LOG.info(f"no figure of the inputs' contributions: {error}")
        return
    strength = np.abs(found.contributions).mean(axis=0)
    mlflow.log_figure(_bars(names, strength, found.space, len(drawn)), "plots/shap.png")


def _bars(names: Sequence[str], strength: Floats, unit: str, rows: int) -> Figure:
    order = np.argsort(strength)[-MOST_INPUTS:]
    figure = Figure(figsize=(8, 1.2 + 0.28 * len(order)), layout="constrained")
    axes = figure.subplots()
    axes.barh([names[at] for at in order], strength[order])
    axes.set(title=f"Contributions, {rows:,} test rows", xlabel=f"mean absolute SHAP value ({unit})")
    return figure
