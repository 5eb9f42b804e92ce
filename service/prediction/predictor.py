"""Customer ids → features → model → predictions. Plain Python: no feast, no mlflow, no bentoml, no HTTP."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contract import OverrideError, RawFeatures, ResolvedFeatures
from contract.feature_union import FeatureUnion
from scoring.models.imported_model import ImportedModel
from service.errors import InvalidRequestError, OnlineStoreUnavailableError, ServiceError
from service.prediction.batch import AnswerLog, Batch, Scored, answers_of
from service.prediction.challenger import Challenger
from service.prediction.coalescing import Coalescer
from service.prediction.live_model import LiveModel
from service.prediction.predictions import Prediction, predictions
from service.telemetry.metrics import ServiceMetrics
from service.telemetry.tracing import current_request, span, together

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from service.features.opening import OnlineFeatures

logger = logging.getLogger(__name__)

_LARGEST_COALESCED = 128


class _Asked(NamedTuple):
    """A customer whom one request asks for.

    request: its span; None while tracing is off.
    """

    customer_id: str
    as_of_unix_us: int
    request_id: str
    request: "Span | None"


@dataclass(frozen=True)
class Lookup:
    """One customer's prediction, and the one row that the model which gave it has scored."""

    prediction: Prediction
    resolved: ResolvedFeatures


@dataclass(frozen=True, slots=True)
class PendingCanary:
    """The answer for one of those whom the challenger answers: nobody else waits for it.

    made: what answered them in the end, and their predictions.
    """

    made: "asyncio.Task[tuple[Scored, list[Prediction]]]"
    row: int

    async def answer(self) -> tuple[Scored, Prediction]:
        """What was scored with it, and the prediction; one that stops waiting does not stop it for the others."""
        if not self.made.done():
            await asyncio.shield(self.made)
        scored, made = self.made.result()
        return scored, made[self.row]


class BatchResult(NamedTuple):
    """What was scored for n customers, and the answers.

    unread: bool (n,), rows that the champion could not be given; None if there is none.
    """

    unread: NDArray[np.bool_] | None
    champion: Scored
    answers: Sequence[Prediction | PendingCanary]


