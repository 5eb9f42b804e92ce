"""Entity keys → features → model → predictions, without feast, mlflow, bentoml and HTTP."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from contract import Key, OverrideError, RawFeatures, ResolvedFeatures
from contract.feature_union import FeatureUnion
from scoring.models.imported_model import ImportedModel
from service.errors import InvalidRequestError, OnlineStoreUnavailableError, ServiceError
from service.features.port import rows_asked
from service.prediction.batch import AnswerLog, Batch, Scored
from service.prediction.canary import Canary, PendingCanary, all_answered
from service.prediction.challenger import Challenger
from service.prediction.coalescing import Coalescer
from service.prediction.live_model import LiveModel, ReadFeatures
from service.prediction.predictions import Prediction
from service.prediction.readiness_probe import key_of_no_entity, values_of_no_request
from service.telemetry.metrics import ServiceMetrics
from service.telemetry.tracing import current_request, span, together

if TYPE_CHECKING:
    from opentelemetry.trace import Span

    from service.features.port import OnlineFeatures

logger = logging.getLogger(__name__)

_LARGEST_COALESCED = 128


class _SingleRequest(NamedTuple):
    """A request for one entity.

    span: the request's; None while tracing is off.
    given: request input → value; the same inputs in every request.
    """

    key: Key
    as_of_unix_us: int
    request_id: str
    span: "Span | None"
    given: Mapping[str, Any] | None


@dataclass(frozen=True)
class Lookup:
    """One entity's prediction, and the row that the model which answered has scored."""

    prediction: Prediction
    resolved: ResolvedFeatures


class BatchResult(NamedTuple):
    """The champion's scored rows for n entities, and the answers.

    unread: bool (n,), rows of which an input of the champion could not be read; None if there is none.
    """

    unread: NDArray[np.bool_] | None
    champion: Scored
    answers: Sequence[Prediction | PendingCanary]


