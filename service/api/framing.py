"""Reads HTTP strictly, so that a proxy in front finds the same end of every request (no request smuggling).

If the proxy reads a byte as one client's body and this server reads it as the next request, that client can send
requests in the place of others and read their answers. So a request that can be read in two ways is refused, and
nothing after it is read.
"""

import asyncio
from typing import Any

import httptools
from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

_VERSIONS = ("1.1", "1.0")
_Headers = list[tuple[bytes, bytes]]


class FramingError(Exception):
    """Stops the parser; the message is for the client."""


class _AfterTheLastError(Exception):
    """Something was sent after a request that ends its connection."""


class StrictHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, but the first thing that is no request ends the connection, and no upgrade is accepted.

    uvicorn reads the body of a refused upgrade as the next request, and passes websockets to another protocol. Here
    both are ordinary requests, as RFC 9110 says: they are read again without `Upgrade`.
    """

    _answering: RequestResponseCycle | None = None
    _in_head = False
    _in_body = False
    _reads_no_more = False
    _farewell: tuple[bytes, float] = (b"", 0)

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.parser = httptools.HttpRequestParser(self)  # without the leniencies that uvicorn sets

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the request that is being answered. uvicorn tells only the last one that arrived."""
        self._stop_idle_timer()
        if self._answering is not None and not self._answering.response_complete:
            _hang_up(self._answering)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse."""
        if self._reads_no_more:
            return
        self._stop_idle_timer()
        try:
            self._parse(data)
        except httptools.HttpParserError as error:
            self.parsing_failed(error)

    def parsing_failed(self, error: httptools.HttpParserError) -> None:
        """Answer the whole requests before, then 400, and close."""
        cause, told = error.__context__, "Invalid HTTP request received."
        if isinstance(cause, FramingError):
            told = f"{told[:-1]}: {cause}."
        self.logger.warning(told)
        ending = b"content-length: %d\r\nconnection: close\r\n\r\n%s" % (len(told), told.encode("ascii"))
        self.read_no_more(b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\n" + ending)

    def read_no_more(self, farewell: bytes, linger_seconds: float = 0) -> None:
        """Answer the requests that are whole, then send `farewell`, and close after a while.

        The farewell is left out if the last answer is due or sent already: the client would take it for the answer to
        another request.
        """
        self._reads_no_more = True
        self._farewell = (farewell, linger_seconds)
        self.flow.pause_reading()
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is not None and self._in_body:
            if self.pipeline and self.pipeline[0][0] is cycle:
                self.pipeline.popleft()
            else:
                _hang_up(cycle)
                if cycle.response_started:
                    self._farewell = (b"", 0)
        elif cycle is not None and not cycle.keep_alive:
            self._farewell = (b"", 0)
        if not self._is_answering():
            self._part()

    def on_message_begin(self) -> None:
        """See httptools."""
        if self.cycle is not None and not self.cycle.keep_alive:  # type: ignore[redundant-expr]  # None at first
            raise _AfterTheLastError
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        version = self.parser.get_http_version()
        _check_framing(self.parser.get_method(), version, self.headers)
        if self.parser.should_upgrade():
            return  # the parser stops here, see `_parse`
        if version == "1.0":
            self.expect_100_continue = False
        super().on_headers_complete()
        self._in_head, self._in_body = False, True
        self.headers = []  # trailers are added here and ignored: only the headers before the body were checked

    def on_message_complete(self) -> None:
        """See httptools."""
        if self.parser.should_upgrade():
            return
        self._in_body = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when an answer has been written."""
        super().on_response_complete()
        if self._reads_no_more and not self._is_answering():
            self._part()

    def _parse(self, data: bytes) -> None:
        rest: bytes | memoryview = data
        while head_end := self._feed(rest):
            # The parser has skipped to the end of the head, and cannot be told that a body follows. Another one can.
            head = self._head_without_upgrade()
            self.parser = httptools.HttpRequestParser(self)
            self.parser.feed_data(head)
            rest = memoryview(rest)[head_end:]  # not copied: there may be many heads in one piece

    def _feed(self, data: bytes | memoryview) -> int:
        """Parse; return where the head of an upgrade ends if one stopped the parser, else 0."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            return int(upgrade.args[0])
        return 0

    def _head_without_upgrade(self) -> bytes:
        version = self.parser.get_http_version().encode()
        request = b"%s %s HTTP/%s" % (self.parser.get_method(), self.url, version)
        headers = [b"%s: %s" % header for header in self.headers if header[0] != b"upgrade"]
        return b"\r\n".join([request, *headers, b"", b""])

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        if cycle.waiting_for_100_continue:
            app = _closing_unless_continued(app, cycle)
        super()._start_asgi_task(cycle, app)

    def _is_answering(self) -> bool:
        cycle = self._answering
        return cycle is not None and not cycle.response_complete and not cycle.disconnected

    def _part(self) -> None:
        if self.transport.is_closing():
            return
        farewell, linger_seconds = self._farewell
        self._stop_idle_timer()
        self.flow.pause_reading()
        if farewell:
            self.transport.write(farewell)
        if linger_seconds:
            self.loop.call_later(linger_seconds, self.transport.close)
        else:
            self.transport.close()

    def _stop_idle_timer(self) -> None:
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None


def _check_framing(method: bytes, version: str, headers: _Headers) -> None:
    """Check what the parser accepts although other servers may read it differently.

    Raises:
        FramingError: the request must not be answered.
    """
    if method == b"CONNECT":
        raise FramingError("this is no proxy, CONNECT is not offered")
    if version not in _VERSIONS:
        raise FramingError("send HTTP/1.1")
    names = [name for name, _ in headers]
    hosts = names.count(b"host")
    if hosts != 1 and (hosts or version == "1.1"):
        raise FramingError("send one Host header")
    if b"transfer-encoding" in names:
        codings = [value.strip(b" \t").lower() for name, value in headers if name == b"transfer-encoding"]
        if codings != [b"chunked"] or version == "1.0":
            raise FramingError("Transfer-Encoding must be chunked, once, with HTTP/1.1")


def _hang_up(cycle: RequestResponseCycle) -> None:
    """Read and write nothing more for this request."""
    cycle.disconnected = True
    cycle.message_event.set()


def _closing_unless_continued(app: ASGI3Application, cycle: RequestResponseCycle) -> ASGI3Application:
    """Close the connection after an answer that comes instead of `100 Continue`.

    The client may then leave its body out, and its next request would be read as that body.
    """

    async def application(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        async def closing(message: ASGISendEvent) -> None:
            if cycle.waiting_for_100_continue and cycle.more_body:
                cycle.keep_alive = False
            await send(message)

        await app(scope, receive, closing)

    return application
