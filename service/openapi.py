"""The OpenAPI document: every call, body, outcome and header, from the schemas that the calls themselves use."""

import functools
from typing import Any

from pydantic.json_schema import models_json_schema

from service.schemas import (
    ErrorResponse,
    ExplainRequest,
    ExplainResponse,
    InvocationsRequest,
    InvocationsResponse,
    ModelResponse,
    PredictBatchRequest,
    PredictBatchResponse,
    PredictRequest,
    PredictResponse,
)

_PREFIX = "#/components/schemas/"
_OUTCOMES = {
    400: "the body, an id or an override is wrong; `field` names it",
    401: "no API key, or one that is not valid",
    404: "no features are stored for this customer",
    405: "the path takes another method",
    413: "the body or the batch is over its limit",
    415: "a content type that this call does not read",
    422: "the contract forbids scoring with features in this state, or the model has no probability for such values",
    429: "too much at once",
    500: "the service failed; its log has the request id",
    501: "predictions of this model cannot be taken apart exactly",
    503: "the online store cannot be read, or not in time",
}
_CALLS: list[tuple[str, str, str, type[Any] | None, type[Any], tuple[int, ...]]] = [
    ("post", "/predict", "Score one customer", PredictRequest, PredictResponse, (400, 404, 413, 422, 429, 503)),
    ("post", "/predict_batch", "Score many customers", PredictBatchRequest, PredictBatchResponse, (400, 413, 429, 503)),
    (
        "post",
        "/explain",
        "Score one customer and say what each feature adds",
        ExplainRequest,
        ExplainResponse,
        (400, 404, 413, 422, 429, 501, 503),
    ),
    (
        "post",
        "/invocations",
        "Score features that the caller supplies, by MLflow's scoring protocol",
        InvocationsRequest,
        InvocationsResponse,
        (400, 413, 415, 429),
    ),
    ("get", "/model", "The live model's contract", None, ModelResponse, (429,)),
]


@functools.cache
def openapi_document() -> dict[str, Any]:
    """OpenAPI 3.1, as JSON values."""
    models = {model for call in _CALLS for model in call[3:5] if model is not None} | {ErrorResponse}
    _, schemas = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)],
        ref_template=_PREFIX + "{model}",
    )
    paths: dict[str, Any] = {}
    for method, path, summary, body, answer, errors in _CALLS:
        operation: dict[str, Any] = {
            "operationId": path.strip("/"),
            "summary": summary,
            "security": [{}, {"api_key": []}],
            "parameters": [
                {
                    "name": "X-Request-ID",
                    "in": "header",
                    "required": False,
                    "description": "repeated in the answer and in logs; made if it is absent, longer than 128 or odd",
                    "schema": {"type": "string"},
                }
            ],
            "responses": {
                "200": _response("the answer", answer),
                **{str(status): _response(_OUTCOMES[status], ErrorResponse) for status in (401, 405, *errors, 500)},
            },
        }
        if body is not None:
            content = {"application/json": {"schema": {"$ref": _PREFIX + body.__name__}}}
            if body is InvocationsRequest:
                content["text/csv"] = {"schema": {"type": "string"}}
            operation["requestBody"] = {"required": True, "content": content}
        paths[path] = {method: operation}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "customer churn",
            "version": "1",
            "description": "A customer id in, the probability out that this customer will not order again in 90 days.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas["$defs"],
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _response(description: str, body: type[Any]) -> dict[str, Any]:
    headers = {"X-Request-ID": "of this request", "X-Model-Name": "", "X-Model-Version": "", "X-Model-Role": ""}
    return {
        "description": description,
        "headers": {
            name: {"description": text or "of the model", "schema": {"type": "string"}}
            for name, text in headers.items()
        },
        "content": {"application/json": {"schema": {"$ref": _PREFIX + body.__name__}}},
    }
