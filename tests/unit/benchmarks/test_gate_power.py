from typing import Any

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from benchmarks.simulations.gate_power import CHURNED, draw, section
from scoring.evaluation import expected_calibration_error


def said(better: float, not_worse: float, cannot_tell: float) -> dict[str, float]:
    return {"better": better, "not worse": not_worse, "worse": 0.0, "cannot tell": cannot_tell}


MEASURED: dict[str, Any] = {
    "measured_at": "2026-11-21T16:00:00+00:00",
    "git_commit": "abc",
    "sizes": [500, 2000],
    "trials": 300,
    "all_rules_trials": 100,
    "confidence": 0.95,
    "margin": 0.01,
    "against_champion": [
        {"truth": -0.01, "found": [said(0, 0.02, 0.9), said(0, 0.025, 0.9)]},
        {"truth": 0.0, "found": [said(0.025, 0.2, 0.7), said(0.025, 0.9, 0.05)]},
    ],
    "every_rule": [said(0, 0.1, 0.9), said(0, 0.8, 0.2)],
    "over_baseline": [{"truth": 0.013, "found": [said(0.1, 0.0, 0.9), said(0.3, 0.0, 0.7)]}],
}


def test_what_passes_and_what_cannot_be_told_is_shown_by_number_of_customers() -> None:
    text = section(MEASURED)

    assert "| candidate against the champion | 500 customers | 2,000 customers |" in text
    assert "| ROC AUC -0.01, the margin | 2.0% (90%) | 2.5% (90%) |" in text
    assert "| equal | 22.5% (70%) | 92.5% (5%) |" in text
    assert "| equal, every rule at once (100) | 10.0% (90%) | 80.0% (20%) |" in text
    assert "| ROC AUC +0.013 | 10.0% (90%) | 30.0% (70%) |" in text
    assert "may pass in 2.5%" in text


def test_nothing_measured_is_said() -> None:
    assert section(None) == "Not measured yet."


def test_drawn_models_have_the_roc_auc_that_is_asked_for_and_are_calibrated() -> None:
    customers = draw(40_000, 0.62, 0.75, 0.6, np.random.default_rng(3))

    assert pytest.approx(CHURNED, abs=0.01) == customers.churned.mean()
    for roc_auc, probability in ((0.62, customers.before), (0.75, customers.now)):
        assert pytest.approx(roc_auc, abs=0.01) == roc_auc_score(customers.churned, probability)
        assert expected_calibration_error(customers.churned, probability) < 0.01
