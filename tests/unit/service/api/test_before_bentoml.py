"""Our API stands before all middleware of BentoML's, by the attribute through which Starlette calls them."""

from typing import Any

import pytest
from starlette.applications import Starlette

from service.api.routing import BeforeBentoML, HttpApi, ServingSlot


async def test_what_stands_in_starlettes_stack_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    app, asked = Starlette(), []
    app.add_middleware(BeforeBentoML, slot=ServingSlot())
    messages = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> Any:
        return next(messages)

    async def send(message: Any) -> None:
        pass

    async def answer(_api: HttpApi, scope: Any, _receive: Any, _send: Any) -> None:
        asked.append(scope["path"])

    await app({"type": "lifespan"}, receive, send)
    monkeypatch.setattr(HttpApi, "__call__", answer)

    await app({"type": "http", "path": "/predict"}, receive, send)

    assert ["/predict"] == asked
