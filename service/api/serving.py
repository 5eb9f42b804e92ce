"""What the calls of the API work with."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from service.api.authentication import ApiKeys
from service.api.in_flight_limits import InFlightLimit
from service.api.invocations.mlflow_protocol import ScoringProtocol
from service.api.members.bodies import Bodies
from service.api.quotas import Quotas
from service.asgi import Headers
from service.console.pages import Page
from service.inference_log.history import AnswerHistory
from service.prediction.lazy_explainer import LazyExplainer
from service.prediction.predictor import Predictor
from service.release import Release
from service.settings import ServiceSettings
from service.telemetry.metrics import ServiceMetrics


@dataclass(frozen=True)
class Serving:
    """What the calls work with.

    bodies: of the champion's contract, which is `contract_body` as JSON values.
    document: the OpenAPI document.
    pages: by path, what people open in a browser.
    history: finds what was logged; None unless the settings offer it.
    identity, model_headers: what every body and every response's headers say about the champion.
    requests, rows, explanations: limits on what is in flight.
    quotas: of API keys; None: there are none.
    clock: nanoseconds since 1970; read once per request.
    """

    predictor: Predictor
    explainer: LazyExplainer
    challenger_explainer: LazyExplainer | None
    scoring_protocol: ScoringProtocol
    settings: ServiceSettings
    metrics: ServiceMetrics
    keys: ApiKeys
    bodies: Bodies
    contract_body: dict[str, Any]
    document: dict[str, Any]
    pages: Mapping[str, Page]
    identity: dict[str, str]
    model_headers: Headers
    requests: InFlightLimit
    rows: InFlightLimit
    explanations: InFlightLimit
    history: AnswerHistory | None = None
    quotas: Quotas | None = None
    clock: Callable[[], int] = time.time_ns
    release: Release = field(default_factory=Release)

    def with_models_of(self, other: "Serving") -> "Serving":
        """Take the other's models. The limits stay, so that they hold for requests to old and new models together."""
        return replace(
            other,
            requests=self.requests,
            rows=self.rows,
            explanations=self.explanations,
            quotas=self.quotas,
            clock=self.clock,
            release=self.release,
        )
