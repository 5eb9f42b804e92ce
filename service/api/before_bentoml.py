"""Puts the API before BentoML's application, and what the settings ask for before the API."""

from collections.abc import Callable

from starlette.middleware.cors import CORSMiddleware

from service.api.answers_to_dependents import AnswersToDependents
from service.api.path_prefix import BelowPrefix, WithPrefix
from service.api.routing import ROUTES, HttpApi, ServingSlot
from service.asgi import App, Receive, Scope, Send

_CORS_HEADERS = ("Authorization", "Content-Type", "X-Request-ID")
_CORS_EXPOSED = ("X-Request-ID", "X-Model-Name", "X-Model-Version", "X-Model-Role", "Retry-After")


class BeforeBentoML:
    """BentoML middleware that puts `HttpApi` before all of BentoML's own middleware when the server starts.

    Middleware added to a service comes after BentoML's. Its `TimeoutMiddleware` cannot be left out and keeps every
    finished request in memory until the timeout; its spans cost as much as a whole prediction.

    Args:
        path_prefix: the path below which BentoML's routes are; empty for none.
        cors_origins: whose pages may read answers. Never with credentials: an API key is a header that a page sets.
        has_dependents: True if another service runs this one beside it, as one that it depends on.
    """

    def __init__(
        self,
        app: App,
        slot: ServingSlot,
        path_prefix: str = "",
        cors_origins: tuple[str, ...] = (),
        has_dependents: Callable[[], bool] = lambda: False,
    ) -> None:
        self._app = app
        self._slot = slot
        self._path_prefix = path_prefix
        self._cors_origins = cors_origins
        self._has_dependents = has_dependents

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification; a server starts an application once, with the scope `lifespan`.

        Raises:
            RuntimeError: a request has come without such a start, to BentoML's routes, which ask for no API key.
        """
        if scope["type"] == "lifespan":
            self._slot.bound = True
            server = scope["app"]  # Starlette's application, which passes each request to its `middleware_stack`
            server.middleware_stack = self._before(server.middleware_stack)
        elif not self._slot.bound:
            raise RuntimeError("the application's lifespan has not begun; a test client begins it as context manager")
        await self._app(scope, receive, send)

    def _before(self, app: App) -> App:
        if self._path_prefix:
            app = WithPrefix(app, self._path_prefix)
        app = HttpApi(app, self._slot)
        if self._has_dependents():
            return AnswersToDependents(app, ROUTES)  # their clients leave the prefix out
        if self._path_prefix:
            app = BelowPrefix(app, self._path_prefix)
        if self._cors_origins:
            app = CORSMiddleware(
                app,
                allow_origins=self._cors_origins,
                allow_methods=("GET", "HEAD", "POST"),
                allow_headers=_CORS_HEADERS,
                expose_headers=_CORS_EXPOSED,
            )
        return app
