"""One worker process: what it serves with from its start on, and how its models are changed while it runs."""

import asyncio
import logging
import time
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from artefacts.addresses import Artefacts
from artefacts.model_tag import is_exact
from contract import ContractError
from scoring.errors import ModelError
from scoring.models.model_store import pinned_tag
from service.api.quotas import Quotas, parse_quotas
from service.api.routing import ServingSlot
from service.api.serving import Serving
from service.assembly import OpenedParts, assemble, cache_of, open_parts, served_tag
from service.desired_models import DesiredModels, desired_models, desired_models_at_start, follow
from service.errors import StartupError
from service.features.contract_watch import watch_contract
from service.features.snapshot_age import SnapshotAge
from service.inference_log.history import AnswerHistory
from service.inference_log.writer import InferenceLog, pseudonyms_of
from service.own_threads import in_own_thread
from service.release import Release
from service.settings import ServiceSettings
from service.telemetry.metrics import LiveRuntime, metrics_of_process

logger = logging.getLogger("service")

_LAST_ANSWERS_SECONDS = 5.0
"""Replaced models are closed after this time. It is twice the longest deadline, so no request still needs them."""


class Worker:
    """What one worker process serves with, kept in `slot` for the API.

    Raises:
        StartupError, ModelError, ContractError: why this process must not serve.
    """

    def __init__(self, settings: ServiceSettings, artefacts: Artefacts, slot: ServingSlot, release: Release) -> None:
        self._settings = settings
        self._artefacts = artefacts
        self._slot = slot
        self._first = desired_models_at_start(served_tag(settings, artefacts), artefacts.challenger)
        self._parts = open_parts(settings, artefacts, self._first, bound=slot.bound)
        # Last, so that only a worker that can serve has metrics.
        self._metrics = metrics = metrics_of_process(self._parts.model.identity["name"])
        self._log = InferenceLog(artefacts.inference_log, settings, metrics) if settings.inference_log else None
        self._history = None
        if settings.history:
            self._history = AnswerHistory(artefacts.inference_log, pseudonyms_of(settings))
        self._cache = cache_of(settings)
        self._snapshot_age = SnapshotAge(settings.max_snapshot_age_hours, settings.deadline_ms / 1000)
        serving = assemble(self._parts, settings, metrics, self._log, self._cache, self._history)
        quotas = parse_quotas(settings.quotas)
        self._quotas = Quotas(quotas, metrics.quotas, metrics.folder) if quotas else None
        self._serving = replace(serving, release=release, quotas=self._quotas)
        self._tasks: set[asyncio.Task[None]] = set()
        self._go_live()

    def log_startup(self) -> None:
        """Log the models, the clients that have keys, and the modes of log and store."""
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
        if self._quotas is not None and (without := self._quotas.without_key(parts.keys.names)):
            logger.warning("quotas of SERVICE_QUOTAS without an API key (misspelt?): %s", ", ".join(without))
        for model in filter(None, (parts.model, parts.challenger)):
            if model.reason:
                logger.info("model %s is served by scikit-learn: %s", model.tag, model.reason)
        if parts.refusal:
            logger.error("what should be live is not: %s", parts.refusal)

    def watch(self) -> None:
        """Start the tasks that follow the desired models and the feature registry."""
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
        """True if the online store answers and its newest snapshot is as young as the settings require."""
        if not await self._serving.predictor.can_read(time.time_ns() // 1000):
            return False
        return await self._snapshot_age.is_young(self._parts.feast.newest_snapshot)

    async def close(self) -> None:
        """Close everything. Called when no request is in flight any more."""
        for task in self._tasks:
            task.cancel()
        await self._serving.predictor.close()
        if self._log is not None:
            await in_own_thread(self._log.close)

    def _look(self) -> DesiredModels:
        champion, refusal = self._parts.model.tag, ""
        if self._settings.follow_store:
            pinned = pinned_tag(self._artefacts)
            if is_exact(pinned):
                champion = pinned
            else:
                refusal = f"{self._artefacts.model_tag} holds no exact model tag"
        asked = desired_models(champion, self._artefacts.challenger)
        return asked._replace(refusal="; ".join(filter(None, (refusal, asked.refusal))))

    async def _switch(self, asked: DesiredModels) -> str:
        """Load, verify and warm the models; the next request is answered by them.

        Returns:
            Why a desired model is not live; empty if all are.

        Raises:
            StartupError, ModelError, ContractError: the live models have not changed.
        """
        before = self._parts
        try:
            parts = await in_own_thread(self._open, asked)
            if (parts.model.tag, parts.challenge) == (before.model.tag, before.challenge):
                await parts.feast.features.close()  # nothing else can be made live
                self._metrics.switched("failed")
                return parts.refusal
            cache = self._cache if parts.feast.union == before.feast.union else cache_of(self._settings)
            serving = assemble(parts, self._settings, self._metrics, self._log, cache, self._history)
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

    def _open(self, asked: DesiredModels) -> OpenedParts:
        """Open the desired models. If the champion cannot be opened, keep the live one beside the challenger."""
        try:
            return open_parts(self._settings, self._artefacts, asked, self._parts.keys, self._parts.model.contract)
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
        challenger = self._parts.challenger
        self._metrics.live(self._parts.model.identity, *([challenger.identity] if challenger else []))
        live = filter(None, (self._parts.model, challenger))
        self._metrics.runtimes(*(LiveRuntime(model.identity, model.runtime_name, model.reason) for model in live))
        self._metrics.breaker(False)  # the new models come with a new breaker, which is closed

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _close_later(serving: Serving) -> None:
    await asyncio.sleep(_LAST_ANSWERS_SECONDS)
    await serving.predictor.close()


def _named(parts: OpenedParts) -> str:
    beside = parts.challenge
    if beside is None:
        return parts.model.tag
    share = f", {beside.share:g}" if beside.mode == "canary" else ""
    return f"{parts.model.tag} beside {beside.tag} ({beside.mode}{share})"
