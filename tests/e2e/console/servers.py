"""The service's HTTP server over an online store in memory: all tasks, keys and types within seconds."""

import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from contract import ModelContract
from contract.tasks import TaskKind
from scoring.models.imported_model import ImportedModel
from service.api.connection_limits import BoundedHttpProtocol
from service.api.routing import HttpApi, ServingSlot
from service.asgi import Receive, Scope, Send
from tests.fixtures.v1.record import contract as contract_of_version_1
from tests.integration.service.api.test_tasks import household_contract
from tests.models.fakes import DAY, NOW_US, FakeOnlineFeatures, store_model
from tests.models.typed import KEY, purchase, typed_contract, typed_model, typed_store
from tests.unit.service.api.test_routing import live_customer
from tests.unit.service.conftest import bentoml_app, opened_api

START_SECONDS = 20.0
PREFIX = "/models/churn"
"""Below it the server answers as without, as behind a proxy that takes it away."""


@contextmanager
def task_server(folder: Path, kind: TaskKind, **settings: object) -> Iterator[str]:
    """A small model of a task, for households by a key of text: `h1`, `stale` and `refused`."""
    contract = household_contract(kind)
    rows = {"h1": live_customer(), "stale": live_customer(activity_age=3 * DAY), "refused": live_customer(orders=None)}
    model = store_model(folder, contract).load()
    with _server(FakeOnlineFeatures(contract, rows), model, settings, time.time_ns) as url:
        yield url


@contextmanager
def typed_server(folder: Path, contract: ModelContract | None = None, **settings: object) -> Iterator[str]:
    """Two keys, values of the request, categories, nulls, an age and an array; its trees cannot be explained."""
    contract = contract or typed_contract()
    store = typed_store({KEY: purchase(), (2**63 - 1, "m1"): purchase()}, contract)
    with _server(store, typed_model(folder, contract), settings, lambda: NOW_US * 1000) as url:
        yield url


@contextmanager
def version_1_server(folder: Path) -> Iterator[str]:
    """A churn model whose contract is the recorded one of version 1."""
    contract = contract_of_version_1()
    model = store_model(folder, contract).load()
    with _server(FakeOnlineFeatures(contract, {"h1": live_customer()}), model, {}, time.time_ns) as url:
        yield url


@contextmanager
def _server(
    store: FakeOnlineFeatures, model: ImportedModel, settings: Mapping[str, object], clock: Callable[[], int]
) -> Iterator[str]:
    made = opened_api(store, model, settings, clock)
    app: Any = _below_a_prefix(HttpApi(bentoml_app, ServingSlot(made.serving)))
    config = uvicorn.Config(app, port=0, http=BoundedHttpProtocol, lifespan="off", log_config=None)
    server = uvicorn.Server(config)
    running = threading.Thread(target=server.run)
    running.start()
    try:
        deadline = time.monotonic() + START_SECONDS
        while not server.started:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        running.join()


def _below_a_prefix(app: HttpApi) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "path": scope["path"].removeprefix(PREFIX)}, receive, send)

    return answer
