"""One HTTP exchange over ASGI: reads the body, bounded in size and time; writes JSON, headers and error bodies.

It uses ASGI itself because this is the hot path; docs/adr/0007 has the figures.
"""

import asyncio
import re
import secrets
from collections.abc import Mapping
from typing import Any

from pydantic_core import to_json

from service.asgi import Headers, Receive, Scope, Send
from service.errors import InvalidRequestError, RequestTooLargeError

REQUEST_ID = r"[A-Za-z0-9._:/@+=-]{1,128}"
"""A safe request id: it appears in logs and reports, and people paste it into commands. UUIDs, ULIDs, base64,
`traceparent` and AWS's `Root=…` match."""
_SAFE_ID = re.compile(REQUEST_ID.encode())


class ClientGoneError(Exception):
    """The client hung up before its body had arrived."""


class SlowBodyError(InvalidRequestError):
    """The body did not arrive in time. The rest of it may still come, so the connection cannot be used again."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """Return the first header with this lower-case name."""
    for key, value in scope["headers"]:
        if key == name:
            found: bytes = value
            return found
    return None


def is_encoded(scope: Scope) -> bool:
    """True if the body is compressed."""
    for name, value in scope["headers"]:
        if name == b"content-encoding" and value.strip().lower() not in (b"", b"identity"):
            return True
    return False


def request_id_of(scope: Scope) -> str:
    """Return the client's `X-Request-ID` if it is safe to repeat, else a new one."""
    given = header(scope, b"x-request-id")
    if given is not None and _SAFE_ID.fullmatch(given):
        return given.decode("ascii")
    return secrets.token_hex(16)


async def read_body(receive: Receive, timeout_seconds: float, max_bytes: int) -> bytes:
    """Read the body, and stop as soon as it is too large or too slow.

    Raises:
        RequestTooLargeError, SlowBodyError: too large; too slow.
        ClientGoneError: the client hung up.
    """
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(timeout_seconds):
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    raise ClientGoneError
                part: bytes = message.get("body", b"")
                size += len(part)
                if size > max_bytes:
                    raise RequestTooLargeError(f"the body is over {max_bytes} bytes")
                parts.append(part)
                if not message.get("more_body"):
                    return b"".join(parts)
    except TimeoutError:
        raise SlowBodyError("the body did not arrive in time") from None


async def answer(send: Send, status: int, content: object, headers: Headers) -> None:
    """Send `content` as JSON; numbers that JSON cannot express become null."""
    await send_bytes(send, status, to_json(content, inf_nan_mode="null"), b"application/json", headers)


async def send_bytes(send: Send, status: int, body: bytes, content_type: bytes, headers: Headers) -> None:
    """Send a whole response."""
    length = (b"content-length", b"%d" % len(body))
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": [(b"content-type", content_type), length, *headers]})
    await send({"type": "http.response.body", "body": body})


def model_headers(identity: Mapping[str, str]) -> Headers:
    """What a response's headers say about the model that answered."""
    return [(f"x-model-{key}".encode(), value.encode("ascii", "backslashreplace")) for key, value in identity.items()]


def error_content(code: str, message: str, request_id: str, model: dict[str, str], field: str | None) -> dict[str, Any]:
    """Make the body of an answer that is not 200."""
    error = {"code": code, "message": message, "request_id": request_id}
    if field is not None:
        error["field"] = field
    return {"error": error, "request_id": request_id, "model": model}
