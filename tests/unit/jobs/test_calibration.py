"""A calibration curve compares predictions with outcomes in bins of equally many rows."""

import numpy as np
import pytest

from scoring.evaluation import BINARY, BINS, expected_calibration_error


def test_points_rise_and_their_distance_from_the_diagonal_is_the_calibration_error() -> None:
    random = np.random.default_rng(7)
    probability = random.random(1000)
    churned = random.random(1000) < probability**2

    points = np.array(BINARY.calibration_points(churned, probability))

    assert (BINS, 2) == points.shape
    assert (np.diff(points[:, 0]) > 0).all()
    error = np.abs(points[:, 0] - points[:, 1]).mean()
    assert expected_calibration_error(churned, probability) == pytest.approx(error)
