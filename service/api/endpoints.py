"""What each call of the API does: a parsed body in, the members of the answer's body out."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple

from service.api.authentication import ApiKeys
from service.api.in_flight_limits import InFlightLimit
from service.api.mlflow_protocol import ScoringProtocol
from service.api.openapi import openapi_document
from service.api.schemas import ExplainRequest, PredictBatchRequest, PredictRequest, parse
from service.asgi import Headers
from service.errors import (
    ExplainerUnavailableError,
    FeaturesRefusedError,
    NotExplainableError,
    RequestTooLargeError,
    UnknownCustomerError,
)
from service.prediction.lazy_explainer import LazyExplainer
from service.prediction.predictions import Prediction
from service.prediction.predictor import Predictor
from service.release import Release
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics
from service.telemetry.tracing import span


class Asked(NamedTuple):
    """A request, as far as a call needs it.

    content_type: the header as it came.
    as_of_unix_us: the request's time, taken once.
    request_id: under which its answers are logged.
    """

    body: bytes
    content_type: bytes | None
    as_of_unix_us: int
    request_id: str


@dataclass(frozen=True)
class Serving:
    """What the calls work with.

    contract_body: the contract as JSON values.
    document: the OpenAPI document.
    model_headers: what every response's headers say about the model.
    requests, rows, explanations: bounds on what is in flight.
    clock: nanoseconds since 1970; the time of a request is taken from it, once.
    """

    predictor: Predictor
    explainer: LazyExplainer
    challenger_explainer: LazyExplainer | None
    scoring_protocol: ScoringProtocol
    settings: ServiceSettings
    metrics: ServiceMetrics
    keys: ApiKeys
    contract_body: dict[str, Any]
    document: dict[str, Any]
    model_headers: Headers
    requests: InFlightLimit
    rows: InFlightLimit
    explanations: InFlightLimit
    clock: Callable[[], int] = time.time_ns
    release: Release = field(default_factory=Release)

    @classmethod
    def of(cls, predictor: Predictor, settings: ServiceSettings, metrics: ServiceMetrics, keys: ApiKeys) -> "Serving":
        """Everything that follows from these four."""
        model, challenger = predictor.model, predictor.challenger
        return cls(
            predictor=predictor,
            explainer=LazyExplainer(model),
            challenger_explainer=None if challenger is None else LazyExplainer(challenger.live.model),
            scoring_protocol=ScoringProtocol(model.contract.feature_names, settings.max_batch),
            settings=settings,
            metrics=metrics,
            keys=keys,
            contract_body=model.contract.model_dump(mode="json"),
            document=openapi_document(model.contract, settings.max_batch, keys_configured=keys.configured),
            model_headers=model_headers(model.identity),
            requests=InFlightLimit(settings.max_concurrency, "requests"),
            rows=InFlightLimit(settings.max_rows, "rows"),
            explanations=InFlightLimit(settings.max_explanations, "explanations"),
        )

    def with_models_of(self, other: "Serving") -> "Serving":
        """The same worker with other models: what is in flight stays bounded over both."""
        return replace(
            other,
            requests=self.requests,
            rows=self.rows,
            explanations=self.explanations,
            clock=self.clock,
            release=self.release,
        )


def model_headers(identity: Mapping[str, str]) -> Headers:
    """What a response's headers say about the model that answered."""
    return [(f"x-model-{key}".encode(), value.encode("ascii", "backslashreplace")) for key, value in identity.items()]


async def predict(serving: Serving, asked: Asked) -> dict[str, Any]:
    """`POST /predict`."""
    body = parse(PredictRequest, asked.body)
    with serving.rows.take():
        prediction = await serving.predictor.predict_one(
            body.customer_id, asked.as_of_unix_us, body.features, asked.request_id
        )
    return _row(_scored(prediction))


async def predict_batch(serving: Serving, asked: Asked) -> dict[str, Any]:
    """`POST /predict_batch`."""
    customer_ids = parse(PredictBatchRequest, asked.body).customer_ids
    _check_rows(len(customer_ids), serving.settings.max_batch)
    with serving.rows.take(len(customer_ids)):
        predictions = await serving.predictor.predict(customer_ids, asked.as_of_unix_us, None, asked.request_id)
    return {"predictions": [_row(prediction) for prediction in predictions]}