class Predictor:
    """One model over one online store, and perhaps a challenger beside it.

    Args:
        features: reads what `union` lists.
        union: what the live models read together; None is what this model takes.
        log: where answers are kept.
    """

    def __init__(
        self,
        model: ImportedModel,
        features: "OnlineFeatures",
        metrics: ServiceMetrics,
        union: FeatureUnion | None = None,
        challenger: Challenger | None = None,
        log: AnswerLog | None = None,
    ) -> None:
        self.model = model
        self.challenger = challenger
        self._features = features
        self._metrics = metrics
        self._union = union or FeatureUnion.of(model.contract)
        self.champion = LiveModel(model, self._union)
        self._views = [view.name for view in self._union.views]
        self._log = log
        self._coalescer: Coalescer[_Asked, Prediction | PendingCanary] = Coalescer(
            self._predict_together, _LARGEST_COALESCED
        )
        self._canaries: set[asyncio.Task[tuple[Scored, list[Prediction]]]] = set()  # asyncio holds tasks only weakly

    async def predict_one(
        self,
        customer_id: str,
        as_of_unix_us: int,
        overrides: Mapping[str, object] | None = None,
        request_id: str = "",
    ) -> Prediction:
        """Predict for one customer, together with others who are asked for at the same moment. See `predict`."""
        if overrides:
            (prediction,) = await self.predict([customer_id], as_of_unix_us, overrides, request_id)
            return prediction
        found = await self._coalescer.submit(_Asked(customer_id, as_of_unix_us, request_id, current_request()))
        return found if isinstance(found, Prediction) else (await found.answer())[1]

    async def _predict_together(self, asked: Sequence[_Asked]) -> Sequence[Prediction | PendingCanary | BaseException]:
        self._metrics.coalesced(len(asked))
        customer_ids, times, request_ids, requests = zip(*asked, strict=True)
        batch = Batch(customer_ids, np.array(times, dtype=np.int64), request_ids, (0,) * len(asked))
        with together(requests):
            worked = await self._work(batch)
        if worked.unread is None:
            return worked.answers
        # They came together only by chance: what is wrong with one of them is not the others' concern.
        unread = worked.unread.tolist()
        return [_unread() if gone else made for gone, made in zip(unread, worked.answers, strict=True)]

    async def predict(
        self,
        customer_ids: Sequence[str],
        as_of_unix_us: int,
        overrides: Mapping[str, object] | None = None,
        request_id: str = "",
    ) -> list[Prediction]:
        """Predict for n customers: same order, duplicates kept, one prediction each.

        Args:
            customer_ids: non-empty strings, n of them; n may be 0.
            as_of_unix_us: the request's time, taken once, in microseconds since 1970.
            overrides: feature reference → value, for every row.
            request_id: under which the answers are logged.

        Raises:
            InvalidRequestError: an override names no input or has the wrong type.
            DeadlineExceededError, OnlineStoreUnavailableError: features could not be read.
        """
        checked = self._checked(overrides)
        if not customer_ids:
            return []
        # Each of them once; but every row that is answered is logged.
        asked = list(dict.fromkeys(customer_ids)) if self._log is None else customer_ids
        n = len(asked)
        batch = Batch(asked, as_of_unix_us, (request_id,) * n, range(n), overrides)
        worked = await self._work(batch, checked, whole=True)  # part of a batch would look like an answer
        made = [found if isinstance(found, Prediction) else (await found.answer())[1] for found in worked.answers]
        if n == len(customer_ids):
            return made
        by_id = dict(zip(asked, made, strict=True))
        return [by_id[customer_id] for customer_id in customer_ids]

    async def look_up(
        self,
        customer_id: str,
        as_of_unix_us: int,
        overrides: Mapping[str, object] | None = None,
        request_id: str = "",
    ) -> Lookup:
        """Predict for one customer and keep the vector that was scored, to explain it. Raises as `predict`."""
        batch = Batch((customer_id,), as_of_unix_us, (request_id,), (0,), overrides)
        worked = await self._work(batch, self._checked(overrides), whole=True)
        (found,) = worked.answers
        if isinstance(found, Prediction):
            return Lookup(found, worked.champion.resolved)
        scored, prediction = await found.answer()
        return Lookup(prediction, scored.resolved)

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Positive-class probability, float32 (n,), of n finished vectors, float32 (n, k)."""
        started = time.perf_counter()
        with span("score", rows=len(matrix)):
            scored = self.model.score(matrix)
        self._metrics.stage("model", time.perf_counter() - started)
        return scored

    def _checked(self, overrides: Mapping[str, object] | None) -> dict[int, float] | None:
        try:
            return self.champion.resolver.check_overrides(overrides) if overrides else None
        except OverrideError as error:
            raise InvalidRequestError(str(error), field=error.field) from None

    async def _work(
        self, batch: Batch, overrides: Mapping[int, float] | None = None, whole: bool = False
    ) -> BatchResult:
        """Read once, let every live model score it, and log what was answered.

        Args:
            whole: all of them are answered, or none.
        """
        raw = await self._read(batch)
        part = self.champion.part.of(raw)
        unread = part.unread_rows
        if whole and unread is not None:
            raise _unread()
        resolved = self.champion.resolver.resolve(part, batch.as_of_seconds, overrides)
        champion = self.champion.scored(resolved, self.score(resolved.matrix), part)
        challenger = self.challenger
        if challenger is not None and challenger.mode == "canary":
            return BatchResult(unread, champion, self._with_canary(challenger, batch, raw, part, champion))
        answers = self._answers(batch, part, champion)
        if challenger is not None:
            challenger.shadow(batch, raw)
        return BatchResult(unread, champion, answers)

    def _answers(self, batch: Batch, part: RawFeatures, champion: Scored) -> list[Prediction]:
        """What the champion answers, counted and logged."""
        made = predictions(batch, part, champion, self._metrics)
        self._keep(batch, part, self.model, champion, answered=True)
        return made

    def _with_canary(
        self, challenger: Challenger, batch: Batch, raw: RawFeatures, part: RawFeatures, champion: Scored
    ) -> list[Prediction | PendingCanary]:
        """The challenger's share is answered later, the others now."""
        its_part = challenger.live.part.of(raw)
        chosen = challenger.chosen(batch.customer_ids, its_part, part.unread_rows)
        rows, others = np.flatnonzero(chosen), np.flatnonzero(~chosen)
        if not len(rows):
            return list(self._answers(batch, part, champion))
        fallback = part.take(rows), champion.take(rows)
        later = asyncio.ensure_future(self._canary(challenger, batch.take(rows), its_part.take(rows), *fallback))
        self._canaries.add(later)
        later.add_done_callback(self._canaries.discard)
        theirs = (PendingCanary(later, row) for row in range(len(rows)))
        ours = iter(self._answers(batch.take(others), part.take(others), champion.take(others)))
        return [next(theirs) if is_theirs else next(ours) for is_theirs in chosen.tolist()]

    async def _canary(
        self, challenger: Challenger, batch: Batch, its_part: RawFeatures, part: RawFeatures, champion: Scored
    ) -> tuple[Scored, list[Prediction]]:
        """What the challenger answers; where it does not, what the champion does, which has scored them too."""
        scored = await challenger.answer(batch, its_part)
        if scored is None:
            return champion, self._answers(batch, part, champion)
        model = challenger.live.model
        made = predictions(batch, its_part, scored, self._metrics, model.identity)
        self._keep(batch, part, self.model, champion, answered=False)
        self._keep(batch, its_part, model, scored, answered=True)
        return scored, made

    def _keep(self, batch: Batch, part: RawFeatures, model: ImportedModel, scored: Scored, answered: bool) -> None:
        if self._log is not None:
            self._log.put(answers_of(batch, part, model, scored, answered))

    async def _read(self, batch: Batch) -> RawFeatures:
        started = time.perf_counter()
        with span("read features", rows=len(batch.customer_ids)):
            raw = await self._features.read(batch.customer_ids, batch.as_of_unix_us)
        self._metrics.stage("features", time.perf_counter() - started)
        self._note_ages(raw, batch.as_of_seconds)
        return raw

    def _note_ages(self, raw: RawFeatures, as_of: NDArray[np.float64]) -> None:
        if raw.event_times is None:
            return
        oldest = np.fmin.reduce(raw.event_times, axis=0)
        latest_request = float(np.max(as_of))
        for view, event_time in zip(self._views, oldest.tolist(), strict=True):
            if event_time == event_time:  # NaN: nobody in this read has a row
                self._metrics.age(view, latest_request - event_time)

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
        """Close the online store and end the challenger."""
        if self.challenger is not None:
            await asyncio.to_thread(self.challenger.close)
        await self._features.close()


def _unread() -> OnlineStoreUnavailableError:
    return OnlineStoreUnavailableError("the features of a customer cannot be read")


_NOBODY = "readiness-probe"
"""An id to look up when only the way there and back matters; that nobody has it does not."""
