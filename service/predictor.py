"""Customer ids → features → model → predictions. Plain Python: no feast, no mlflow, no bentoml, no HTTP."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contract import FeatureIssue, OverrideError, RawFeatures, ResolvedFeatures, Resolver
from scoring.model import ImportedModel
from scoring.outcomes import OK, STATUSES, Outcomes, Status, outcomes
from service.coalescing import Coalescer
from service.errors import InvalidRequestError, OnlineStoreUnavailableError, ServiceError
from service.metrics import ServiceMetrics
from service.tracing import current_request, span, together

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from service.online_features import OnlineFeatures

logger = logging.getLogger(__name__)

_LARGEST_COALESCED = 128


class Prediction(NamedTuple):
    """The answer for one customer.

    status: `refused` if the contract forbids scoring, or the model has no probability for such values.
    churn_probability, churn: None unless the status is `ok` or `degraded`.
    feature_issues: every feature that was not simply fresh; empty for an unknown customer.
    cached_seconds: how long ago the features were read, if the online store could not be; else None.
    """

    customer_id: str
    status: Status
    churn_probability: float | None = None
    churn: bool | None = None
    feature_issues: Sequence[FeatureIssue] = ()
    cached_seconds: float | None = None


class _Asked(NamedTuple):
    """A customer whom one request asks for.

    request: its span; None while tracing is off.
    """

    customer_id: str
    as_of_unix_us: int
    request: "Span | None"


@dataclass(frozen=True)
class Lookup:
    """One customer's resolved features and what the stored rows say of themselves; one row each."""

    prediction: Prediction
    resolved: ResolvedFeatures


