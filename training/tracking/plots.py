"""Draws figures for MLflow: calibration, ROC and lift of one population."""

import numpy as np
from matplotlib.figure import Figure
from sklearn.calibration import calibration_curve
from sklearn.metrics import roc_curve

from scoring.evaluation import Bools, Floats, lift_at


def figures(churned: Bools, probability: Floats, recency_days: Floats, population: str) -> dict[str, Figure]:
    """Return file name → figure.

    Args:
        churned, probability, recency_days: (n,), of the same customers.
    """
    calibration, axes = _figure(f"Calibration, {population}", "mean predicted probability", "observed churn rate")
    observed, predicted = calibration_curve(churned, probability, n_bins=10, strategy="quantile")
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--", label="perfect")
    axes.plot(predicted, observed, marker="o", label="model")
    axes.legend()

    roc, axes = _figure(f"ROC, {population}", "false-positive rate", "true-positive rate")
    for name, score in (("model", probability), ("recency only", recency_days)):
        false_positive, true_positive, _ = roc_curve(churned, score)
        axes.plot(false_positive, true_positive, label=name)
    axes.plot([0, 1], [0, 1], color="grey", linestyle="--")
    axes.legend()

    lift, axes = _figure(f"Lift, {population}", "share of customers contacted", "churn rate over base rate")
    shares = np.linspace(0.02, 1.0, 50)
    for name, score in (("model", probability), ("recency only", recency_days)):
        axes.plot(shares, [lift_at(churned, score, share) for share in shares], label=name)
    axes.axhline(1.0, color="grey", linestyle="--")
    axes.legend()
    return {
        f"plots/{population}_{name}.png": f for name, f in (("calibration", calibration), ("roc", roc), ("lift", lift))
    }


def _figure(title: str, x: str, y: str):  # type: ignore[no-untyped-def]  # matplotlib's Axes type is private to it
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set(title=title, xlabel=x, ylabel=y)
    return figure, axes
