"""Answers for a BentoML service that has this one run beside it (`bentoml.depends` without a url).

Its client asks in JSON, since our methods' arguments write themselves so, but reads every answer as a pickle. Nothing
is unpickled here.
"""

import pickle
from collections.abc import Collection

from pydantic_core import from_json

from service.asgi import App, Message, Receive, Scope, Send

_PICKLE = b"application/vnd.bentoml+pickle"


class AnswersToDependents:
    """ASGI application that pickles the 200s of calls.

    Args:
        calls: their paths. Every other answer stays as it is.
    """

    def __init__(self, app: App, calls: Collection[str]) -> None:
        self._app = app
        self._calls = calls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See the ASGI specification."""
        if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] not in self._calls:
            await self._app(scope, receive, send)
            return
        start: Message = {}

        async def send_pickled(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start" and message["status"] == 200:
                start = message
            elif not start:
                await send(message)
            else:
                body = pickle.dumps(from_json(message["body"]))
                kept = [(k, v) for k, v in start["headers"] if k not in (b"content-type", b"content-length")]
                about = [(b"content-type", _PICKLE), (b"content-length", b"%d" % len(body))]
                await send({**start, "headers": [*about, *kept]})
                await send({"type": "http.response.body", "body": body})

        await self._app(scope, receive, send_pickled)
