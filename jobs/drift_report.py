"""The page about drift, drawn by Evidently; what has drifted is decided before, by `jobs.drift_statistics`."""

import warnings
from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from contract import ModelContract
from contract.histogram import Histogram
from jobs.drift_statistics import Drift

_TEST = "contract_chi_squared"
_TRAINING_ROWS = 5_000
"""That stand for training's distribution in the drawings."""


def drift_page(
    contract: ModelContract, live: pd.DataFrame, trained: Mapping[str, Histogram], found: Sequence[Drift]
) -> str:
    """HTML in one file that loads nothing.

    Args:
        live: one row for each customer, a column for each of `trained`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its own dependencies, and of columns that are constant
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset

        _register({column.column: column for column in found})
        names = list(trained)
        definition = DataDefinition(numerical_columns=names)
        whole = {feature.name for feature in contract.inputs if not feature.dtype.startswith("float")}
        drawn = {name: stand_ins(histogram, name in whole) for name, histogram in trained.items()}
        reference = pd.DataFrame({name: pd.Series(values) for name, values in drawn.items()})
        report = Report([DataDriftPreset(columns=names, per_column_method=dict.fromkeys(names, _TEST))])
        # An empty column cannot be drawn; it is in the JSON.
        made = report.run(
            Dataset.from_pandas(live[names], data_definition=definition),
            Dataset.from_pandas(reference, data_definition=definition),
        )
        html: str = made.get_html_str(as_iframe=False)
        return html


def stand_ins(histogram: Histogram, whole: bool) -> NDArray[np.float64]:
    """Values that lie in the bins of a histogram as often as those that it counted, evenly within each.

    Args:
        whole: only whole numbers.

    Returns:
        At most about `_TRAINING_ROWS`; NaN for the missing.
    """
    edges = np.array(histogram.edges)
    total = histogram.all_counts.sum()
    width = edges[-1] - edges[-2] if len(edges) > 1 else 1.0
    lower = np.concatenate([edges[:1] - width, edges])
    upper = np.concatenate([edges, edges[-1:] + width])
    parts = [np.zeros(0)]
    for low, high, count in zip(lower, upper, histogram.counts, strict=False):
        rows = round(count / total * _TRAINING_ROWS)
        values = low + (high - low) * (np.arange(rows) + 1) / max(rows, 1)
        parts.append(np.ceil(values) if whole else values)
    parts.append(np.full(round(histogram.missing / total * _TRAINING_ROWS), np.nan))
    return np.concatenate(parts)


def _register(found: Mapping[str, Drift]) -> None:
    """Let Evidently ask for what was found instead of testing once more, on drawings of the training data."""
    from evidently.legacy.calculations.stattests.registry import StatTest, register_stattest
    from evidently.legacy.core import ColumnType

    def told(_reference: pd.Series, live: pd.Series, _kind: object, _threshold: float) -> tuple[float, bool]:
        column = found[str(live.name)]
        return column.p_value, column.drifted

    test = StatTest(_TEST, "chi-squared test against the contract's counts, p value", [ColumnType.Numerical])
    register_stattest(test, told)
