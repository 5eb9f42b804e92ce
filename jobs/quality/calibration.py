"""Calibration of live answers: predicted probability against the observed rate of churn."""

from dataclasses import dataclass

import numpy as np

from scoring.evaluation import Bools, Floats

BINS = 10
"""Equally filled, as those of the calibration error."""


@dataclass(frozen=True)
class Calibration:
    """One model's answers to one population, over all weeks.

    points: (mean predicted probability, share that churned) of each bin, by rising probability.
    """

    model: str
    population: str
    points: tuple[tuple[float, float], ...]


def calibration_points(churned: Bools, probability: Floats) -> tuple[tuple[float, float], ...]:
    """The points of a calibration curve, of n ≥ `BINS` rows."""
    parts = np.array_split(np.argsort(probability, kind="stable"), BINS)
    return tuple((float(probability[part].mean()), float(churned[part].mean())) for part in parts)
