"""Calibration of live answers: predicted probability against the observed rate of churn."""

from dataclasses import dataclass

from scoring.evaluation import BINARY, Bools, Floats


@dataclass(frozen=True)
class Calibration:
    """One model's answers to one population, over all weeks.

    points: (mean predicted probability, share that churned) of each bin, by rising probability.
    """

    model: str
    population: str
    points: tuple[tuple[float, float], ...]


def calibration_points(churned: Bools, probability: Floats) -> tuple[tuple[float, float], ...]:
    """The points of a calibration curve, of n ≥ `scoring.evaluation.BINS` rows."""
    return BINARY.calibration_points(churned, probability)
