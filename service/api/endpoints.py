"""The calls of the API, and the table that lists them for routing and for the OpenAPI document."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.api.history import history
from service.api.members.bodies import names_runtime
from service.api.members.explanations import explained_classes, explanation_members
from service.api.members.queries import parse_query
from service.api.members.schemas import parse
from service.api.read_features import features
from service.api.serving import Serving
from service.errors import (
    DeadlineExceededError,
    ExplainerUnavailableError,
    FeaturesRefusedError,
    InvalidRequestError,
    NotExplainableError,
    OnlineStoreUnavailableError,
    OverloadedError,
    RequestTooLargeError,
    ServiceError,
    UnknownEntityError,
    UnsupportedMediaTypeError,
)
from service.prediction.predictions import Prediction
from service.settings import ServiceSettings
from service.telemetry.tracing import span


async def predict(serving: Serving, body: Any, as_of_unix_us: int, request_id: str) -> dict[str, Any]:
    """`POST /predict`."""
    asked = serving.bodies.requests
    key, given = asked.key(body), asked.given(body)
    with serving.rows.take():
        prediction = await serving.predictor.predict_one(key, as_of_unix_us, body.features, request_id, given)
    return _only_row(serving, prediction)


async def predict_batch(serving: Serving, body: Any, as_of_unix_us: int, request_id: str) -> dict[str, Any]:
    """`POST /predict_batch`."""
    keys, given = serving.bodies.requests.batch(body, serving.settings.max_batch)
    with serving.rows.take(len(keys)):
        predictions = await serving.predictor.predict(keys, as_of_unix_us, None, request_id, given)
    members = serving.bodies.members
    return {"predictions": [prediction.row(members) for prediction in predictions]}


async def explain(serving: Serving, body: Any, as_of_unix_us: int, request_id: str) -> dict[str, Any]:
    """`POST /explain`."""
    asked = serving.bodies.requests
    key, given = asked.key(body), asked.given(body)
    with serving.explanations.take():
        looked_up = await serving.predictor.look_up(key, as_of_unix_us, body.features, request_id, given)
        prediction = looked_up.prediction
        row = _only_row(serving, prediction)
        explainer = serving.explainer
        if prediction.model is not None and serving.challenger_explainer is not None:
            explainer = serving.challenger_explainer
        with span("explain"):
            # In a thread: the first call loads the pipeline, and trees take milliseconds.
            classes = explained_classes(looked_up, explainer.model.contract)
            explanation = await asyncio.to_thread(explainer.explain, looked_up.resolved.matrix, classes)
    return {**row, **explanation_members(looked_up, explanation, explainer.model, serving.predictor.model.contract)}


async def invocations(
    serving: Serving, matrix: NDArray[np.float32], _as_of_unix_us: int, _request_id: str
) -> dict[str, Any]:
    """`POST /invocations`: MLflow's scoring protocol; the features come with the request."""
    with serving.rows.take(len(matrix)):
        return serving.bodies.task.of_invocations(serving.predictor.score(matrix))


async def model(serving: Serving, _body: None, _as_of_unix_us: int, _request_id: str) -> dict[str, Any]:
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
    answered = {
        "tag": served.tag,
        "contract_sha256": served.contract_sha256,
        "contract": serving.contract_body,
        "challenger": beside,
        "release": asdict(serving.release),
    }
    if names_runtime(served.contract):
        answered["runtime"] = {"name": served.runtime_name, "reason": served.reason or None}
    return answered


def _only_row(serving: Serving, prediction: Prediction) -> dict[str, Any]:
    """Return the row of a request for one entity. Without a prediction such a request gets an error, not a row.

    Raises:
        UnknownEntityError, FeaturesRefusedError: there is no prediction.
    """
    contract = serving.predictor.model.contract
    if prediction.status == contract.unknown_status:
        keys = ", ".join(key.join_key for key in contract.feature_schema.entity_keys)
        raise UnknownEntityError(contract.entity, keys, model=prediction.model)
    if prediction.status == "refused":
        refusing = [f"{issue.feature} is {issue.state}" for issue in prediction.feature_issues if issue.used is None]
        what = f"the model has no {serving.bodies.task.score} for values as far out as these"
        if refusing:
            what = f"the model's contract refuses to score: {', '.join(refusing)}"
        raise FeaturesRefusedError(what, model=prediction.model)
    return prediction.row(serving.bodies.members)


Call = Callable[[Serving, Any, int, str], Awaitable[dict[str, Any]]]
"""Takes the parsed body, the request's time and the request's id; returns the members of the answer's body."""

Errors = tuple[type[ServiceError], ...]


