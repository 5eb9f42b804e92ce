"""Draws figures for MLflow, by task, of one population."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, precision_recall_curve, roc_curve

from contract.tasks import TaskKind
from scoring.evaluation import Floats, Labels, lift_at, metrics_of

MOST_WRITTEN_CLASSES = 12
"""Of more classes, the confusion matrix has colours and no numbers."""


@dataclass(frozen=True)
class ScoredPopulation:
    """What is drawn: the scores of one population.

    labels: (n,), as `scoring.evaluation` takes them.
    scores: (n,) or, for a multi-class task, (n, c).
    classes: their names, in the order of the codes; the positive class of a binary task is the second.
    target: what a regression predicts, with its unit.
    baseline: name and scores, (n,), of a binary task's baseline.
    threshold: of a binary task's decision.
    """

    name: str
    labels: Labels
    scores: Floats
    classes: Sequence[str] = ()
    target: str = "target"
    baseline: tuple[str, Floats] | None = None
    threshold: float | None = None


def figures(task: TaskKind, population: ScoredPopulation) -> dict[str, Figure]:
    """Return file name → figure."""
    return {f"plots/{population.name}_{kind}.png": draw(population) for kind, draw in _FIGURES[task].items()}


def _binary_calibration(drawn: ScoredPopulation) -> Figure:
    figure, axes = _figure(
        f"Calibration, {drawn.name}", "mean predicted probability", f"observed rate, {drawn.classes[1]}"
    )
    observed, predicted = calibration_curve(drawn.labels, drawn.scores, n_bins=10, strategy="quantile")
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfect")
    axes.plot(predicted, observed, marker="o", label="model")
    axes.legend()
    return figure


def _roc(drawn: ScoredPopulation) -> Figure:
    figure, axes = _figure(f"ROC, {drawn.name}", "false-positive rate", "true-positive rate")
    for name, score in _model_and_baseline(drawn).items():
        false_positive, true_positive, _ = roc_curve(drawn.labels, score)
        axes.plot(false_positive, true_positive, label=name)
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--")
    axes.legend()
    return figure


def _precision_recall(drawn: ScoredPopulation) -> Figure:
    figure, axes = _figure(f"Precision and recall, {drawn.name}", "recall", f"precision, {drawn.classes[1]}")
    for name, score in _model_and_baseline(drawn).items():
        precision, recall, _ = precision_recall_curve(drawn.labels, score)
        axes.plot(recall, precision, label=name)
    axes.axhline(np.mean(drawn.labels), color="grey", linestyle="--", label="rate of all rows")
    axes.legend()
    return figure


def _lift(drawn: ScoredPopulation) -> Figure:
    figure, axes = _figure(
        f"Lift, {drawn.name}", "share of rows with the highest scores", f"rate over base rate, {drawn.classes[1]}"
    )
    shares = np.linspace(0.02, 1.0, 50)
    for name, score in _model_and_baseline(drawn).items():
        axes.plot(shares, [lift_at(drawn.labels, score, share) for share in shares], label=name)
    axes.axhline(1.0, color="grey", linestyle="--")
    axes.legend()
    return figure


def _model_and_baseline(drawn: ScoredPopulation) -> dict[str, Floats]:
    return {"model": drawn.scores, **dict([drawn.baseline] if drawn.baseline else [])}


def _confusion(drawn: ScoredPopulation) -> Figure:
    """Rows are the labels; colours are shares of a row, numbers are counts."""
    figure, axes = _figure(f"Confusion, {drawn.name}", "predicted class", "class")
    codes = np.arange(len(drawn.classes))
    counts = confusion_matrix(drawn.labels, _decided(drawn), labels=codes)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure.colorbar(axes.imshow(shares, vmin=0, vmax=1, cmap="Blues"), label="share of the class")
    axes.set_xticks(codes, drawn.classes, rotation=45, ha="right")
    axes.set_yticks(codes, drawn.classes)
    if len(codes) <= MOST_WRITTEN_CLASSES:
        for (row, column), count in np.ndenumerate(counts):
            colour = "white" if shares[row, column] > 0.5 else "black"
            axes.text(column, row, f"{count:,}", ha="center", va="center", color=colour)
    return figure


def _decided(drawn: ScoredPopulation) -> NDArray[np.intp]:
    likeliest: NDArray[np.intp] = np.argmax(drawn.scores.reshape(len(drawn.scores), -1), axis=1)
    return likeliest if drawn.threshold is None else (drawn.scores >= drawn.threshold).astype(np.intp)


def _top_class_calibration(drawn: ScoredPopulation) -> Figure:
    figure, axes = _figure(
        f"Calibration of the top class, {drawn.name}", "mean probability of the top class", "share that is right"
    )
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfect")
    axes.plot(*_points("multiclass", drawn), marker="o", label="model")
    axes.legend()
    return figure


def _predicted_and_observed(drawn: ScoredPopulation) -> Figure:
    figure, axes = _figure(
        f"Deciles of the prediction, {drawn.name}", f"mean prediction of {drawn.target}", f"mean {drawn.target}"
    )
    predicted, observed = _points("regression", drawn)
    ends = [min(*predicted, *observed), max(*predicted, *observed)]
    axes.plot(ends, ends, color="grey", linestyle="--", label="perfect")
    axes.plot(predicted, observed, marker="o", label="model")
    axes.legend()
    return figure


def _residuals(drawn: ScoredPopulation) -> Figure:
    figure, axes = _figure(
        f"Residuals, {drawn.name}", f"prediction of {drawn.target}", f"{drawn.target} minus its prediction"
    )
    cells = axes.hexbin(drawn.scores, drawn.labels - drawn.scores, gridsize=40, bins="log", mincnt=1, cmap="Blues")
    figure.colorbar(cells, label="rows")
    axes.axhline(0.0, color="grey", linestyle="--")
    return figure


def _points(task: TaskKind, drawn: ScoredPopulation) -> tuple[Sequence[float], Sequence[float]]:
    """Mean predicted and mean observed, of each bin of the task's calibration metric."""
    predicted, observed = zip(*metrics_of(task).calibration_points(drawn.labels, drawn.scores), strict=True)
    return predicted, observed


def _figure(title: str, x: str, y: str) -> tuple[Figure, Any]:
    """A figure and its axes, whose class matplotlib does not publish."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes


_FIGURES: Mapping[TaskKind, Mapping[str, Callable[[ScoredPopulation], Figure]]] = MappingProxyType(
    {
        "binary": {
            "calibration": _binary_calibration,
            "roc": _roc,
            "precision_recall": _precision_recall,
            "lift": _lift,
            "confusion": _confusion,
        },
        "multiclass": {"confusion": _confusion, "calibration": _top_class_calibration},
        "regression": {"deciles": _predicted_and_observed, "residuals": _residuals},
    }
)
