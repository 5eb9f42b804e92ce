"""What a client may do before its request is there: bounds on the head of a request, in size and in time.

uvicorn has none: it keeps a head of any size, copying all of it again for every piece that comes, and waits for the
rest for ever. One client with 16 MB of header would hold up all others for half a second.
"""

import asyncio

import uvicorn.protocols.http.auto
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

MAX_HEAD_BYTES = 65_536
"""Of URL and headers, trailers included; of a header that has not ended, beyond the piece it begins in."""

LINGER_SECONDS = 1.0
"""For which a refused client may read so: closing at once would reset the connection of one that is still sending."""

UNREAD_SECONDS = 10.0
"""For which a client may leave an answer unread, and for which the end of the process waits for one."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _HeadTooLargeError(Exception):
    """Raised to the parser, which parses no further."""


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, but a connection without a request must have the head of one in time.

    In time is what uvicorn allows an idle connection: `bentoml serve --timeout-keep-alive`, 5 s.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _writing_timer: asyncio.TimerHandle | None = None
    _answering: RequestResponseCycle | None = None
    _moved_on = False
    _silent_bytes = 0
    _head_bytes = 0
    _refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Expect a head."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more, and tell the request that is being answered; uvicorn only tells the last to come."""
        self._stop_head_timer()
        self._stop_writing_timer()
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and give the connection up if its head, or what follows its last chunk, grows too large."""
        if self._refused:
            return
        no_request = self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]  # None at first
        if self._head_timer is None and no_request:
            self._expect_head()
        self._moved_on = False
        super().data_received(data)
        self._silent_bytes = 0 if self._moved_on else self._silent_bytes + len(data)
        if self._silent_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._refuse()

    def send_400_response(self, msg: str) -> None:
        """Called for whatever ends the parsing."""
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse()
        else:
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        """See httptools."""
        self._moved_on = True
        self._head_bytes = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        self._count_head(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        self._count_head(len(name) + len(b": ") + len(value) + len(b"\r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._moved_on = True
        self._stop_head_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._moved_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        self._moved_on = True
        super().on_message_complete()

    def pause_writing(self) -> None:
        """Give the connection up if its client does not read on."""
        super().pause_writing()
        if self._writing_timer is None:
            self._writing_timer = self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """See asyncio."""
        self._stop_writing_timer()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Close, and do not wait for a client that reads nothing."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def shutdown(self) -> None:
        """As above: no client may keep the process from ending."""
        super().shutdown()
        self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def _count_head(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLargeError

    def _refuse(self) -> None:
        """Read no more; answer 431, or what is still due for a whole request before, and close."""
        if self._refused:
            return
        self._refused = True
        self._stop_head_timer()
        self.flow.pause_reading()
        cycle = self._answering
        if cycle is not None and not cycle.response_complete:
            if not cycle.more_body:
                cycle.keep_alive = False
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write(_TOO_LARGE)
        self.loop.call_later(LINGER_SECONDS, self.transport.close)

    def _stop_writing_timer(self) -> None:
        if self._writing_timer is not None:
            self._writing_timer.cancel()
            self._writing_timer = None

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def bound_request_heads() -> None:
    """Let uvicorn, which BentoML starts and offers no setting for this, take the protocol above.

    To be called when the service is imported: uvicorn looks the class up before it starts the application.
    """
    uvicorn.protocols.http.auto.AutoHTTPProtocol = BoundedHttpProtocol
