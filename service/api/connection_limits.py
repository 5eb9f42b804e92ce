"""Limits on the head of a request: its size, and the time that it takes to arrive.

uvicorn has none: it keeps a head of any size, copies all of it for every piece that arrives, and waits for the rest for
ever. One client with a header of 16 MB would block all others for half a second.
"""

import asyncio
from typing import Any, ClassVar

import httptools
import uvicorn.protocols.http.auto
from uvicorn.config import Config
from uvicorn.server import ServerState

from service.api.framing import StrictHttpProtocol

MAX_HEAD_BYTES = 65_536
"""Limit on URL, headers and trailers together; for an unfinished header, beyond the piece in which it begins."""

HEAD_SECONDS = 5.0
"""Time limit for a connection's first byte, and from the first byte of a head to its end."""

LINGER_SECONDS = 1.0
"""A refused client may read for this long: closing at once would reset the connection while it still sends."""

UNREAD_SECONDS = 10.0
"""How long a client may leave an answer unread, and how long the end of the process waits for it."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _HeadTooLargeError(Exception):
    """Stops the parser."""


class BoundedHttpProtocol(StrictHttpProtocol):
    """Closes a connection whose next head is too slow or too large.

    keep_alive_seconds: how long a connection may be idle between two requests; None: uvicorn's own setting.
    """

    keep_alive_seconds: ClassVar[int | None] = None

    _late_timer: asyncio.TimerHandle | None = None
    _writing_timer: asyncio.TimerHandle | None = None
    _moved_on = False
    _silent_bytes = 0
    _head_bytes = 0

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        if self.keep_alive_seconds is not None:
            self.timeout_keep_alive = self.keep_alive_seconds

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """Start waiting for the first byte."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self._head_seconds(), self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        self._stop_late_timer()
        self._stop_writing_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse; refuse a head, or trailers, that grow too large."""
        if self._reads_no_more:
            return
        self._moved_on = False
        super().data_received(data)
        self._silent_bytes = 0 if self._moved_on else self._silent_bytes + len(data)
        if self._silent_bytes > MAX_HEAD_BYTES and not self._reads_no_more:
            self._refuse_head()
        self._bound_waiting()

    def parsing_failed(self, error: httptools.HttpParserError) -> None:
        """Called when the parser stops with an error."""
        if self._head_bytes > MAX_HEAD_BYTES:
            self._refuse_head()
        else:
            super().parsing_failed(error)

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
        self._stop_late_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._moved_on = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """See httptools."""
        self._moved_on = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Called when an answer has been written."""
        super().on_response_complete()
        self._bound_waiting()

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
        """Close; abort if the client does not read."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def shutdown(self) -> None:
        """As above, so that no client can keep the process from ending."""
        super().shutdown()
        self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def _count_head(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLargeError

    def _refuse_head(self) -> None:
        """Answer 431; but if a whole request before still waits for its answer, that answer closes the connection."""
        if self._is_answering() and not self._in_body:
            self.cycle.keep_alive = False
        self.read_no_more(_TOO_LARGE, LINGER_SECONDS)

    def _bound_waiting(self) -> None:
        """Start the timer that fits, unless the application is reading the request and limits the time itself.

        A head or body that has begun must end in time, even the body of a request that is answered already.
        """
        if self._reads_no_more or self._is_answering() or self.transport.is_closing():
            return
        if self._in_head or self._in_body or self._silent_bytes:
            if self._late_timer is None:
                self._late_timer = self.loop.call_later(self._head_seconds(), self.timeout_keep_alive_handler)
            return
        self._stop_late_timer()
        if self.timeout_keep_alive_task is None:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _head_seconds(self) -> float:
        return min(HEAD_SECONDS, self.timeout_keep_alive)

    def _stop_writing_timer(self) -> None:
        if self._writing_timer is not None:
            self._writing_timer.cancel()
            self._writing_timer = None

    def _stop_late_timer(self) -> None:
        if self._late_timer is not None:
            self._late_timer.cancel()
            self._late_timer = None


def bound_request_heads(keep_alive_seconds: int | None = None) -> None:
    """Make uvicorn use the protocol above. BentoML starts uvicorn and has no setting for this.

    Call it when the service is imported: uvicorn looks the class up before it starts the application.
    """
    uvicorn.protocols.http.auto.AutoHTTPProtocol = BoundedHttpProtocol
    if keep_alive_seconds is None:
        return

    class KeptHttpProtocol(BoundedHttpProtocol):
        """With the setting of this process."""

    KeptHttpProtocol.keep_alive_seconds = keep_alive_seconds
    uvicorn.protocols.http.auto.AutoHTTPProtocol = KeptHttpProtocol
