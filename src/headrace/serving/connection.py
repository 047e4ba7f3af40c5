"""One connection of a client, with limits of time and size that uvicorn leaves to a proxy.

- A client that sends slowly gets 408 when its request is not complete in time, in the headers or in the body.
- A client that does not read its answer is cut off.
- Headers end at 64 KB, and a client sends at most 100 requests before it waits for an answer.
- A process has a greatest number of connections.

Some clients offer with each request to go on in another protocol; Java's offers HTTP/2. A server may ignore the offer,
but uvicorn's parser then loses the request's body. So the header is removed before the parser sees it.

When a process ends, uvicorn closes connections that have no request, at once. A request that is on its way then meets a
closed connection. So such a connection stays open a little: its next request is still answered, with
`Connection: close`, and only if none comes it is closed.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from headrace.serving.errors import RETRY_AFTER_S, error_body
from headrace.serving.limits import Limits

__all__ = ["Connection"]

_HEADER_BYTES = 64 << 10
_PIPELINED = 100
"""How many requests a client may send before the first one is answered. uvicorn would queue any number of them."""
_LAST_CHANCE_S = 5.0
"""How long a connection without a request stays open when its process ends, in seconds."""

_UPGRADE = re.compile(rb"\r\nupgrade:[^\r\n]*", re.IGNORECASE)
_REASONS = {
    400: "Bad Request",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}


class Connection(HttpToolsProtocol):
    """A connection.

    Args:
        limits: The limits of the process.
        uvicorn: What uvicorn gives its connections.
    """

    def __init__(self, *, limits: Limits, **uvicorn: Any) -> None:
        super().__init__(**uvicorn)
        self._limits = limits
        self._receiving: asyncio.TimerHandle | None = None
        self._sending: asyncio.TimerHandle | None = None
        self._last_chance: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._in_headers = True
        self._is_ending = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client connected."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            what = f"This server process has {self._limits.connections:,} connections already."
            self._refuse(503, "ServerUnavailableError", what, "Try again soon, or give the server more workers.")
            return
        self._begin_receiving()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is closed."""
        for timer in (self._receiving, self._sending, self._last_chance):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """A part of a request came."""
        if self.transport.is_closing():
            return
        if self._receiving is None:
            self._begin_receiving()
        if self._in_headers:
            self._header_bytes += len(data)
            data = _without_upgrade(data)
        super().data_received(data)
        if self._in_headers and self._header_bytes > _HEADER_BYTES and not self.transport.is_closing():
            what = f"The request's headers are larger than {_HEADER_BYTES:,} bytes."
            self._refuse(431, "LookupRequestError", what, "Send fewer or shorter headers.")

    def on_headers_complete(self) -> None:
        """The headers of a request are complete."""
        self._in_headers, self._header_bytes = False, 0
        super().on_headers_complete()
        if len(self.pipeline) > _PIPELINED:
            self.transport.close()
        if self._is_ending:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """A request is complete."""
        self._in_headers = True
        if self._receiving is not None:
            self._receiving.cancel()
            self._receiving = None
        super().on_message_complete()
        if not self._is_asked and self.timeout_keep_alive_task is None:
            # It was refused before all of it had come.
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def send_400_response(self, msg: str) -> None:
        """What came is no HTTP."""
        self._refuse(400, "LookupRequestError", msg, "Send HTTP/1.1; if the server has TLS, ask by https://.")

    def pause_writing(self) -> None:
        """The client reads slower than answers are made."""
        super().pause_writing()
        if self._sending is None:
            self._sending = self.loop.call_later(self._limits.send_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read what it was sent."""
        super().resume_writing()
        if self._sending is not None:
            self._sending.cancel()
            self._sending = None

    def shutdown(self) -> None:
        """The process ends: answer what is asked, and close."""
        self._is_ending = True
        if not self._is_asked:
            self._last_chance = self.loop.call_later(_LAST_CHANCE_S, self._close_idle)
        else:
            super().shutdown()

    @property
    def _is_asked(self) -> bool:
        """Whether a request waits for its answer."""
        cycle: Any = self.cycle  # None before the first request
        return cycle is not None and not cycle.response_complete

    def _close_idle(self) -> None:
        if not self._is_asked:
            self.transport.close()

    def _begin_receiving(self) -> None:
        self._receiving = self.loop.call_later(self._limits.receive_seconds, self._too_slow)

    def _too_slow(self) -> None:
        """The request is not complete in time."""
        self._receiving = None
        if self.transport.is_closing():
            return
        has_begun = self._header_bytes or not self._in_headers
        is_answered = not self._in_headers and self.cycle.response_started
        if not has_begun or is_answered:
            self.transport.close()  # nothing was asked, or the answer (that it is too large) was sent already
            return
        what = f"The request was not complete after {self._limits.receive_seconds:g} seconds."
        self._refuse(408, "ServerUnavailableError", what, "Send it faster, or in several requests.")

    def _refuse(self, status: int, kind: str, what: str, hint: str) -> None:
        """Answer without the application, and close."""
        body = error_body(kind, what, hint)
        lines = [
            f"HTTP/1.1 {status} {_REASONS[status]}",
            "content-type: application/json",
            f"content-length: {len(body)}",
            "connection: close",
            *([f"retry-after: {RETRY_AFTER_S}"] if status == 503 else []),
        ]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()


def _without_upgrade(data: bytes) -> bytes:
    """The beginning of a request without its offer of another protocol."""
    end = data.find(b"\r\n\r\n")
    head = data if end < 0 else data[:end]
    if _UPGRADE.search(head) is None:
        return data
    return _UPGRADE.sub(b"", head) + data[len(head) :]
