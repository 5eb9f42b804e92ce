"""Ask a service that is starting for its first prediction, and show the user how to ask for the next."""

import json
import os
import shlex
import time
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import urlsplit

from artefacts.addresses import DEFAULT_USE_CASE, PROJECT_ROOT, Artefacts
from artefacts.offline_place import is_built
from contract import RequestInput
from jobs.errors import JobError
from jobs.feature_store import open_feature_store
from jobs.offline_store.foreign_sources import some_foreign_entity
from jobs.offline_store.latest_rows import connect
from jobs.offline_store.stored_keys import some_entity
from scoring.models.model_store import open_model, pinned_tag

_WAIT_SECONDS = 120.0

_EXAMPLES = {"bool": True, "int32": 1, "int64": 1, "float32": 1.0, "float64": 1.0, "string": "", "unixtimestamp": 0}
"""A value of each type, for what a request must bring."""

_direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
"""Asks this machine itself, whatever proxies the environment names: they cannot reach it, or reach another one."""


def first_prediction(url: str, artefacts: Artefacts) -> None:
    """For an entity of the offline store, wait until the service is ready, predict, print the curl and its answer.

    Ends quietly when the process that started it ends, so that it never outlives a service that failed.

    Raises:
        JobError: not ready in time, it did not answer with a prediction, or nobody has features.
        ModelError: no model is pinned, or it cannot be opened.
    """
    schema = open_model(pinned_tag(artefacts)).contract.feature_schema
    join_keys = [key.join_key for key in schema.entity_keys]
    entity = _some_entity(artefacts, [view.name for view in schema.views], join_keys)
    given = {each.name: _EXAMPLES[each.dtype] for each in schema.request_inputs if _is_asked_for(each)}
    parent = os.getppid()
    deadline = time.monotonic() + _WAIT_SECONDS
    while not _ready(url):
        if os.getppid() != parent:
            return
        if time.monotonic() > deadline:
            raise JobError(f"{url} was not ready within {_WAIT_SECONDS:g} s")
        time.sleep(0.2)
    body = json.dumps(entity | ({"inputs": given} if given else {}))
    curl = (
        f"curl -s {_past_proxies(url)}{shlex.quote(f'{url}/predict')} -H 'Content-Type: application/json' "
        f"-d {shlex.quote(body)}"
    )
    stop = "Ctrl-C ends the service; `make down` stops the embedded Redis."
    request = urllib.request.Request(  # noqa: S310  # our own http:// address
        f"{url}/predict", body.encode(), {"Content-Type": "application/json"}
    )
    try:
        with _direct.open(request, timeout=10) as response:
            answer = json.load(response)
    except urllib.error.HTTPError as error:
        if error.code == 401:  # it has API keys, and nobody gave us one
            print(
                f"\nReady. A prediction, with your API key:\n\n  {curl} -H 'Authorization: Bearer …'\n\n{stop}",
                flush=True,
            )
            return
        raise JobError(f"{url}/predict answered {error.code}: {error.read().decode(errors='replace')}") from None
    print(
        f"\nReady. A prediction, by {' and '.join(join_keys)}:\n\n  {curl}\n\n{json.dumps(answer, indent=2)}\n\n{stop}",
        flush=True,
    )


def _some_entity(artefacts: Artefacts, views: list[str], join_keys: list[str]) -> dict[str, Any]:
    """An entity with features: of the build in place, or of sources that somebody else fills."""
    owner = artefacts.features_of
    if owner != PROJECT_ROOT / DEFAULT_USE_CASE and not (owner / "features.py").exists():
        store = open_feature_store(artefacts)
        if foreign := [view for view in map(store.get_feature_view, views) if not is_built(view)]:
            return some_foreign_entity(store, foreign, join_keys)
    with connect() as connection:
        return some_entity(connection, artefacts.offline_store, join_keys)


def _is_asked_for(given: RequestInput) -> bool:
    """A value that only the client can give."""
    return given.filled_by == "request" and given.default is None


def _past_proxies(url: str) -> str:
    """What curl must be told where it would ask a proxy for this machine."""
    proxies = urllib.request.getproxies()
    host = urlsplit(url).hostname or ""
    proxied = any(scheme in proxies for scheme in ("http", "all")) and not urllib.request.proxy_bypass(host)
    return "--noproxy '*' " if proxied else ""


def _ready(url: str) -> bool:
    try:
        with _direct.open(f"{url}/readyz", timeout=2) as response:
            return bool(response.status == 200)
    except OSError:
        return False
