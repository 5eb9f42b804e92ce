"""The `@bentoml.service` class. It connects the parts and has no logic of its own."""

import gc
import logging
import os
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

import bentoml
from bentoml._internal.utils.analytics import usage_stats
from bentoml.exceptions import NotFound
from bentoml.models import BentoModel
from pydantic import ValidationError

from artefacts.addresses import DEFAULT_USE_CASE, PROJECT_ROOT, Artefacts
from artefacts.process.settings import unknown_variables
from contract import ContractError, ModelContract
from contract.validation import setting_problem
from scoring.errors import ModelError
from scoring.models.model_store import read_contract
from service.api.before_bentoml import BeforeBentoML
from service.api.connection_limits import bound_request_heads
from service.api.endpoints import Endpoint
from service.api.routing import ServingSlot
from service.assembly import open_parts, served_tag
from service.bento_methods import with_bento_methods
from service.errors import StartupError
from service.in_process import CallsInProcess
from service.release import Release
from service.settings import ServiceSettings
from service.telemetry.logs import start_logging
from service.telemetry.metrics_folder import use_own_folder
from service.telemetry.tracing import start_tracing, stop_tracing
from service.use_case import refuse_another_use_case, with_use_case
from service.worker import Worker

logger = logging.getLogger("service")

slot = ServingSlot()

# `make build` records the folder in the Bento, with `--arg use_case=…`; a source tree has no record.
recorded_use_case = str(getattr(bentoml.use_arguments(), "use_case", ""))
environment = with_use_case(os.environ, recorded_use_case)


def settings_at_import() -> ServiceSettings | None:
    """Read the settings that BentoML and uvicorn need at import. The hook below reports what is wrong with them."""
    try:
        return ServiceSettings()
    except ValidationError:
        return None


def pinned_model(settings: ServiceSettings) -> tuple[BentoModel | None, ModelContract | None]:
    """Find the model that `bentoml build` packs, and its contract. The hook below reports if there is none."""
    try:
        tag = served_tag(settings, Artefacts.of(environment))
        return BentoModel(bentoml.models.get(tag).tag), read_contract(tag)
    except (StartupError, ModelError, ContractError, NotFound):
        return None, None


at_import = settings_at_import()
pinned, contract = (None, None) if at_import is None else pinned_model(at_import)
served = ServiceSettings.model_construct() if at_import is None else at_import


@bentoml.service(
    name=PurePath(environment.get("USE_CASE") or DEFAULT_USE_CASE).name,
    # BentoML's own default is 0.0.0.0. `--host` or BENTOML_HOST opens it, and then API keys are asked for.
    http={"host": "127.0.0.1"},
    path_prefix=served.path_prefix,
    # For BentoML's own paths only, see `BeforeBentoML`. Our calls have their own deadline.
    traffic={"timeout": 5},
    # One access-log line per request costs about 15 % of the throughput; the metrics tell the same.
    logging={"access": {"enabled": False}},
    # BentoML labels its metrics with whatever path a client asks for, without bound, and they cost as much as all of
    # ours; `/metrics` is in service/api/routing.py.
    metrics={"enabled": False},
    # BentoML would make a span per request even where nobody collects them; ours are in service/telemetry/tracing.py.
    tracing={"excluded_urls": [".*"]},
)
@with_bento_methods(contract, served.max_batch)
class ModelService:
    """Answers an entity key with the prediction of the use case's model."""

    # BentoML packs the models it finds as class attributes.
    model = pinned

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # bentoml publishes no types for it
    @staticmethod
    def refuse_to_start_on_mismatch() -> None:
        """End the process if it cannot serve. Runs once, before the workers: a failing worker is restarted for ever."""
        from service.supervisor import close_to_everybody, reload_on_changes  # the workers need no ZeroMQ

        try:
            close_to_everybody()
            settings = ServiceSettings()
            start_logging(settings)
            if unknown := unknown_variables(os.environ, "SERVICE_", ServiceSettings.model_fields):
                logger.warning("unknown SERVICE_ variables are ignored, see docs/settings.md: %s", ", ".join(unknown))
            refuse_another_use_case(os.environ, recorded_use_case)
            open_parts(settings, Artefacts.of(environment))
            reload_on_changes(*(PROJECT_ROOT / room for room in ("artefacts", "contract", "scoring", "service")))
        except ValidationError as error:
            raise SystemExit(f"not starting: {setting_problem(error, 'SERVICE_')}") from None
        except (StartupError, ModelError, ContractError) as error:
            raise SystemExit(f"not starting: {error}") from None

    def __init__(self) -> None:
        use_own_folder()
        settings = ServiceSettings()
        start_logging(settings)
        if settings.tracing:
            start_tracing(ModelService.name)  # type: ignore[attr-defined]  # as below, a Service
        release = Release.of(ModelService.bento, settings.image)  # type: ignore[attr-defined]  # as below, a Service
        self._worker = Worker(settings, Artefacts.of(environment), slot, release)
        self._calls = CallsInProcess(slot, self._worker.close)
        gc.collect()
        gc.freeze()  # the start-up heap is never garbage; scanning it would stall requests for 0.1 s
        self._worker.log_startup()

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    async def watch(self) -> None:
        """Follow the desired models, and check the live contracts against the registry."""
        self._calls.use_running_loop()
        self._worker.watch()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    async def close(self) -> None:
        """Close the worker. Runs when the last request has been answered."""
        await self._calls.close()
        stop_tracing()

    def answer_in_process(self, endpoint: Endpoint, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Run a call for the methods that `with_bento_methods` makes. Raises as `CallsInProcess.answer`."""
        return self._calls.answer(endpoint, arguments)

    async def __is_ready__(self) -> bool:
        return await self._worker.is_ready()


ModelService.add_asgi_middleware(  # type: ignore[attr-defined]  # the decorator made it a Service
    BeforeBentoML,
    slot=slot,
    path_prefix=served.path_prefix,
    cors_origins=served.allowed_origins,
    has_dependents=lambda: bentoml.server_context.service_type == "service",
)
bound_request_heads(None if at_import is None else at_import.keep_alive_seconds)
# BentoML decides about usage statistics before it loads this module, and keeps the decision. Clear it, so that what
# scoring/no_telemetry.py sets counts. There is no public way.
usage_stats.do_not_track.cache_clear()
