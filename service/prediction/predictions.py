"""Scored rows → the answers for their customers."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from contract import FeatureIssue, RawFeatures
from scoring.outcomes import OK, STATUSES, Status
from service.prediction.batch import Batch, Scored
from service.telemetry.metrics import ServiceMetrics


class Prediction(NamedTuple):
    """The answer for one customer.

    status: `refused` if the contract forbids scoring, or the model has no probability for such values.
    churn_probability, churn: None unless the status is `ok` or `degraded`.
    feature_issues: every feature that was not simply fresh; empty for an unknown customer.
    cached_seconds: how long ago the features were read, if the online store could not be; else None.
    challenger: the identity of the model that answered, if it was not the champion.
    """

    customer_id: str
    status: Status
    churn_probability: float | None = None
    churn: bool | None = None
    feature_issues: Sequence[FeatureIssue] = ()
    cached_seconds: float | None = None
    challenger: dict[str, str] | None = None


def predictions(
    batch: Batch, raw: RawFeatures, scored: Scored, metrics: ServiceMetrics, challenger: dict[str, str] | None = None
) -> list[Prediction]:
    """The answers for n customers, counted.

    Args:
        challenger: the identity of the model that scored them, if it is not the champion.
    """
    made = scored.outcomes
    usual = made.statuses == OK
    metrics.rows_ok(int(np.count_nonzero(usual)))
    return [
        Prediction(customer_id, "ok", probability, churn, challenger=challenger)
        if is_usual
        else _unusual(row, customer_id, raw, scored, metrics, challenger)
        for row, (customer_id, probability, churn, is_usual) in enumerate(
            zip(batch.customer_ids, made.probabilities.tolist(), made.decisions.tolist(), usual.tolist(), strict=True)
        )
    ]


def _unusual(
    row: int,
    customer_id: str,
    raw: RawFeatures,
    scored: Scored,
    metrics: ServiceMetrics,
    challenger: dict[str, str] | None,
) -> Prediction:
    made = scored.outcomes
    cached_seconds = None if raw.cached_seconds is None else float(raw.cached_seconds[row])
    if raw.unread is not None and raw.unread[row].any():
        return Prediction(customer_id, "unknown_customer")  # not told: whoever asked gets an error instead
    status = STATUSES[made.statuses[row]]
    metrics.row(status)
    if status == "unknown_customer":
        return Prediction(customer_id, status, cached_seconds=cached_seconds, challenger=challenger)
    issues = scored.resolved.issues(row)
    metrics.issues(issues)
    if status == "refused":
        return Prediction(customer_id, status, None, None, issues, cached_seconds, challenger)
    probability, churn = float(made.probabilities[row]), bool(made.decisions[row])
    return Prediction(customer_id, status, probability, churn, issues, cached_seconds, challenger)
