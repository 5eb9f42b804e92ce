"""What training says of the hours at which customers are asked about: ages of views, and buyers of the day."""

from collections.abc import Mapping

import numpy as np

from scoring.evaluation import Bools, Floats

_PARTS = (0.05, 0.5, 0.95)


def age_lines(ages: Mapping[str, Floats]) -> list[str]:
    """How old the rows of each view are, for people; hours (n,) by view, NaN where a customer has none."""
    lines = []
    for view, hours in ages.items():
        present = hours[np.isfinite(hours)]
        if len(present):
            low, middle, high = np.quantile(present, _PARTS)
            lines.append(
                f"  age of {view}: {middle:,.1f} h at the median, {low:,.1f} to {high:,.1f} h for nine of ten; "
                f"{np.mean(~np.isfinite(hours)):.2%} have none"
            )
    return lines


def age_metrics(ages: Mapping[str, Floats]) -> dict[str, float]:
    """The same as metrics: quantiles of the ages in hours, and the share without a row."""
    found: dict[str, float] = {}
    for view, hours in ages.items():
        present = hours[np.isfinite(hours)]
        if len(present):
            found |= {f"age_hours_p{part * 100:02.0f}_{view}": float(np.quantile(present, part)) for part in _PARTS}
            found[f"without_row_{view}"] = float(np.mean(~np.isfinite(hours)))
    return found


def same_day_metrics(same_day: Bools, churned: Bools, probability: Floats) -> dict[str, float]:
    """What is said of those who ordered since the snapshot, beside what became of them; arrays (n,)."""
    if not same_day.any():
        return {}
    return {
        "same_day_customers": float(same_day.sum()),
        "same_day_mean_probability": float(probability[same_day].mean()),
        "same_day_base_rate": float(churned[same_day].mean()),
    }


def same_day_line(same_day: Bools, churned: Bools, probability: Floats) -> str:
    """The same for people."""
    found = same_day_metrics(same_day, churned, probability)
    if not found:
        return "  nobody ordered between the cut-off and the moment of being asked about"
    return (
        f"  {same_day.sum():,} ordered between the cut-off and the moment of being asked about: mean probability "
        f"{found['same_day_mean_probability']:.3f}, churned {found['same_day_base_rate']:.3f}"
    )
