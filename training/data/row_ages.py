"""Reports how old the views' rows are at the request times."""

from collections.abc import Mapping

import numpy as np

from scoring.evaluation import Floats

_QUANTILES = (0.05, 0.5, 0.95)


def age_lines(ages: Mapping[str, Floats]) -> list[str]:
    """Lines about the ages of each view's rows; view → hours (n,), NaN without a row."""
    lines = []
    for view, hours in ages.items():
        present = hours[np.isfinite(hours)]
        if len(present):
            low, middle, high = np.quantile(present, _QUANTILES)
            lines.append(
                f"  age of {view}: median {middle:,.1f} h, {low:,.1f} to {high:,.1f} h for nine of ten; "
                f"{np.mean(~np.isfinite(hours)):.2%} have no row"
            )
    return lines


def age_metrics(ages: Mapping[str, Floats]) -> dict[str, float]:
    """Metrics per view: quantiles of the ages in hours, and the share without a row."""
    found: dict[str, float] = {}
    for view, hours in ages.items():
        present = hours[np.isfinite(hours)]
        if len(present):
            found |= {f"age_hours_p{q * 100:02.0f}_{view}": float(np.quantile(present, q)) for q in _QUANTILES}
            found[f"without_row_{view}"] = float(np.mean(~np.isfinite(hours)))
    return found
