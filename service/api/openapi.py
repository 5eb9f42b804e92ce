"""The OpenAPI document of one served model: every call, body, outcome and header, from the table of endpoints.

The live contract adds the features that a request may override and those that `POST /invocations` needs.
tests/e2e/test_openapi.py compares the running service with the document.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from contract import ModelContract
from contract.values.request_values import WHERE
from service.api.endpoints import ENDPOINTS, Endpoint, Errors
from service.api.exchange import REQUEST_ID
from service.api.members.bodies import Bodies
from service.api.members.input_types import column_type, override_type, request_type
from service.api.members.schemas import ErrorResponse
from service.errors import MethodNotAllowedError, QuotaExceededError, UnauthenticatedError

Json = dict[str, Any]
_PREFIX = "#/components/schemas/"
_INVOCATIONS = "InvocationsRequest"
_OVERRIDES = "FeatureOverrides"
_INPUTS = "RequestInputs"


EVERYWHERE_OFFERED = [endpoint for endpoint in ENDPOINTS if endpoint.offered is None]
_EVERYWHERE: Errors = (UnauthenticatedError, MethodNotAllowedError)
_OUTCOMES = {
    400: "the body, an id or an override is wrong; `field` names it",
    401: "no API key, or one that is not valid",
    404: "no features are stored for this <entity>",
    405: "the path takes another method",
    413: "the body or the batch is over its limit",
    415: "a content type that this call does not read",
    422: "the contract forbids scoring with features in this state, or the model has no <score> for such values",
    429: "too much at once, or more than the quota of the API key",
    500: "the service failed; its log has the request id",
    501: "predictions of this model cannot be taken apart exactly",
    503: "the online store, or what explanations need, cannot be read, or not in time",
}
_HEADERS: dict[int, dict[str, tuple[str, Json]]] = {
    401: {"WWW-Authenticate": ("how to authenticate", {"const": "Bearer"})},
    405: {"Allow": ("what the path takes", {"type": "string"})},
    429: {"Retry-After": ("seconds", {"type": "integer", "minimum": 1})},
    503: {"Retry-After": ("seconds", {"type": "integer", "minimum": 1})},
}
_PLAIN = (
    ("/livez", "This process is alive", {200: "it is"}),
    (
        "/readyz",
        "This process may take traffic",
        {200: "it may", 503: "the online store does not answer in time, or its snapshots are older than wanted"},
    ),
    ("/metrics", "Metrics of all workers in Prometheus' text format", {200: "the metrics"}),
)


def openapi_document(
    contract: ModelContract,
    bodies: Bodies,
    max_batch: int,
    *,
    keys_configured: bool,
    endpoints: Sequence[Endpoint] = EVERYWHERE_OFFERED,
    quotas: bool = False,
    path_prefix: str = "",
) -> Json:
    """OpenAPI 3.1, as JSON values.

    Args:
        bodies: of this contract.
        max_batch: most keys or rows in one request.
        keys_configured: every call asks for an API key.
        endpoints: the calls.
        quotas: API keys may have some.
        path_prefix: of all paths; empty for none.
    """
    guarded: list[Json] = [{"api_key": []}] if keys_configured else []
    words = {"<entity>": contract.entity, "<score>": bodies.task.score}
    everywhere = (*_EVERYWHERE, QuotaExceededError) if quotas else _EVERYWHERE
    paths: Json = {
        endpoint.path: {endpoint.method.lower(): _operation(endpoint, bodies, guarded, words, everywhere)}
        for endpoint in endpoints
    }
    for path, summary, outcomes in _PLAIN:
        paths[path] = {"get": _plain(path, summary, outcomes)}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": contract.model_name,
            "version": "1",
            "description": f"{_key_in_words(contract)} in, a prediction out. Whatever answers GET answers HEAD. Not "
            "listed are `/docs.json`, which is this document, `/docs`, which shows it, the console at `/`, and "
            "BentoML's own `/healthz`, `/schema.json` and `/static_content/`. Every other path is 404 with the code "
            "`not_found`, in the form of `ErrorResponse`.",
        },
        **({"servers": [{"url": path_prefix}]} if path_prefix else {}),
        "paths": paths,
        "components": {
            "schemas": _schemas(contract, bodies, max_batch, endpoints),
            "securitySchemes": {"api_key": {"type": "http", "scheme": "bearer"}},
        },
    }


def _key_in_words(contract: ModelContract) -> str:
    keys = [key.join_key.replace("_", " ") for key in contract.feature_schema.entity_keys]
    words = " and ".join(f"{'an' if key[0].lower() in 'aeiou' else 'a'} {key}" for key in keys)
    return words[0].upper() + words[1:]


def _worded(text: str, words: Mapping[str, str]) -> str:
    """Put the contract's words in the place of those in angle brackets."""
    for placeholder, word in words.items():
        text = text.replace(placeholder, word)
    return text


def _operation(
    endpoint: Endpoint, bodies: Bodies, guarded: list[Json], words: Mapping[str, str], everywhere: Errors
) -> Json:
    codes: dict[int, list[str]] = {500: ["internal"]}
    for error in (*endpoint.errors, *everywhere):
        codes.setdefault(error.status, []).append(_worded(error.code, words))
    document: Json = {
        "operationId": endpoint.name,
        "summary": _worded(endpoint.summary, words),
        "security": guarded,
        "parameters": [
            {
                "name": "X-Request-ID",
                "in": "header",
                "required": False,
                "description": "repeated in the answer and in logs, unless it is longer than 128 or holds anything but "
                "letters and digits of ASCII and ._:/@+=-; then, or if it is absent, one is made",
                "schema": {"type": "string"},
            },
            *_query(bodies.requests.of_query.get(endpoint.name)),
        ],
        "responses": {
            "200": _response("the answer", {"$ref": _PREFIX + bodies.answers[endpoint.name].__name__}, {}),
            **{str(status): _error(status, codes[status], words) for status in sorted(codes)},
        },
    }
    body = bodies.requests.of_call.get(endpoint.name)
    if endpoint.mlflow or body is not None:
        name = _INVOCATIONS if body is None else body.__name__
        content: Json = {"application/json": {"schema": {"$ref": _PREFIX + name}}}
        if endpoint.mlflow:
            content["text/csv"] = {
                "schema": {"type": "string", "description": "a header with the model's inputs in any order, then rows"}
            }
        document["requestBody"] = {"required": True, "content": content}
    return document


