"""What a client may do before its request is there: bounds on the head of a request, in size and in time.

uvicorn has none: it keeps a head of any size, copying all of it again for every piece that comes, and waits for the
rest for ever. One client with 16 MB of header would hold up all others for half a second.
"""

import asyncio
from typing import Any, ClassVar

import httptools
import uvicorn.protocols.http.auto
from uvicorn.config import Config
from uvicorn.server import ServerState

from service.api.framing import StrictHttpProtocol

MAX_HEAD_BYTES = 65_536
"""Of URL and headers, trailers included; of a header that has not ended, beyond the piece it begins in."""

HEAD_SECONDS = 5.0
"""For a connection's first byte, and from the first byte of a head to its end."""

LINGER_SECONDS = 1.0
"""For which a refused client may read so: closing at once would reset the connection of one that is still sending."""

UNREAD_SECONDS = 10.0
"""For which a client may leave an answer unread, and for which the end of the process waits for one."""

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class _HeadTooLargeError(Exception):
    """Raised to the parser, which parses no further."""


class BoundedHttpProtocol(StrictHttpProtocol):
    """Of a connection without a request, the head of one must come in time and be of a bearable size.

    keep_alive_seconds: for which a connection may be idle between two requests; None is what uvicorn was started with.
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
        """Expect a first byte."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(self._head_seconds(), self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Expect nothing any more."""
        self._stop_late_timer()
        self._stop_writing_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and give the connection up if its head, or what follows its last chunk, grows too large."""
        if self._reads_no_more:
            return
        self._moved_on = False
        super().data_received(data)
        self._silent_bytes = 0 if self._moved_on else self._silent_bytes + len(data)
        if self._silent_bytes > MAX_HEAD_BYTES and not self._reads_no_more:
            self._refuse_head()
        self._bound_waiting()

    def parsing_failed(self, error: httptools.HttpParserError) -> None:
        """Called for whatever ends the parsing."""
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
        """Close, and do not wait for a client that reads nothing."""
        super().timeout_keep_alive_handler()
        self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def shutdown(self) -> None:
        """As above: no client may keep the process from ending."""
        super().shutdown()
        self.loop.call_later(UNREAD_SECONDS, self.transport.abort)

    def _count_head(self, length: int) -> None:
        self._head_bytes += length
        if self._head_bytes > MAX_HEAD_BYTES:
            raise _HeadTooLargeError

    def _refuse_head(self) -> None:
        """Answer 431; or, where a whole request before is still due an answer, have that one close."""
        if self._is_answering() and not self._in_body:
            self.cycle.keep_alive = False
        self.read_no_more(_TOO_LARGE, LINGER_SECONDS)

    def _bound_waiting(self) -> None:
        """See that the client goes on, unless the application waits for it, and bounds that itself.

        What has begun must end in time, were it the body of a request that is answered already.
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
    """Let uvicorn, which BentoML starts and offers no setting for this, take the protocol above.

    To be called when the service is imported: uvicorn looks the class up before it starts the application.
    """
    uvicorn.protocols.http.auto.AutoHTTPProtocol = BoundedHttpProtocol
    if keep_alive_seconds is None:
        return

    class KeptHttpProtocol(BoundedHttpProtocol):
        """With the setting of this process."""

    KeptHttpProtocol.keep_alive_seconds = keep_alive_seconds
    uvicorn.protocols.http.auto.AutoHTTPProtocol = KeptHttpProtocol
