"""Schemas of what the chart makes for KEDA and for the Gateway API, which no package carries.

Ours, and closed: they have what the chart writes, with the names, types and bounds of `HTTPRoute` of Gateway API v1
(standard channel) and of `ScaledObject` of KEDA 2 (keda.sh/v1alpha1). Whoever has the template write another member
looks it up there and adds it here.
"""

from collections.abc import Mapping
from typing import Any

Schema = dict[str, Any]

_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_DOMAIN = rf"{_LABEL}(\.{_LABEL})*"


def _object(required: str = "", /, **members: Schema) -> Schema:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": required.split(),
        "properties": members,
    }


def _list(items: Schema, most: int) -> Schema:
    return {"type": "array", "minItems": 1, "maxItems": most, "items": items}


def _text(pattern: str, longest: int = 253) -> Schema:
    return {"type": "string", "pattern": f"^{pattern}$", "maxLength": longest}


def _one_of(*words: str) -> Schema:
    return {"type": "string", "enum": list(words)}


def _manifest(api_version: str, kind: str, spec: Schema) -> Schema:
    metadata = _object("name labels", name=_text(_DOMAIN, 63), labels=_TEXTS, annotations=_TEXTS)
    return _object(
        "apiVersion kind metadata spec",
        apiVersion=_one_of(api_version),
        kind=_one_of(kind),
        metadata=metadata,
        spec=spec,
    )


_TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
_PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65_535}
_COUNT: Schema = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_DURATION = _text("([0-9]{1,5}(h|m|s|ms)){1,4}")

_PATH = _object(type=_one_of("Exact", "PathPrefix", "RegularExpression"), value=_text("/.*", 1024))
_HTTP_ROUTE = _object(
    "parentRefs rules",
    parentRefs=_list(
        _object(
            "name",
            group=_text(f"({_DOMAIN})?"),
            kind=_text("[a-zA-Z]([-a-zA-Z0-9]*[a-zA-Z0-9])?", 63),
            namespace=_text(_LABEL, 63),
            name=_text(".+"),
            sectionName=_text(_DOMAIN),
            port=_PORT,
        ),
        32,
    ),
    hostnames=_list(_text(rf"(\*\.)?{_DOMAIN}"), 16),
    rules=_list(
        _object(
            "backendRefs",
            matches=_list(_object(path=_PATH), 64),
            backendRefs=_list(_object("name port", name=_text(_DOMAIN), port=_PORT), 16),
            timeouts=_object(request=_DURATION, backendRequest=_DURATION),
        ),
        16,
    ),
)

_PROMETHEUS = _object(
    "serverAddress query threshold",
    serverAddress=_text("https?://.+", 2048),
    query=_text(".+", 4096),
    threshold=_text(r"[0-9]+(\.[0-9]+)?"),  # KEDA takes texts only, also for numbers
)
_SCALED_OBJECT = _object(
    "scaleTargetRef triggers",
    scaleTargetRef=_object("name", apiVersion=_one_of("apps/v1"), kind=_one_of("Deployment"), name=_text(_DOMAIN)),
    minReplicaCount=_COUNT,
    maxReplicaCount=_COUNT,
    triggers=_list(
        _object(
            "type metadata",
            type=_one_of("prometheus"),
            metricType=_one_of("AverageValue", "Value"),
            metadata=_PROMETHEUS,
        ),
        1,
    ),
)

SCHEMAS: Mapping[str, Schema] = {
    "HTTPRoute": _manifest("gateway.networking.k8s.io/v1", "HTTPRoute", _HTTP_ROUTE),
    "ScaledObject": _manifest("keda.sh/v1alpha1", "ScaledObject", _SCALED_OBJECT),
}
"""By kind."""
