"""Addresses without what opens them: a password that stands in a URL reaches no log, no report and no terminal."""

import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

HIDDEN = "***"

_ADDRESSES = (
    *("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "REDIS_URL", "FEAST_REGISTRY", "REDIS_CONNECTION_STRING"),
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"),
)
"""Variables whose addresses may hold a password that no pattern finds, because it was not percent-encoded."""

_SHORTEST = 4
"""A shorter user or password is hidden within its address alone: elsewhere it would be found in every other word."""

_USER = re.compile(r"(?<=://)[^\s/?#'\"<>]*@")
_PARAMETER = re.compile(
    r"\b([\w-]*(?:password|passwd|pwd|secret|token|signature|api_?key)=)(?:\"[^\"]*\"|'[^']*'|[^\s&,;'\"<>]+)",
    re.IGNORECASE,
)


def redacted(text: str, secrets: Iterable[str] | None = None) -> str:
    """The text with `***` in the place of user and password of every URL, and of parameters called like a secret.

    Args:
        secrets: hidden wherever they stand; by default those of this process's environment.
    """
    for secret in secrets_in(os.environ) if secrets is None else secrets:
        text = text.replace(secret, HIDDEN)
    if "://" in text:
        text = _USER.sub(f"{HIDDEN}@", text)
    return _PARAMETER.sub(rf"\1{HIDDEN}", text) if "=" in text else text


def secrets_in(environ: Mapping[str, str]) -> tuple[str, ...]:
    """What stands before the host of each address, then passwords alone, as libraries decode them, too."""
    found = []
    for name in _ADDRESSES:
        address = environ.get(name) or environ.get(name.lower()) or ""
        user_and_password, at, _ = address.partition("://")[2].rpartition("@")
        if not at:
            continue
        password = user_and_password.partition(":")[2]
        found += [form for form in (user_and_password, password, unquote(password)) if len(form) >= _SHORTEST]
    return tuple(found)