@dataclass(frozen=True)
class Endpoint:
    """One call of the API, for routing and for the OpenAPI document.

    name: in metrics, logs and spans, and the operation's id; `Bodies` has the call's bodies by it.
    method: what the path takes; empty for any.
    summary: one line for the OpenAPI document, in which `<entity>` stands for the contract's entity.
    errors: what it can answer beside 401, 405 and 500, which every call can.
    mlflow: body and answer follow MLflow's scoring protocol: JSON or CSV in, and no `request_id` and `model` in the
        answer.
    guarded: it asks for an API key, if there are keys.
    rows: how many rows a parsed body asks for; None: it asks for none.
    offered: whether these settings have it; where they do not, its path is unknown. None: they all have it.
    """

    name: str
    method: str
    path: str
    summary: str
    call: Call
    errors: Errors
    mlflow: bool = False
    guarded: bool = True
    rows: Callable[[Serving, Any], int] | None = None
    offered: Callable[[ServiceSettings], bool] | None = None

    @cached_property
    def methods(self) -> tuple[str, ...]:
        """What the path takes. A path that takes GET takes HEAD too: the server leaves the body out."""
        return ("GET", "HEAD") if self.method == "GET" else (self.method,)

    async def answer(
        self, serving: Serving, content_type: bytes | None, raw: bytes, request_id: str, client: str | None = None
    ) -> dict[str, Any]:
        """Parse one request, run the call, and say whose answer it is.

        Args:
            content_type: the header; None if there was none.
            raw: the body; of a call that takes none, the query.
            client: name of the API key whose quota of rows holds; None: none does.

        Returns:
            The body of the answer.

        Raises:
            ServiceError: what the client is told instead.
        """
        with serving.requests.take():
            as_of_unix_us = serving.clock() // 1000
            body: Any = None
            expected = serving.bodies.requests.of_call.get(self.name)
            if expected is not None:
                body = parse(expected, raw)
            elif (query := serving.bodies.requests.of_query.get(self.name)) is not None:
                body = parse_query(query, raw)
            elif self.mlflow:
                media_type = None if content_type is None else content_type.decode("latin-1")
                body = serving.scoring_protocol.parse(media_type, raw)
            if serving.quotas is not None and self.rows is not None and client is not None:
                serving.quotas.take_rows(client, self.rows(serving, body))
            content = await self.call(serving, body, as_of_unix_us, request_id)
        return content if self.mlflow else {"request_id": request_id, "model": serving.identity, **content}


def _one_row(_serving: Serving, _body: Any) -> int:
    return 1


def _rows_of_batch(serving: Serving, body: Any) -> int:
    """Rows that will be looked up: none of a batch that is refused."""
    count = serving.bodies.requests.count(body)
    return count if count <= serving.settings.max_batch else 0


_BODY: Errors = (InvalidRequestError, RequestTooLargeError, UnsupportedMediaTypeError, OverloadedError)
_STORE: Errors = (OnlineStoreUnavailableError, DeadlineExceededError)
_SINGLE: Errors = (*_BODY, *_STORE, UnknownEntityError, FeaturesRefusedError)

ENDPOINTS = (
    Endpoint(
        name="predict",
        method="POST",
        path="/predict",
        summary="Score one <entity>",
        call=predict,
        errors=_SINGLE,
        rows=_one_row,
    ),
    Endpoint(
        name="predict_batch",
        method="POST",
        path="/predict_batch",
        summary="Score many <entity>s",
        call=predict_batch,
        errors=(*_BODY, *_STORE),
        rows=_rows_of_batch,
    ),
    Endpoint(
        name="explain",
        method="POST",
        path="/explain",
        summary="Score one <entity> and say what each feature adds",
        call=explain,
        errors=(*_SINGLE, NotExplainableError, ExplainerUnavailableError),
        rows=_one_row,
    ),
    Endpoint(
        name="features",
        method="POST",
        path="/features",
        summary="Read the features of many <entity>s, without a prediction",
        call=features,
        errors=(*_BODY, *_STORE),
        rows=_rows_of_batch,
    ),
    Endpoint(
        name="invocations",
        method="POST",
        path="/invocations",
        summary="Score features that the caller supplies, by MLflow's scoring protocol",
        call=invocations,
        errors=_BODY,
        mlflow=True,
        rows=lambda _serving, matrix: len(matrix),
    ),
    Endpoint(
        name="history",
        method="GET",
        path="/history",
        summary="The last logged answers for one <entity>",
        call=history,
        errors=(InvalidRequestError, OverloadedError),
        rows=_one_row,
        offered=lambda settings: settings.history,
    ),
    Endpoint(
        name="model",
        method="GET",
        path="/model",
        summary="The live model's contract",
        call=model,
        errors=(OverloadedError,),
    ),
)


def offered(settings: ServiceSettings) -> list[Endpoint]:
    """The calls that a service with these settings has."""
    return [endpoint for endpoint in ENDPOINTS if endpoint.offered is None or endpoint.offered(settings)]
