"""The API below a path, where a gateway passes paths on as they came."""

from service.asgi import App, Receive, Scope, Send

_PROBES = ("/livez", "/readyz", "/healthz", "/metrics", "/schema.json")
"""Answered without the prefix too: orchestrators, Prometheus and BentoML's clients ask the process itself."""


class BelowPrefix:
    """ASGI application that takes the prefix off. A path outside it reaches `app` as an empty one, which is none."""

    def __init__(self, app: App, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "http" and scope["path"] not in _PROBES:
            path = scope["path"].removeprefix(self._prefix)
            inside = path != scope["path"] and path.startswith("/")
            scope = {**scope, "path": path if inside else ""}
        await self._app(scope, receive, send)


class WithPrefix:
    """ASGI application that puts the prefix before paths again: BentoML has its routes there, but for one."""

    def __init__(self, app: App, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] == "http" and scope["path"] != "/schema.json":
            scope = {**scope, "path": self._prefix + scope["path"]}
        await self._app(scope, receive, send)