async def explain(serving: Serving, asked: Asked) -> dict[str, Any]:
    """`POST /explain`."""
    body = parse(ExplainRequest, asked.body)
    with serving.explanations.take():
        looked_up = await serving.predictor.look_up(
            body.customer_id, asked.as_of_unix_us, body.features, asked.request_id
        )
        row = _row(_scored(looked_up.prediction))
        resolved = looked_up.resolved
        explainer = serving.explainer
        if looked_up.prediction.challenger is not None and serving.challenger_explainer is not None:
            explainer = serving.challenger_explainer
        with span("explain"):
            # In a thread: the first one loads the pipeline, and trees take milliseconds.
            try:
                explanation = await asyncio.to_thread(explainer.explain, resolved.matrix)
            except (NotExplainableError, ExplainerUnavailableError) as error:
                error.model = looked_up.prediction.challenger
                raise
    issues = {issue.feature: issue for issue in looked_up.prediction.feature_issues}
    contributions = []
    for column, feature in enumerate(explainer.model.contract.inputs):
        issue = issues.get(feature.name)
        age = float(resolved.ages[0, column]) if issue is None else issue.age_seconds
        contributions.append(
            {
                "feature": feature.name,
                "view": feature.view,
                "contribution": float(explanation.contributions[0, column]),
                "value": float(resolved.matrix[0, column]),
                "age_seconds": age,
                "state": "fresh" if issue is None else issue.state,
            }
        )
    return {**row, "base_value": explanation.base_value, "contributions": contributions}


async def invocations(serving: Serving, asked: Asked) -> dict[str, Any]:
    """`POST /invocations`: MLflow's scoring protocol; the features come with the request."""
    content_type = None if asked.content_type is None else asked.content_type.decode("latin-1")
    matrix = serving.scoring_protocol.parse(content_type, asked.body)
    with serving.rows.take(len(matrix)):
        return dict(serving.scoring_protocol.answer(serving.predictor.score(matrix)))


async def model(serving: Serving, _: Asked) -> dict[str, Any]:
    """`GET /model`."""
    served, challenger = serving.predictor.model, serving.predictor.challenger
    beside = None
    if challenger is not None:
        other = challenger.live.model
        beside = {
            "tag": other.tag,
            "version": other.contract.model_version,
            "contract_sha256": other.contract_sha256,
            "mode": challenger.mode,
            "share": challenger.share if challenger.mode == "canary" else None,
        }
    return {
        "tag": served.tag,
        "contract_sha256": served.contract_sha256,
        "contract": serving.contract_body,
        "challenger": beside,
        "release": asdict(serving.release),
    }


def _check_rows(rows: int, most: int) -> None:
    if rows > most:
        raise RequestTooLargeError(f"customer_ids: at most {most} ids in one batch", field="customer_ids")


def _scored(prediction: Prediction) -> Prediction:
    """The prediction, if there is one.

    Raises:
        UnknownCustomerError, FeaturesRefusedError: there is not, and a single request has no row to say so in.
    """
    if prediction.status == "unknown_customer":
        unknown = UnknownCustomerError("no features are stored for this customer", field="customer_id")
        unknown.model = prediction.challenger
        raise unknown
    if prediction.status == "refused":
        refusing = [f"{issue.feature} is {issue.state}" for issue in prediction.feature_issues if issue.used is None]
        what = "the model has no probability for values as far out as these"
        if refusing:
            what = f"the model's contract refuses to score: {', '.join(refusing)}"
        refused = FeaturesRefusedError(what)
        refused.model = prediction.challenger
        raise refused
    return prediction


def _row(prediction: Prediction) -> dict[str, Any]:
    row: dict[str, Any] = {
        "customer_id": prediction.customer_id,
        "churn_probability": prediction.churn_probability,
        "churn": prediction.churn,
        "status": prediction.status,
        "feature_issues": prediction.feature_issues,
        "cached_seconds": prediction.cached_seconds,
    }
    if prediction.challenger is not None:
        row["model"] = prediction.challenger
    return row
