"""What a client may do before its request is there: bounds on the head of a request, in size and in time.

uvicorn has none: it keeps a head of any size, copying all of it again for every piece that comes, and waits for the
rest for ever. One client with 16 MB of header would hold up all others for half a second.
"""

import asyncio

import uvicorn.protocols.http.auto
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MAX_HEAD_BYTES = 65_536
"""Of request line and headers, beyond the piece they begin in."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class BoundedHttpProtocol(HttpToolsProtocol):
    """uvicorn's protocol, but a connection without a request must have the head of one in time.

    In time is what uvicorn allows an idle connection: `bentoml serve --timeout-keep-alive`, 5 s.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _in_head = False
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Expect a head."""
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._stop_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and give the connection up if its head grows too large."""
        no_request = self.cycle is None or self.cycle.response_complete  # type: ignore[redundant-expr]  # None at first
        if self._head_timer is None and no_request:
            self._expect_head()
        continued = self._in_head
        super().data_received(data)
        if continued and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.transport.write(_TOO_LARGE)
                self.transport.close()

    def on_message_begin(self) -> None:
        """See httptools."""
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._in_head = False
        self._stop_head_timer()
        super().on_headers_complete()

    def _expect_head(self) -> None:
        self._head_timer = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _stop_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


def bound_request_heads() -> None:
    """Let uvicorn, which BentoML starts and offers no setting for this, take the protocol above."""
    uvicorn.protocols.http.auto.AutoHTTPProtocol = BoundedHttpProtocol
