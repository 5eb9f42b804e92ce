"""Whether values differ from those that a model was trained on, and by how much. Pure."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from contract.histogram import Histogram

ALPHA = 0.05
"""Nominal rate of false alarms of one report, over all of its columns together."""
SMALLEST_PSI = 0.02
"""A difference below it is none, however many rows show it: a fifth of what is commonly called a slight drift."""
_FEWEST_EXPECTED = 5.0  # Cochran's rule for the chi-squared approximation


@dataclass(frozen=True)
class Drift:
    """How one column compares with training.

    p_value: of the chi-squared test of homogeneity, two samples over the histogram's bins and the missing.
    psi: population stability index, Σ (live − trained) · ln(live ÷ trained) over the same.
    drifted: the p value is below the level and the difference is not negligible.
    """

    column: str
    rows: int
    p_value: float
    psi: float
    drifted: bool


def drift(column: str, trained: Histogram, values: ArrayLike, level: float) -> Drift:
    """Compare n values, NaN where there is none, with what was counted in training.

    Args:
        level: of this column; `ALPHA` over the number of columns holds over all of them (Bonferroni).
    """
    live = trained.count(values)
    p_value, psi = p_value_of(trained.all_counts, live), psi_of(trained.all_counts, live)
    return Drift(column, int(live.sum()), p_value, psi, p_value < level and psi >= SMALLEST_PSI)


def p_value_of(trained: NDArray[np.int64], live: NDArray[np.int64]) -> float:
    """Pearson's chi-squared test of homogeneity; neighbouring bins are put together until both expect 5 rows."""
    share = live.sum() / max(1, live.sum() + trained.sum())
    expected = (trained + live) * min(share, 1 - share)
    table = _merged(np.stack([trained, live, expected]), expected)
    if table.shape[1] < 2 or not live.sum() or not trained.sum():
        return 1.0
    return float(stats.chi2_contingency(table[:2], correction=False).pvalue)


def psi_of(trained: NDArray[np.int64], live: NDArray[np.int64]) -> float:
    """Population stability index; half a row is added to every bin, so that an empty one is not infinite."""
    some = (trained + live) > 0
    a = (trained[some] + 0.5) / (trained[some] + 0.5).sum()
    b = (live[some] + 0.5) / (live[some] + 0.5).sum()
    return float(np.sum((b - a) * np.log(b / a)))


def _merged(table: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Columns added up from the left until each group expects enough; what is left over joins the last."""
    groups: list[NDArray[np.float64]] = []
    held, waiting = np.zeros(len(table)), 0.0
    for column in range(table.shape[1]):
        held, waiting = held + table[:, column], waiting + expected[column]
        if waiting >= _FEWEST_EXPECTED:
            groups.append(held)
            held, waiting = np.zeros(len(table)), 0.0
    if waiting and groups:
        groups[-1] = groups[-1] + held
    elif waiting:
        groups.append(held)
    return np.stack(groups, axis=1) if groups else np.zeros((len(table), 0))
