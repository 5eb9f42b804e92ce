"""The `@bentoml.service` class: it puts the pieces together and holds no logic of its own."""

import gc
import logging
import os
import time
from pathlib import Path

import bentoml
from bentoml.exceptions import NotFound
from bentoml.models import BentoModel
from pydantic import ValidationError

from contract import ContractError
from contract.artefacts import PROJECT_ROOT, Artefacts
from contract.errors import setting_problem
from service.errors import StartupError
from service.http_api import ServingState, create_api
from service.metrics import ServiceMetrics
from service.model import ServedModel, load_model
from service.online_features import open_feast
from service.predictor import Predictor
from service.settings import ServiceSettings

logger = logging.getLogger("service")

api = create_api()


def served_tag(settings: ServiceSettings, artefacts: Artefacts) -> str:
    """The exact tag to serve: from the settings, else the one the import pinned; never `latest`.

    Raises:
        StartupError: neither names one.
    """
    tag = settings.model_tag
    if not tag and artefacts.model_tag.exists():
        tag = artefacts.model_tag.read_text().strip()
    name, _, version = tag.partition(":")
    if not name or not version or version == "latest":
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


def open_model(tag: str) -> ServedModel:
    """Load the model from the BentoML model store.

    Raises:
        StartupError: it is not there, or not what was imported.
    """
    try:
        stored = bentoml.models.get(tag)
    except NotFound:
        raise StartupError(f"model {tag} is not in the BentoML model store; run `make import-model`") from None
    return load_model(tag, Path(stored.path), stored.info.labels, stored.info.metadata, role="champion")


def assemble(settings: ServiceSettings, artefacts: Artefacts) -> Predictor:
    """Choose the concrete classes and hold the contract against the live registry.

    Raises:
        StartupError, ContractError: why this process must not serve.
    """
    model = open_model(served_tag(settings, artefacts))
    features = open_feast(PROJECT_ROOT / "feature_repo", artefacts, model.contract)
    return Predictor(model, features, settings.deadline_ms / 1000)


@bentoml.service(
    name="churn",
    # BentoML's own timeout keeps every finished request in memory until it expires; the deadline is ours.
    # The largest body timeout and deadline together stay below it.
    traffic={"timeout": 5},
    # One line per request costs about 15 % of the throughput; the metrics tell the same.
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(api)
class ChurnService:
    """Answers a customer id with the probability that this customer will not order again in 90 days."""

    # BentoML packs the models it finds as class attributes, so this one setting is read at import.
    model = pinned_model()

    @bentoml.on_deployment  # type: ignore[untyped-decorator]  # bentoml publishes no types for it
    @staticmethod
    def refuse_to_start_on_mismatch() -> None:
        """Runs once before any worker: a worker that fails is started again for ever, this ends the process."""
        try:
            assemble(ServiceSettings(), Artefacts.of(os.environ))
        except ValidationError as error:
            raise SystemExit(f"not starting: {setting_problem(error, 'SERVICE_')}") from None
        except (StartupError, ContractError) as error:
            raise SystemExit(f"not starting: {error}") from None

    def __init__(self) -> None:
        settings = ServiceSettings()
        logging.getLogger("service").setLevel(settings.log_level)
        self._predictor = assemble(settings, Artefacts.of(os.environ))
        model = self._predictor.model
        metrics = ServiceMetrics()
        metrics.live(model.identity)
        api.state.serving = ServingState(
            predictor=self._predictor,
            settings=settings,
            metrics=metrics,
            contract_body=model.contract.model_dump(mode="json"),
        )
        gc.collect()
        gc.freeze()  # the start-up heap is never garbage; scanning it would stall requests for 0.1 s
        logger.info("serving %s, contract %s", model.tag, model.contract_sha256[:12])

    async def __is_ready__(self) -> bool:
        return await self._predictor.can_read(time.time_ns() // 1000)
