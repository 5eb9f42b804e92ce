from typing import Any

from benchmarks.simulations.use_cases import section

ROW = {"rmse": {"value": 33.5, "low": 30.2, "high": 37.4}, "calibration": 0.37}
MEASURED: dict[str, Any] = {
    "measured_at": "2026-11-27T14:00:00+00:00",
    "git_commit": "abc",
    "took_seconds": 60,
    "cases": {
        "spend": {
            "rows": 20_000,
            "chosen": "poisson",
            "metric": "rmse",
            "scores": [
                {"name": "poisson", **ROW, "against_chosen": {"value": 0.0, "low": 0.0, "high": 0.0}},
                {"name": "Pareto/NBD", **ROW, "against_chosen": {"value": -1.5, "low": -2.5, "high": -0.5}},
            ],
        }
    },
}


def test_the_chosen_model_is_shown_beside_the_others_and_how_far_they_are_from_it() -> None:
    text = section(MEASURED)

    assert "| `spend`, 20,000 rows | rmse | calibration | rmse, difference |" in text
    assert "| **poisson** | 33.500 [30.200, 37.400] | 0.370 | – |" in text
    assert "| Pareto/NBD | 33.500 [30.200, 37.400] | 0.370 | -1.500 [-2.500, -0.500] |" in text


def test_nothing_measured_is_said() -> None:
    assert "Not measured yet." == section(None)
