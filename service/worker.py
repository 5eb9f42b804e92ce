"""What one worker process serves with: opened, checked against each other, put together, and changed while it runs."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from artefacts.addresses import PROJECT_ROOT, Artefacts
from contract import ContractError
from scoring.errors import ModelError
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import is_exact, open_model, pinned_tag
from service.api.authentication import ApiKeys
from service.api.endpoints import Serving
from service.api.exposure import refuse_exposure
from service.api.routing import ServingSlot
from service.desired_models import Challenge, Wanted, follow, wanted, wanted_at_start
from service.errors import StartupError
from service.features.contract_watch import watch_contract
from service.features.guard import GuardedFeatures, LastKnownGood
from service.features.opening import OpenedFeast, open_feast
from service.features.snapshot_age import SnapshotAge
from service.inference_log.writer import InferenceLog, pseudonyms_of
from service.own_threads import in_own_thread
from service.prediction.challenger import Challenger
from service.prediction.live_model import AnswerLog
from service.prediction.predictor import Predictor
from service.release import Release
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics

logger = logging.getLogger("service")

_LAST_ANSWERS_SECONDS = 5.0
"""After which no request is still being answered by models that were replaced: twice the longest deadline."""


def served_tag(settings: ServiceSettings, artefacts: Artefacts) -> str:
    """The exact tag to serve: from the settings, else the one the import pinned; never `latest`.

    Raises:
        StartupError: neither names one.
    """
    tag = settings.model_tag or pinned_tag(artefacts)
    if not is_exact(tag):
        raise StartupError(
            f"no exact model tag: SERVICE_MODEL_TAG is {settings.model_tag!r} and {artefacts.model_tag} "
            f"{'holds ' + repr(tag) if tag else 'is absent'}; run `make import-model`"
        )
    return tag


@dataclass(frozen=True)
class Parts:
    """What one worker serves with, checked against each other.

    challenger: None where none is asked for, or `refusal` says why there is none.
    """

    model: ImportedModel
    feast: OpenedFeast
    keys: ApiKeys
    challenge: Challenge | None = None
    challenger: ImportedModel | None = None
    refusal: str = ""


def open_keys(settings: ServiceSettings) -> ApiKeys:
    """The API keys.

    Raises:
        StartupError: there are none, and others than this machine could ask; known when the process starts, in the
            thread that starts it.
    """
    keys = ApiKeys.of(settings.api_keys, settings.api_keys_file)
    refuse_exposure(keys_configured=keys.configured, allow_anonymous=settings.allow_anonymous)
    return keys


def open_parts(
    settings: ServiceSettings, artefacts: Artefacts, asked: Wanted | None = None, keys: ApiKeys | None = None
) -> Parts:
    """Open the models and Feast, and hold the contracts against the live registry.

    Args:
        asked: what should be live; None is found out.
        keys: of a worker that serves already; None opens them.

    Raises:
        StartupError, ModelError, ContractError: why this process must not serve. A challenger is never the reason.
    """
    if keys is None:
        keys = open_keys(settings)
        if settings.inference_log:
            pseudonyms_of(settings)
    asked = asked or wanted_at_start(served_tag(settings, artefacts), artefacts.challenger)
    model = open_model(asked.champion)

    def opened(*models: ImportedModel) -> OpenedFeast:
        return open_feast(
            PROJECT_ROOT / "feature_repo",
            artefacts,
            *(each.contract for each in models),
            compiled=settings.compiled_reader,
            stall_seconds=settings.deadline_ms / 1000,
        )

    _warm(model)
    refusal, challenge = asked.refusal, asked.challenge
    if challenge is not None:
        try:
            challenger = open_model(challenge.tag, role="challenger")
            _warm(challenger)
            return Parts(model, opened(model, challenger), keys, challenge, challenger)
        except Exception as error:  # whatever is wrong with it
            refusal = f"challenger {challenge.tag}: {error}"
    return Parts(model, opened(model), keys, refusal=refusal)


def _warm(model: ImportedModel) -> None:
    """The first call of a model takes longer than the others; and one that cannot score must not go live."""
    model.score(np.array([[feature.default for feature in model.contract.inputs]], dtype=np.float32))


def cache_of(settings: ServiceSettings) -> LastKnownGood | None:
    """An empty one, if one is wanted."""
    return LastKnownGood(settings.cache_rows, settings.cache_max_age_seconds) if settings.cache_rows else None


def assemble(
    parts: Parts,
    settings: ServiceSettings,
    metrics: ServiceMetrics,
    log: AnswerLog | None = None,
    cache: LastKnownGood | None = None,
) -> Serving:
    """Put the parts together.

    Args:
        cache: of rows of the parts' union.
    """
    deadline_seconds = settings.deadline_ms / 1000
    features = GuardedFeatures(parts.feast.features, deadline_seconds, metrics, cache, parts.feast.union)
    union, challenge, challenger = parts.feast.union, parts.challenge, None
    if challenge is not None and parts.challenger is not None:
        budget = settings.challenger_budget_ms / 1000
        challenger = Challenger(parts.challenger, union, challenge.mode, challenge.share, metrics, budget, log)
    predictor = Predictor(parts.model, features, metrics, union, challenger, log)
    return Serving.of(predictor, settings, metrics, parts.keys)


class Worker:
    """What one worker process serves with, now and later.

    Raises:
        StartupError, ModelError, ContractError: why this process must not serve.
    """

    def __init__(self, settings: ServiceSettings, artefacts: Artefacts, slot: ServingSlot, release: Release) -> None:
        self._settings = settings
        self._artefacts = artefacts
        self._slot = slot
        self._first = wanted_at_start(served_tag(settings, artefacts), artefacts.challenger)
        self._parts = open_parts(settings, artefacts, self._first)
        # After them: a worker whose metrics are there is one that serves.
        self._metrics = metrics = ServiceMetrics()
        self._log = InferenceLog(artefacts.inference_log, settings, metrics) if settings.inference_log else None
        self._cache = cache_of(settings)
        self._snapshot_age = SnapshotAge(settings.max_snapshot_age_hours, settings.deadline_ms / 1000)
        self._serving = replace(assemble(self._parts, settings, metrics, self._log, self._cache), release=release)
        self._tasks: set[asyncio.Task[None]] = set()
        self._go_live()

    def introduce(self) -> None:
        """Log what is served and to whom."""
        parts = self._parts
        named = ", ".join(parts.keys.names) or "none: anybody who reaches this process may ask"
        logger.info(
            "serving %s, contract %s, API keys: %s, inference log %s, store %s",
            _named(parts),
            parts.model.contract_sha256[:12],
            named,
            "off" if self._log is None else "on",
            "followed" if self._settings.follow_store else "not followed",
        )
        for model in filter(None, (parts.model, parts.challenger)):
            if model.reason:
                logger.info("model %s is served by scikit-learn: %s", model.tag, model.reason)
        if parts.refusal:
            logger.error("what should be live is not: %s", parts.refusal)

    def watch(self) -> None:
        """Start looking at what should be live, and at the feature registry."""
        settings, metrics = self._settings, self._metrics
        self._spawn(
            watch_contract(
                lambda: self._parts.feast.broken_promises(), settings.contract_check_seconds, metrics.contract_mismatch
            )
        )
        metrics.switch_failing(bool(self._parts.refusal))
        self._spawn(
            follow(
                self._first,
                self._parts.refusal,
                self._look,
                self._switch,
                settings.models_check_seconds,
                metrics.switch_failing,
            )
        )

    async def is_ready(self) -> bool:
        """True if the online store answers and holds snapshots that are as young as the settings demand."""
        if not await self._serving.predictor.can_read(time.time_ns() // 1000):
            return False
        return await self._snapshot_age.is_young(self._parts.feast.newest_snapshot)

    async def close(self) -> None:
        """Give back what is held; no request is in flight any more."""
        for task in self._tasks:
            task.cancel()
        await self._serving.predictor.close()
        if self._log is not None:
            await in_own_thread(self._log.close)

    def _look(self) -> Wanted:
        champion, refusal = self._parts.model.tag, ""
        if self._settings.follow_store:
            pinned = pinned_tag(self._artefacts)
            if is_exact(pinned):
                champion = pinned
            else:
                refusal = f"{self._artefacts.model_tag} holds no exact model tag"
        asked = wanted(champion, self._artefacts.challenger)
        return asked._replace(refusal="; ".join(filter(None, (refusal, asked.refusal))))

    async def _switch(self, asked: Wanted) -> str:
        """Load, verify, warm; then let the next request be answered by the new models.

        Returns:
            What of it could not be made live, empty if nothing.

        Raises:
            StartupError, ModelError, ContractError: nothing has changed.
        """
        before = self._parts
        try:
            parts = await in_own_thread(self._open, asked)
            if (parts.model.tag, parts.challenge) == (before.model.tag, before.challenge):
                await parts.feast.features.close()  # what is live is all that can be
                self._metrics.switched("failed")
                return parts.refusal
            cache = self._cache if parts.feast.union == before.feast.union else cache_of(self._settings)
            serving = assemble(parts, self._settings, self._metrics, self._log, cache)
            if not await serving.predictor.can_read(time.time_ns() // 1000):
                await serving.predictor.close()
                raise StartupError("the online store does not answer; the models are changed when it does")
        except Exception:
            self._metrics.switched("failed")
            raise
        replaced, self._parts, self._cache = self._serving, parts, cache
        self._serving = replaced.with_models_of(serving)
        self._go_live()
        self._metrics.switched("done")
        logger.info("live from now on: %s", _named(parts))
        self._spawn(_close_later(replaced))
        return parts.refusal

    def _open(self, asked: Wanted) -> Parts:
        """What is asked for; with the champion that is live, if the one asked for cannot be: a challenger can go."""
        try:
            return open_parts(self._settings, self._artefacts, asked, self._parts.keys)
        except (StartupError, ModelError, ContractError) as error:
            live = self._parts.model.tag
            if asked.champion == live:
                raise
            refusal = "; ".join(filter(None, (str(error), asked.refusal)))
            kept = asked._replace(champion=live, refusal=refusal)
            parts = open_parts(self._settings, self._artefacts, kept, self._parts.keys)
            return replace(parts, refusal="; ".join(dict.fromkeys(filter(None, (refusal, parts.refusal)))))

    def _go_live(self) -> None:
        self._slot.serving = self._serving
        self._metrics.breaker(False)  # a new one, and closed
        challenger = self._parts.challenger
        self._metrics.live(self._parts.model.identity, *([challenger.identity] if challenger else []))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _close_later(serving: Serving) -> None:
    await asyncio.sleep(_LAST_ANSWERS_SECONDS)
    await serving.predictor.close()


def _named(parts: Parts) -> str:
    beside = parts.challenge
    if beside is None:
        return parts.model.tag
    share = f", {beside.share:g}" if beside.mode == "canary" else ""
    return f"{parts.model.tag} beside {beside.tag} ({beside.mode}{share})"
