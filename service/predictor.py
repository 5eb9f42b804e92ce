"""Customer ids → features → model → predictions. Plain Python: no feast, no mlflow, no bentoml, no HTTP."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from contract import FeatureIssue, OverrideError, Resolver
from service.errors import DeadlineExceededError, InvalidRequestError
from service.model import ServedModel

if TYPE_CHECKING:
    from service.online_features import OnlineFeatures

Status = Literal["ok", "degraded", "refused", "unknown_customer"]


@dataclass(frozen=True, slots=True)
class Prediction:
    """The answer for one customer.

    churn_probability, churn: None unless the status is `ok` or `degraded`.
    feature_issues: every feature that was not simply fresh; empty for an unknown customer.
    """

    customer_id: str
    status: Status
    churn_probability: float | None = None
    churn: bool | None = None
    feature_issues: list[FeatureIssue] = field(default_factory=list)


class Predictor:
    """One model over one online store."""

    def __init__(self, model: ServedModel, features: "OnlineFeatures", deadline_seconds: float) -> None:
        self.model = model
        self._features = features
        self._deadline_seconds = deadline_seconds
        self._resolver = Resolver.of(model.contract)

    async def predict(
        self, customer_ids: Sequence[str], as_of_unix_us: int, overrides: Mapping[str, object] | None = None
    ) -> list[Prediction]:
        """Predict for n customers: same order, duplicates kept, one prediction each.

        Args:
            customer_ids: non-empty strings, n of them; n may be 0.
            as_of_unix_us: the request's time, taken once, in microseconds since 1970.
            overrides: feature reference → value, for every row.

        Raises:
            InvalidRequestError: an override names no input or has the wrong type.
            DeadlineExceededError, OnlineStoreUnavailableError: features could not be read.
        """
        try:
            checked = self._resolver.check_overrides(overrides) if overrides else None
        except OverrideError as error:
            raise InvalidRequestError(str(error), field=error.field) from None
        if not customer_ids:
            return []
        rows = {customer_id: row for row, customer_id in enumerate(dict.fromkeys(customer_ids))}
        try:
            async with asyncio.timeout(self._deadline_seconds):
                raw = await self._features.read(list(rows), as_of_unix_us)
        except TimeoutError:
            raise DeadlineExceededError("the online store did not answer in time") from None
        resolved = self._resolver.resolve(raw, as_of_unix_us / 1e6, checked)
        # Compared as it is answered, in float64, so that nobody can find a decision that contradicts its number.
        probabilities = self.model.score(resolved.matrix).astype(np.float64)
        churns: NDArray[np.bool_] = np.greater_equal(probabilities, self.model.contract.threshold.value)
        troubled = np.any(resolved.states, axis=1)

        def prediction(customer_id: str, row: int) -> Prediction:
            if not resolved.known[row]:
                return Prediction(customer_id, "unknown_customer")
            issues = resolved.issues(row) if troubled[row] else []
            if resolved.refused[row]:
                return Prediction(customer_id, "refused", feature_issues=issues)
            status: Status = "degraded" if issues else "ok"
            return Prediction(customer_id, status, float(probabilities[row]), bool(churns[row]), issues)

        distinct = {customer_id: prediction(customer_id, row) for customer_id, row in rows.items()}
        return [distinct[customer_id] for customer_id in customer_ids]

    async def can_read(self, as_of_unix_us: int) -> bool:
        """True if the online store answers a look-up within the deadline."""
        try:
            await self.predict([_NOBODY], as_of_unix_us)
        except Exception:
            return False
        return True


_NOBODY = "readiness-probe"
"""An id to look up when only the way there and back matters; that nobody has it does not."""
