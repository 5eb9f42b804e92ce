"""Opens the models, Feast and the API keys, checks them against each other, and assembles what a worker serves with."""

from dataclasses import dataclass, replace

from artefacts.addresses import Artefacts
from artefacts.challenger_file import Challenge
from artefacts.model_tag import is_exact
from contract import ModelContract
from scoring.models.imported_model import ImportedModel
from scoring.models.model_store import open_model, pinned_tag
from scoring.models.other_inputs import row_without_values
from service.api.authentication import ApiKeys
from service.api.endpoints import offered
from service.api.exchange import model_headers
from service.api.exposure import refuse_exposure
from service.api.in_flight_limits import InFlightLimit
from service.api.invocations.mlflow_protocol import ScoringProtocol
from service.api.members.bodies import Bodies
from service.api.members.queries import why_no_history
from service.api.openapi import openapi_document
from service.api.quotas import parse_quotas
from service.api.serving import Serving
from service.console.pages import pages
from service.desired_models import DesiredModels, desired_models_at_start
from service.errors import StartupError
from service.features.guard import GuardedFeatures, LastKnownGood
from service.features.opening import OpenedFeast, open_feast
from service.inference_log.history import AnswerHistory
from service.inference_log.writer import pseudonyms_of
from service.interchangeable import why_not_in_place
from service.prediction.batch import AnswerLog
from service.prediction.challenger import Challenger
from service.prediction.lazy_explainer import LazyExplainer
from service.prediction.predictor import Predictor
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics


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
class OpenedParts:
    """What one worker serves with. The contracts have been checked against the registry.

    challenger: None if none is desired, or if `refusal` says why it cannot be live.
    """

    model: ImportedModel
    feast: OpenedFeast
    keys: ApiKeys
    challenge: Challenge | None = None
    challenger: ImportedModel | None = None
    refusal: str = ""


def open_keys(settings: ServiceSettings, *, bound: bool = True) -> ApiKeys:
    """Open the API keys. Call it in the thread that starts the process: only there the address is known.

    Args:
        bound: False if only callers in this process are served.

    Raises:
        StartupError: there are no keys, and other machines can reach the service.
    """
    keys = ApiKeys.of(settings.api_keys, settings.api_keys_file)
    refuse_exposure(keys_configured=keys.configured, allow_anonymous=settings.allow_anonymous or not bound)
    return keys


def open_parts(
    settings: ServiceSettings,
    artefacts: Artefacts,
    asked: DesiredModels | None = None,
    keys: ApiKeys | None = None,
    served: ModelContract | None = None,
    *,
    bound: bool = True,
) -> OpenedParts:
    """Open the models and Feast, and check the contracts against the live registry.

    Args:
        asked: the desired models; None reads them from settings, pin and challenger file.
        keys: those of a worker that serves already; None opens them.
        served: the contract that the worker serves already: a champion with another API is refused. None: it starts.
        bound: as `open_keys`.

    Raises:
        StartupError, ModelError, ContractError: why this process must not serve. A challenger is never the reason.
    """
    if keys is None:
        keys = open_keys(settings, bound=bound)
        parse_quotas(settings.quotas)
        if settings.inference_log:
            pseudonyms_of(settings)
    asked = asked or desired_models_at_start(served_tag(settings, artefacts), artefacts.challenger)
    model = open_model(asked.champion)
    if served is not None and (why := why_not_in_place(served, model.contract)):
        raise StartupError(f"model {model.tag}: {why}")
    if settings.history and (why := why_no_history(model.contract)):
        raise StartupError(f"SERVICE_HISTORY=true: {why}, as model {model.tag} has; leave it off")

    def opened(*models: ImportedModel) -> OpenedFeast:
        return open_feast(
            artefacts.feature_repo,
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
            if why := why_not_in_place(model.contract, challenger.contract, beside=True):
                raise StartupError(why)
            _warm(challenger)
            return OpenedParts(model, opened(model, challenger), keys, challenge, challenger)
        except Exception as error:  # no fault of a challenger may stop the service
            refusal = f"challenger {challenge.tag}: {error}"
    return OpenedParts(model, opened(model), keys, refusal=refusal)


def _warm(model: ImportedModel) -> None:
    """Score one row: the first call is slow, and a model that cannot score must not go live."""
    model.score(row_without_values(model.contract))


def cache_of(settings: ServiceSettings) -> LastKnownGood | None:
    """Make an empty cache, or None if the settings turn it off."""
    return LastKnownGood(settings.cache_rows, settings.cache_max_age_seconds) if settings.cache_rows else None


def assemble(
    parts: OpenedParts,
    settings: ServiceSettings,
    metrics: ServiceMetrics,
    log: AnswerLog | None = None,
    cache: LastKnownGood | None = None,
    history: AnswerHistory | None = None,
) -> Serving:
    """Assemble the parts.

    Args:
        cache: rows of the parts' union.
        history: of the same folder as the log.
    """
    deadline_seconds = settings.deadline_ms / 1000
    features = GuardedFeatures(parts.feast.features, deadline_seconds, metrics, cache, parts.feast.union)
    union, challenge, challenger = parts.feast.union, parts.challenge, None
    if challenge is not None and parts.challenger is not None:
        budget = settings.challenger_budget_ms / 1000
        challenger = Challenger(parts.challenger, union, challenge.mode, challenge.share, metrics, budget, log)
    predictor = Predictor(parts.model, features, metrics, union, challenger, log)
    return replace(serving_of(predictor, settings, metrics, parts.keys), history=history)


def serving_of(predictor: Predictor, settings: ServiceSettings, metrics: ServiceMetrics, keys: ApiKeys) -> Serving:
    """Make what the API's calls work with."""
    model, challenger = predictor.model, predictor.challenger
    bodies = Bodies.of(model.contract, predictor.union, settings.max_batch)
    return Serving(
        predictor=predictor,
        explainer=LazyExplainer(model),
        challenger_explainer=None if challenger is None else LazyExplainer(challenger.live.model),
        scoring_protocol=ScoringProtocol(model.contract.feature_names, settings.max_batch, model.contract.inputs),
        settings=settings,
        metrics=metrics,
        keys=keys,
        bodies=bodies,
        contract_body=model.contract.document,
        pages=pages(console=settings.console),
        document=openapi_document(
            model.contract,
            bodies,
            settings.max_batch,
            keys_configured=keys.configured,
            endpoints=offered(settings),
            quotas=bool(settings.quotas),
            path_prefix=settings.path_prefix,
        ),
        identity=model.identity,
        model_headers=model_headers(model.identity),
        requests=InFlightLimit(settings.max_concurrency, "requests"),
        rows=InFlightLimit(settings.max_rows, "rows"),
        explanations=InFlightLimit(settings.max_explanations, "explanations"),
    )