class Predictor:
    """Predicts with a model over an online store, and with a challenger if there is one.

    Args:
        features: reads the inputs that `union` lists.
        union: the inputs of all live models; None: those of `model`.
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
        self.union = union or FeatureUnion.of(model.contract)
        self.champion = LiveModel(model, self.union, metrics, log)
        self._canary: Canary | None = None
        if challenger is not None and challenger.mode == "canary":
            self._canary = Canary(challenger, self.champion)
        self._views = [view.name for view in self.union.views]
        self._log = log
        self._coalescer: Coalescer[_SingleRequest, Prediction | PendingCanary] = Coalescer(
            self._predict_together, _LARGEST_COALESCED
        )

    async def predict_one(
        self,
        key: Key,
        as_of_unix_us: int,
        overrides: Mapping[str, object] | None = None,
        request_id: str = "",
        given: Mapping[str, Any] | None = None,
    ) -> Prediction:
        """Predict for one entity, in one batch with requests that arrive at the same moment. See `predict`."""
        if overrides:
            (prediction,) = await self.predict([key], as_of_unix_us, overrides, request_id, _of_one_row(given))
            return prediction
        found = await self._coalescer.submit(_SingleRequest(key, as_of_unix_us, request_id, current_request(), given))
        return found if isinstance(found, Prediction) else (await found.answer())[1]

    async def _predict_together(
        self, asked: Sequence[_SingleRequest]
    ) -> Sequence[Prediction | PendingCanary | BaseException]:
        self._metrics.coalesced(len(asked))
        keys, times, request_ids, requests, given = zip(*asked, strict=True)
        values = given[0] and {name: [of_one[name] for of_one in given] for name in given[0]}
        batch = Batch(keys, np.array(times, dtype=np.int64), request_ids, (0,) * len(asked), None, values)
        with together(requests):
            worked = await self._work(batch)
        if worked.unread is None:
            return worked.answers
        # They are together only by chance: a row that cannot be read must not fail the others.
        unread = worked.unread.tolist()
        return [self._unread() if gone else made for gone, made in zip(unread, worked.answers, strict=True)]

    async def predict(
        self,
        keys: Sequence[Key],
        as_of_unix_us: int,
        overrides: Mapping[str, object] | None = None,
        request_id: str = "",
        given: Mapping[str, Sequence[Any]] | None = None,
    ) -> list[Prediction]:
        """Predict for n entities: same order, duplicates kept, one prediction each.

        Args:
            keys: n of them, of the contract's types; n may be 0. Texts are not empty.
            as_of_unix_us: the request's time, taken once, in microseconds since 1970.
            overrides: feature reference → value, for every row.
            request_id: under which the answers are logged.
            given: request input → n values, as the live models' on-demand code takes them; None if it takes none.

        Raises:
            InvalidRequestError: an override names no input or has the wrong type.
            DeadlineExceededError, OnlineStoreUnavailableError: features could not be read.
        """
        checked = self._checked(overrides)
        if not keys:
            return []
        asked = rows_asked(keys, given)
        # Look each row up once, unless every answered row has to be logged.
        once: Sequence[Any] = list(dict.fromkeys(asked)) if self._log is None else asked
        n = len(once)
        once_keys, once_given = _parted(once, given)
        batch = Batch(once_keys, as_of_unix_us, (request_id,) * n, range(n), overrides, once_given)
        worked = await self._work(batch, checked, whole=True)  # an incomplete batch would look like an answer
        made = await all_answered(worked.answers)
        if n == len(keys):
            return made
        by_row = dict(zip(once, made, strict=True))
        return [by_row[row] for row in asked]

    async def look_up(
        self,
        key: Key,
        as_of_unix_us: int,
        overrides: Mapping[str, object] | None = None,
        request_id: str = "",
        given: Mapping[str, Any] | None = None,
    ) -> Lookup:
        """Predict for one entity and return the scored row too, to explain it. Raises as `predict`."""
        batch = Batch((key,), as_of_unix_us, (request_id,), (0,), overrides, _of_one_row(given))
        worked = await self._work(batch, self._checked(overrides), whole=True)
        (found,) = worked.answers
        if isinstance(found, Prediction):
            return Lookup(found, worked.champion.resolved)
        scored, prediction = await found.answer()
        return Lookup(prediction, scored.resolved)

    async def read_features(
        self, keys: Sequence[Key], as_of_unix_us: int, given: Mapping[str, Sequence[Any]] | None = None
    ) -> tuple[ReadFeatures, list[int]]:
        """Read the champion's inputs of n entities; nothing is scored, and nothing logged. Arguments as of `predict`.

        Returns:
            the distinct rows that were read, and where each of the n rows is among them.

        Raises:
            DeadlineExceededError, OnlineStoreUnavailableError: features could not be read.
        """
        asked = rows_asked(keys, given)
        at = {row: position for position, row in enumerate(dict.fromkeys(asked))}
        once_keys, once_given = _parted(list(at), given)
        batch = Batch(once_keys, as_of_unix_us, (), (), None, once_given)
        as_of = batch.as_of_seconds
        part = self.champion.part.of(await self._read(batch, as_of))
        if part.unread_rows is not None:
            raise self._unread()
        return self.champion.features(part, as_of), [at[row] for row in asked]

    def score(self, matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the champion's scores of n model inputs, float32 (n, k)."""
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
        """Read once, let every live model score the rows, answer them and log them.

        Args:
            overrides: column → value, for every row.
            whole: a row that could not be read fails the batch.
        """
        as_of = batch.as_of_seconds
        raw = await self._read(batch, as_of)
        part = self.champion.part.of(raw)
        unread = part.unread_rows
        if whole and unread is not None:
            raise self._unread()
        scored = self.champion.decide(part, as_of, overrides, self.score)
        if self._canary is not None:
            return BatchResult(unread, scored, self._canary.answer(batch, raw, part, scored))
        answers = self.champion.answer(batch, part, scored)
        if self.challenger is not None:
            self.challenger.shadow(batch, raw)
        return BatchResult(unread, scored, answers)

    async def _read(self, batch: Batch, as_of: NDArray[np.float64]) -> RawFeatures:
        started = time.perf_counter()
        with span("read features", rows=len(batch.keys)):
            raw = await self._features.read(batch.keys, batch.as_of_unix_us, batch.given)
        self._metrics.stage("features", time.perf_counter() - started)
        self._note_ages(raw, as_of)
        return raw

    def _note_ages(self, raw: RawFeatures, as_of: NDArray[np.float64]) -> None:
        if raw.event_times is None:
            return
        oldest = np.fmin.reduce(raw.event_times, axis=0)
        latest_request = float(np.max(as_of))
        for view, event_time in zip(self._views, oldest.tolist(), strict=True):
            if event_time == event_time:  # NaN: no entity in this read has a row
                self._metrics.age(view, latest_request - event_time)

    def _unread(self) -> OnlineStoreUnavailableError:
        entity = self.model.contract.entity
        article = "an" if entity[0].lower() in "aeiou" else "a"
        return OnlineStoreUnavailableError(f"the features of {article} {entity} cannot be read")

    async def can_read(self, as_of_unix_us: int) -> bool:
        """True if the online store answers a look-up within the deadline."""
        given = values_of_no_request(self.union)
        try:
            await self._features.read([key_of_no_entity(self.union)], as_of_unix_us, given)
        except ServiceError:
            return False
        except Exception:
            if given:  # the store has answered; on-demand code need not take made-up values of a request
                return True
            logger.exception("the readiness probe failed")
            return False
        return True

    async def close(self) -> None:
        """Close the online store and end the challenger."""
        if self.challenger is not None:
            await asyncio.to_thread(self.challenger.close)
        await self._features.close()


def _parted(
    rows: Sequence[Any], given: Mapping[str, Sequence[Any]] | None
) -> tuple[Sequence[Key], Mapping[str, Sequence[Any]] | None]:
    """The keys and the requests' values of `rows_asked`."""
    if not given:
        return rows, None
    keys, *columns = zip(*rows, strict=True)
    return keys, dict(zip(given, columns, strict=True))


def _of_one_row(given: Mapping[str, Any] | None) -> dict[str, list[Any]] | None:
    return {name: [value] for name, value in given.items()} if given else None
