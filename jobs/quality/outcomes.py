"""What became of those who were asked about, as the use case tells it."""

from collections.abc import Callable, Mapping

import pandas as pd

Outcomes = Callable[[pd.DataFrame, Mapping[str, str], int], pd.DataFrame]
"""(rows of join keys and `event_timestamp`, environment, days of a label) → the same rows with `label`, null where it
is not yet known. Raises `artefacts.errors.SourceError` if the use case's source cannot be used.
"""


def outcomes_of_use_case() -> Outcomes:
    """The use case's own; importing it takes a second."""
    from training.churn.labels import labels

    return labels
