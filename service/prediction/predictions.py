"""Turns scored rows into the answers for their customers."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from contract import FeatureIssue, RawFeatures
from scoring.outcomes import OK
from service.prediction.batch import Batch, Scored
from service.telemetry.metrics import ServiceMetrics

_STATUSES = ("ok", "degraded", "refused", "unknown_customer")


class Prediction(NamedTuple):
    """The answer for one customer: the members of the response's row, in its order.

    churn_probability, churn: None unless the status is `ok` or `degraded`.
    status: `refused` if the contract forbids scoring, or the model has no probability for such values.
    feature_issues: every feature that was not simply fresh; empty for an unknown customer.
    cached_seconds: how long ago the features were read, if the online store could not be; else None.
    model: identity of the model that answered; None: the champion.
    """

    customer_id: str
    churn_probability: float | None
    churn: bool | None
    status: str
    feature_issues: Sequence[FeatureIssue] = ()
    cached_seconds: float | None = None
    model: dict[str, str] | None = None

    def row(self) -> dict[str, Any]:
        """Return the row of the response; it names the model only if that is not the champion."""
        row = self._asdict()
        if self.model is None:
            del row["model"]
        return row


def predictions(
    batch: Batch, part: RawFeatures, scored: Scored, metrics: ServiceMetrics, model: dict[str, str] | None = None
) -> list[Prediction]:
    """Make and count the answers for n customers.

    Args:
        part: what the model takes of what was read.
        model: identity of the model that scored them; None: the champion.
    """
    made = scored.outcomes
    usual = made.statuses == OK
    metrics.rows_ok(int(np.count_nonzero(usual)))
    return [
        Prediction(customer_id, probability, churn, "ok", model=model)
        if is_usual
        else _unusual(row, customer_id, part, scored, metrics, model)
        for row, (customer_id, probability, churn, is_usual) in enumerate(
            zip(batch.customer_ids, made.outputs[0].tolist(), made.outputs[1].tolist(), usual.tolist(), strict=True)
        )
    ]


def _unusual(
    row: int,
    customer_id: str,
    part: RawFeatures,
    scored: Scored,
    metrics: ServiceMetrics,
    model: dict[str, str] | None,
) -> Prediction:
    if part.unread is not None and part.unread[row].any():
        return Prediction(customer_id, None, None, "unknown_customer")  # the request gets an error instead
    made = scored.outcomes
    cached_seconds = None if part.cached_seconds is None else float(part.cached_seconds[row])
    status = _STATUSES[made.statuses[row]]
    metrics.row(status)
    if status == "unknown_customer":
        return Prediction(customer_id, None, None, status, (), cached_seconds, model)
    issues = scored.resolved.issues(row)
    metrics.issues(issues)
    if status == "refused":
        return Prediction(customer_id, None, None, status, issues, cached_seconds, model)
    probability, churn = float(made.outputs[0][row]), bool(made.outputs[1][row])
    return Prediction(customer_id, probability, churn, status, issues, cached_seconds, model)