def _query(asked: type[BaseModel] | None) -> list[Json]:
    if asked is None:
        return []
    stated = asked.model_json_schema()
    required = set(stated["required"])
    return [
        {"name": name, "in": "query", "required": name in required, "schema": schema}
        for name, schema in stated["properties"].items()
    ]


def _error(status: int, codes: list[str], words: Mapping[str, str]) -> Json:
    code = {"properties": {"error": {"properties": {"code": {"enum": codes}}}}}
    schema = {"allOf": [{"$ref": f"{_PREFIX}{ErrorResponse.__name__}"}, code]}
    return _response(_worded(_OUTCOMES[status], words), schema, _HEADERS.get(status, {}))


def _response(description: str, schema: Json, headers: dict[str, tuple[str, Json]]) -> Json:
    model = {f"X-Model-{name}": ("of the model", {"type": "string"}) for name in ("Name", "Version", "Role")}
    everywhere = {"X-Request-ID": ("of this request", {"type": "string", "pattern": f"^{REQUEST_ID}$"}), **model}
    return {
        "description": description,
        "headers": {
            name: {"description": text, "required": True, "schema": of}
            for name, (text, of) in {**everywhere, **headers}.items()
        },
        "content": {"application/json": {"schema": schema}},
    }


def _plain(path: str, summary: str, outcomes: dict[int, str]) -> Json:
    content = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": path.strip("/"),
        "summary": summary,
        "security": [],
        "responses": {str(status): {"description": text, "content": content} for status, text in outcomes.items()},
    }


def _schemas(contract: ModelContract, bodies: Bodies, max_batch: int, endpoints: Sequence[Endpoint]) -> Json:
    requests = bodies.requests
    answers: list[type[BaseModel]] = [*(bodies.answers[endpoint.name] for endpoint in endpoints), ErrorResponse]
    _, found = models_json_schema(
        [
            *((model, "validation") for model in requests.of_call.values()),
            *((model, "serialization") for model in answers),
        ],
        ref_template=_PREFIX + "{model}",
    )
    schemas: Json = found["$defs"]
    schemas[_OVERRIDES] = {
        "description": "Feature reference (view__feature) → value to use instead of the looked-up one.",
        "type": "object",
        "properties": {feature.name: override_type(feature) for feature in contract.inputs},
        "additionalProperties": False,
    }
    for call in ("predict", "explain"):
        schemas[requests.of_call[call].__name__]["properties"]["features"] = {
            "anyOf": [{"$ref": _PREFIX + _OVERRIDES}, {"type": "null"}],
            "default": None,
        }
    if requests.asked:
        schemas[_INPUTS] = _record({given.name: request_type(given) for given in requests.asked})
        schemas[_INPUTS]["required"] = [given.name for given in requests.asked if given.default is None]
        for body in [schemas[requests.of_call[call].__name__] for call in ("predict", "explain")] + [
            schemas["BatchRow"]
        ]:
            _ask_for_inputs(body, required=bool(schemas[_INPUTS]["required"]))
    batch = schemas[requests.of_call["predict_batch"].__name__]["properties"]
    for rows in {requests.keys, "rows"} & batch.keys():
        batch[rows]["maxItems"] = max_batch
    schemas[_INVOCATIONS] = {
        "description": "One of MLflow's four JSON forms. Columns come in any order; further ones, and members beside "
        "the form such as `params`, are ignored; text that reads as a number is one.",
        "oneOf": [_record({form: schema}) for form, schema in invocation_forms(contract, max_batch).items()],
    }
    return schemas


def _ask_for_inputs(body: Json, *, required: bool) -> None:
    values = {"$ref": _PREFIX + _INPUTS}
    body["properties"][WHERE] = values if required else {"anyOf": [values, {"type": "null"}], "default": None}
    if required:
        body["required"].append(WHERE)


def invocation_forms(contract: ModelContract, max_batch: int) -> dict[str, Json]:
    """MLflow's four JSON forms, as they are meant. What MLflow takes beyond them, `mlflow_protocol` says."""
    cells = {given.name: column_type(given) for given in contract.inputs}
    names, rows = list(cells), {"minItems": 1, "maxItems": max_batch}
    record = _record(dict(cells))
    columns = _record({name: {"type": "array", "items": cell, **rows} for name, cell in cells.items()})
    width = {"minItems": len(names), "maxItems": len(names)}
    several = [cell for at, cell in enumerate(cells.values()) if cell not in list(cells.values())[:at]]
    any_cell = several[0] if len(several) == 1 else {"anyOf": several}
    split = _record(
        {
            "columns": {"type": "array", "items": {"enum": names}, "uniqueItems": True, **width},
            "data": {"type": "array", "items": {"type": "array", "items": any_cell, **width}, **rows},
        }
    )
    records = {"type": "array", "items": record, **rows}
    return {
        "dataframe_split": split,
        "dataframe_records": records,
        "instances": records,
        "inputs": {"anyOf": [records, record, {**columns, "description": "columns of equal length"}]},
    }


def _record(properties: Json) -> Json:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
