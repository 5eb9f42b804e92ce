from typing import Any

from benchmarks.simulations.hours import section

ESTIMATE = {"value": 0.75, "low": 0.7, "high": 0.8}
FIGURES: dict[str, Any] = {
    **{f"{population}_{metric}": ESTIMATE for population in ("all", "active") for metric in ("roc_auc", "log_loss")},
    "calibration_error": 0.025,
    "same_day_churned": {"value": 0.4, "low": 0.2, "high": 0.6},
    "same_day_probability": 0.37,
    "same_day_log_loss": 0.48,
    "moves_mean": 0.05,
    "moves_most": 0.15,
}
MEASURED: dict[str, Any] = {
    "measured_at": "2026-11-27T14:00:00+00:00",
    "git_commit": "abc",
    "took_seconds": 60,
    "resamples": 200,
    "rows": 20_000,
    "active": 6_000,
    "same_day": 45,
    "last_day": 55,
    "ages": [1.2, 12.0, 22.8],
    "models": [{"candidate": "logistic", "hours": hours, **FIGURES} for hours in ("0-0", "0-24")],
}


def test_both_ways_to_train_are_shown_beside_each_other() -> None:
    text = section(MEASURED)

    assert "| logistic, at midnights | 0.750 [0.700, 0.800] |" in text
    assert "| logistic, at hours 0-24 | 0.370 | 0.480 | 0.050 | 0.150 |" in text
    assert "0.400 [0.200, 0.600] of them churned" in text


def test_nothing_measured_is_said() -> None:
    assert section(None) == "Not measured yet."
