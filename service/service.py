"""The `@bentoml.service` class: it puts the pieces together and holds no logic of its own."""

import asyncio
import gc
import logging
import os
import time
from dataclasses import dataclass

import bentoml
from bentoml.exceptions import NotFound
from bentoml.models import BentoModel
from pydantic import ValidationError

from contract import ContractError
from contract.artefacts import PROJECT_ROOT, Artefacts
from contract.errors import setting_problem
from scoring.errors import ModelError
from scoring.model import ImportedModel
from scoring.model_store import is_exact, open_model, pinned_tag
from service.authentication import ApiKeys
from service.contract_watch import watch_contract
from service.errors import StartupError
from service.exposure import refuse_exposure
from service.guarded_features import GuardedFeatures, LastKnownGood
from service.http_api import BeforeBentoML, ServingSlot
from service.http_calls import Serving
from service.http_limits import bound_request_heads
from service.logs import start_logging
from service.metrics import ServiceMetrics
from service.online_features import OpenedFeast, open_feast
from service.predictor import Predictor
from service.settings import ServiceSettings, unknown_variables
from service.tracing import start_tracing, stop_tracing

logger = logging.getLogger("service")

slot = ServingSlot()


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


def pinned_model() -> BentoModel | None:
    """What `bentoml build` packs: the model to serve, if there is one. The hook below says if there is none."""
    try:
        stored = bentoml.models.get(served_tag(ServiceSettings(), Artefacts.of(os.environ)))
    except (StartupError, NotFound, ValidationError):
        return None
    return BentoModel(stored.tag)


@dataclass(frozen=True)
class Parts:
    """What one worker serves with, checked against each other."""

    model: ImportedModel
    feast: OpenedFeast
    keys: ApiKeys


def open_parts(settings: ServiceSettings, artefacts: Artefacts) -> Parts:
    """Open the model and Feast, and hold the contract against the live registry.

    Raises:
        StartupError, ModelError, ContractError: why this process must not serve.
    """
    keys = ApiKeys.of(settings.api_keys, settings.api_keys_file)
    refuse_exposure(keys_configured=keys.configured, allow_anonymous=settings.allow_anonymous)
    model = open_model(served_tag(settings, artefacts))
    feast = open_feast(
        PROJECT_ROOT / "feature_repo",
        artefacts,
        model.contract,
        compiled=settings.compiled_reader,
        stall_seconds=settings.deadline_ms / 1000,
    )
    return Parts(model, feast, keys)


def assemble(parts: Parts, settings: ServiceSettings, metrics: ServiceMetrics) -> Serving:
    """Put the parts together."""
    cache = LastKnownGood(settings.cache_rows, settings.cache_max_age_seconds) if settings.cache_rows else None
    features = GuardedFeatures(parts.feast.features, settings.deadline_ms / 1000, metrics, cache)
    return Serving.of(Predictor(parts.model, features, metrics), settings, metrics, parts.keys)


@bentoml.service(
    name="churn",
    # BentoML's own default is 0.0.0.0. `--host` or BENTOML_HOST opens it, and then API keys are asked for.
    http={"host": "127.0.0.1"},
    # Of BentoML's own paths only: see `BeforeBentoML`. The deadline of our calls is ours.
    traffic={"timeout": 5},
    # One access-log line per request costs about 15 % of the throughput; the metrics tell the same.
    logging={"access": {"enabled": False}},
    # BentoML labels its metrics with whatever path a client asks for, without bound, and they cost as much as all of
    # ours; `/metrics` is in service/http_api.py.
    metrics={"enabled": False},
    # BentoML would make a span per request even where nobody collects them; ours are in service/tracing.py.
    tracing={"excluded_urls": [".*"]},
)
class ChurnService:
    """Answers a customer id with the probability that this customer will not order again in 90 days."""

    # BentoML packs the models it finds as class attributes, so this one setting is read at import.
    model = pinned_model()

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # bentoml publishes no types for it
    @staticmethod
    def refuse_to_start_on_mismatch() -> None:
        """Runs once before any worker: a worker that fails is started again for ever, this ends the process."""
        try:
            settings = ServiceSettings()
            start_logging(settings)
            if unknown := unknown_variables(os.environ):
                logger.warning("no settings of the service, see README.md: %s", ", ".join(unknown))
            open_parts(settings, Artefacts.of(os.environ))
        except ValidationError as error:
            raise SystemExit(f"not starting: {setting_problem(error, 'SERVICE_')}") from None
        except (StartupError, ModelError, ContractError) as error:
            raise SystemExit(f"not starting: {error}") from None

    def __init__(self) -> None:
        settings = ServiceSettings()
        start_logging(settings)
        if settings.tracing:
            start_tracing()
        self._parts = open_parts(settings, Artefacts.of(os.environ))
        self._serving = assemble(self._parts, settings, ServiceMetrics())
        model, keys = self._parts.model, self._parts.keys
        self._serving.metrics.live(model.identity)
        slot.serving = self._serving
        gc.collect()
        gc.freeze()  # the start-up heap is never garbage; scanning it would stall requests for 0.1 s
        named = ", ".join(keys.names) or "none: anybody who reaches this process may ask"
        logger.info("serving %s, contract %s, API keys: %s", model.tag, model.contract_sha256[:12], named)

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def watch_the_contract(self) -> None:
        """Keep looking whether the registry still keeps the contract."""
        every = self._serving.settings.contract_check_seconds
        watch = watch_contract(self._parts.feast.broken_promises, every, self._serving.metrics.contract_mismatch)
        self._watch = asyncio.create_task(watch)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def close(self) -> None:
        """Runs when the last request has been answered."""
        self._watch.cancel()
        await self._serving.predictor.close()
        stop_tracing()

    async def __is_ready__(self) -> bool:
        return await self._serving.predictor.can_read(time.time_ns() // 1000)


ChurnService.add_asgi_middleware(BeforeBentoML, slot=slot)  # type: ignore[attr-defined]  # the decorator made it a Service
bound_request_heads()