class Predictor:
    """One model over one online store."""

    def __init__(self, model: ImportedModel, features: "OnlineFeatures", metrics: ServiceMetrics) -> None:
        self.model = model
        self._features = features
        self._metrics = metrics
        self._resolver = Resolver.of(model.contract)
        self._coalescer = Coalescer(self._predict_together, _LARGEST_COALESCED)

    async def predict_one(
        self, customer_id: str, as_of_unix_us: int, overrides: Mapping[str, object] | None = None
    ) -> Prediction:
        """Predict for one customer, together with others who are asked for at the same moment. See `predict`."""
        if overrides:
            (prediction,) = await self.predict([customer_id], as_of_unix_us, overrides)
            return prediction
        return await self._coalescer.submit(_Asked(customer_id, as_of_unix_us, current_request()))

    async def _predict_together(self, asked: Sequence[_Asked]) -> Sequence[Prediction | BaseException]:
        self._metrics.coalesced(len(asked))
        customer_ids, times, requests = zip(*asked, strict=True)
        as_of = np.array(times, dtype=np.int64)
        with together(requests):
            raw, resolved = await self._look_up(customer_ids, as_of)
            predictions = self._score(customer_ids, resolved, raw)
        if raw.unread is None:
            return predictions
        # They came together only by chance: what is wrong with one of them is not the others' concern.
        return [_unread() if gone else made for gone, made in zip(raw.unread.tolist(), predictions, strict=True)]

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
        checked = self._checked(overrides)
        if not customer_ids:
            return []
        distinct = list(dict.fromkeys(customer_ids))
        raw, resolved = await self._look_up(distinct, as_of_unix_us, checked)
        if raw.unread is not None:
            raise _unread()  # part of a batch would look like an answer
        predictions = self._score(distinct, resolved, raw)
        if len(distinct) == len(customer_ids):
            return predictions
        by_id = dict(zip(distinct, predictions, strict=True))
        return [by_id[customer_id] for customer_id in customer_ids]

    async def look_up(
        self, customer_id: str, as_of_unix_us: int, overrides: Mapping[str, object] | None = None
    ) -> Lookup:
        """Predict for one customer and keep the vector that was scored, to explain it. Raises as `predict`."""
        raw, resolved = await self._look_up([customer_id], as_of_unix_us, self._checked(overrides))
        if raw.unread is not None:
            raise _unread()
        (prediction,) = self._score([customer_id], resolved, raw)
        return Lookup(prediction, resolved)

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Positive-class probability, float32 (n,), of n finished vectors, float32 (n, k)."""
        started = time.perf_counter()
        with span("score", rows=len(matrix)):
            scored = self.model.score(matrix)
        self._metrics.stage("model", time.perf_counter() - started)
        return scored

    def _checked(self, overrides: Mapping[str, object] | None) -> dict[int, float] | None:
        try:
            return self._resolver.check_overrides(overrides) if overrides else None
        except OverrideError as error:
            raise InvalidRequestError(str(error), field=error.field) from None

    async def _look_up(
        self,
        customer_ids: Sequence[str],
        as_of_unix_us: int | NDArray[np.int64],
        overrides: Mapping[int, float] | None = None,
    ) -> tuple[RawFeatures, ResolvedFeatures]:
        started = time.perf_counter()
        with span("read features", rows=len(customer_ids)):
            raw = await self._features.read(customer_ids, as_of_unix_us)
        self._metrics.stage("features", time.perf_counter() - started)
        as_of = np.asarray(as_of_unix_us, dtype=np.float64) / 1e6
        self._note_ages(raw, as_of)
        return raw, self._resolver.resolve(raw, as_of, overrides)

    def _note_ages(self, raw: RawFeatures, as_of: NDArray[np.float64]) -> None:
        if raw.event_times is None:
            return
        oldest = np.fmin.reduce(raw.event_times, axis=0)
        latest_request = float(np.max(as_of))
        for view, event_time in zip(self._resolver.views, oldest.tolist(), strict=True):
            if event_time == event_time:  # NaN: nobody in this read has a row
                self._metrics.age(view, latest_request - event_time)

    def _score(self, customer_ids: Sequence[str], resolved: ResolvedFeatures, raw: RawFeatures) -> list[Prediction]:
        made = outcomes(resolved, self.score(resolved.matrix), self.model.contract.threshold.value)
        usual = made.statuses == OK
        if raw.cached_seconds is not None:
            usual[:] = False
        self._metrics.rows_ok(int(np.count_nonzero(usual)))
        return [
            Prediction(customer_id, "ok", probability, churn)
            if is_usual
            else self._unusual(row, customer_id, made, resolved, raw)
            for row, (customer_id, probability, churn, is_usual) in enumerate(
                zip(customer_ids, made.probabilities.tolist(), made.decisions.tolist(), usual.tolist(), strict=True)
            )
        ]

    def _unusual(
        self, row: int, customer_id: str, made: Outcomes, resolved: ResolvedFeatures, raw: RawFeatures
    ) -> Prediction:
        cached_seconds = None if raw.cached_seconds is None else float(raw.cached_seconds[row])
        if raw.unread is not None and raw.unread[row]:
            return Prediction(customer_id, "unknown_customer")  # not told: whoever asked gets an error instead
        status = STATUSES[made.statuses[row]]
        if status == "unknown_customer":
            self._metrics.row(status)
            return Prediction(customer_id, status, cached_seconds=cached_seconds)
        issues = resolved.issues(row)
        self._metrics.issues(issues)
        if status == "refused":
            self._metrics.row(status)
            return Prediction(customer_id, status, feature_issues=issues, cached_seconds=cached_seconds)
        if cached_seconds is not None:
            status = "degraded"
        self._metrics.row(status)
        probability, churn = float(made.probabilities[row]), bool(made.decisions[row])
        return Prediction(customer_id, status, probability, churn, issues, cached_seconds)

    async def can_read(self, as_of_unix_us: int) -> bool:
        """True if the online store answers a look-up within the deadline."""
        try:
            await self._features.read([_NOBODY], as_of_unix_us)
        except ServiceError:
            return False
        except Exception:
            logger.exception("the readiness probe failed")
            return False
        return True

    async def close(self) -> None:
        """Close the online store."""
        await self._features.close()


def _unread() -> OnlineStoreUnavailableError:
    return OnlineStoreUnavailableError("the features of a customer cannot be read")


_NOBODY = "readiness-probe"
"""An id to look up when only the way there and back matters; that nobody has it does not."""
