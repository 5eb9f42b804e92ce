"""Tests whether values differ from a baseline, and measures by how much. Pure."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from contract.values.histogram import Histogram
from jobs.drift.class_counts import Counts

_FEWEST_EXPECTED = 5.0  # Cochran's rule for the chi-squared approximation


@dataclass(frozen=True)
class Thresholds:
    """What counts as drift.

    alpha: rate of false alarms of a whole report.
    min_psi: the smallest index that matters; `min_psi_of` sets it for single columns.
    """

    alpha: float = 0.05
    min_psi: float = 0.05
    min_psi_of: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Drift:
    """How one column compares with the baseline.

    p_value: of the chi-squared test of homogeneity of two samples, over the bins or classes and the missing values.
    psi: population stability index, Σ (live − baseline) · ln(live ÷ baseline) over the same: the size of the effect.
    min_psi: the smallest index that matters.
    missing, missing_before: share of rows without a value, live and in the baseline.
    significant: the p value is below the level.
    drifted: the difference is significant, and the index is at least `min_psi`.
    """

    column: str
    rows: int
    p_value: float
    psi: float
    min_psi: float
    missing: float
    missing_before: float
    significant: bool
    drifted: bool


def drift(column: str, baseline: Counts, values: ArrayLike, level: float, min_psi: float) -> Drift:
    """Compare n values, NaN for missing ones, with the counts of the baseline.

    Args:
        level: significance level of this column. A report divides its rate of false alarms by its number of columns
            (Bonferroni).
    """
    before, live = baseline.all_counts, baseline.count(values)
    p_value = p_value_of(before, live, ordered=isinstance(baseline, Histogram))
    psi = psi_of(before, live)
    return Drift(
        column=column,
        rows=int(live.sum()),
        p_value=p_value,
        psi=psi,
        min_psi=min_psi,
        missing=float(live[-1] / max(1, live.sum())),
        missing_before=float(before[-1] / max(1, before.sum())),
        significant=p_value < level,
        drifted=p_value < level and psi >= min_psi,
    )


def compare_columns(
    live: pd.DataFrame, baseline: Mapping[str, Counts], thresholds: Thresholds, scores: Collection[str] = ()
) -> list[Drift]:
    """Compare every column with the baseline; drifted columns come first, by falling index.

    Args:
        live: a column for each of `baseline`; one row for each entity.
        scores: columns of scores. Rows without one are left out there: they were refused, not scored low.
    """
    level = thresholds.alpha / len(baseline)
    found = [
        drift(name, counts, values_of(live, name, scores), level, thresholds.min_psi_of.get(name, thresholds.min_psi))
        for name, counts in baseline.items()
    ]
    return sorted(found, key=lambda column: (not column.drifted, -column.psi / column.min_psi))


def values_of(rows: pd.DataFrame, name: str, scores: Collection[str]) -> NDArray[np.float64]:
    """The values of a column; of a score's only those of rows that were scored."""
    values: NDArray[np.float64] = rows[name].to_numpy()
    return values[~np.isnan(values)] if name in scores else values


def p_value_of(before: NDArray[np.int64], live: NDArray[np.int64], ordered: bool = True) -> float:
    """Pearson's chi-squared test of homogeneity; bins are merged until both samples expect 5 rows.

    Args:
        ordered: neighbouring bins hold neighbouring values and are merged with each other. Else the rarest are.
    """
    share = live.sum() / max(1, live.sum() + before.sum())
    expected = (before + live) * min(share, 1 - share)
    order = np.arange(len(expected)) if ordered else np.argsort(expected, kind="stable")
    table = _merged(np.stack([before, live, expected])[:, order], expected[order])
    if table.shape[1] < 2 or not live.sum() or not before.sum():
        return 1.0
    return float(stats.chi2_contingency(table[:2], correction=False).pvalue)


def psi_of(before: NDArray[np.int64], live: NDArray[np.int64]) -> float:
    """Population stability index. Half a row is added to every bin, so that an empty bin does not make it infinite."""
    some = (before + live) > 0
    a = (before[some] + 0.5) / (before[some] + 0.5).sum()
    b = (live[some] + 0.5) / (live[some] + 0.5).sum()
    return float(np.sum((b - a) * np.log(b / a)))


def _merged(table: NDArray[np.float64], expected: NDArray[np.float64]) -> NDArray[np.float64]:
    """Add up columns from the left until each group expects enough rows; the rest joins the last group."""
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
