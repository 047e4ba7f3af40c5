"""A small HTTP server that speaks the wire, and can be told to misbehave."""

from __future__ import annotations

import json
import ssl
import threading
from collections import deque
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from headrace.errors import HeadraceError, RetryableError
from headrace.lookup import FeatureClient
from headrace.lookup.catalog import catalog_of
from headrace.lookup.wire import ARROW_TYPE, JSON_TYPE, answer_to_arrow, answer_to_json, positions_to_json
from headrace.lookup.wire_request import at_from_json, key_types, rows_from_json

__all__ = ["Asked", "WireServer", "answer_with", "error_body"]


class Asked(NamedTuple):
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: bytes
    connection: int


Trick = Callable[["Handler"], None]
"""What happens instead of an answer."""


def error_body(kind: str, message: str = "No.", hint: str | None = None) -> bytes:
    return json.dumps({"error": {"kind": kind, "message": message, "hint": hint}}).encode()


def answer_with(status: int, body: bytes = b"", kind: str = JSON_TYPE, **headers: str) -> Trick:
    """The trick of another answer."""

    def trick(handler: Handler) -> None:
        handler.answer(status, body, kind, {name.replace("_", "-"): value for name, value in headers.items()})

    return trick


class WireServer:
    """A server of the wire on a loopback port.

    Args:
        client: What looks up.
        tls: Its TLS, if it has any.

    Attributes:
        asked: The requests that came.
        tricks: What happens to the next requests.
        always: What happens to all other requests; None answers them.
    """

    def __init__(self, client: FeatureClient, tls: ssl.SSLContext | None = None) -> None:
        self.client = client
        self.asked: list[Asked] = []
        self.tricks: deque[Trick] = deque()
        self.always: Trick | None = None
        self.connections: list[Any] = []
        self._server = _Server(self, tls)
        scheme = "http" if tls is None else "https"
        self.url = f"{scheme}://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def hang_up(self) -> None:
        """Close all connections, as a server does that restarts."""
        for connection in self.connections:
            connection.close()
        self.connections.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self.hang_up()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, of: WireServer, tls: ssl.SSLContext | None) -> None:
        self.of = of
        self.tls = tls
        super().__init__(("127.0.0.1", 0), Handler)

    def get_request(self) -> tuple[Any, Any]:
        request, address = super().get_request()
        if self.tls is not None:  # the handshake comes with the first read, in the connection's own thread
            request = self.tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        return request, address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is what some tests want."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def setup(self) -> None:
        super().setup()
        self.of = self.server.of
        self.of.connections.append(_Open(self.connection))

    def log_message(self, format: str, *args: Any) -> None:
        """Tests are quiet."""

    def do_GET(self) -> None:
        self._handle(b"")

    def do_POST(self) -> None:
        self._handle(self.rfile.read(int(self.headers["content-length"])))

    def answer(self, status: int, body: bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _handle(self, body: bytes) -> None:
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.of.asked.append(Asked(self.path, headers, body, self.client_address[1]))
        trick = self.of.tricks.popleft() if self.of.tricks else self.of.always
        if trick is not None:
            trick(self)
            return
        try:
            self.answer(200, *self.content(body))
        except HeadraceError as error:
            status = 503 if isinstance(error, RetryableError) else 422
            self.answer(status, error_body(type(error).__name__, error.what, error.hint), JSON_TYPE)

    def content(self, body: bytes) -> tuple[bytes, str]:
        client = self.of.client
        if self.path == "/v1/catalog":
            return json.dumps(catalog_of(client.plan)).encode(), JSON_TYPE
        if self.path == "/v1/positions":
            return json.dumps(positions_to_json(client.now(), client.positions())).encode(), JSON_TYPE
        asked = json.loads(body)
        rows = rows_from_json(
            key_types(client.plan.views.values()),
            entities=asked.get("entities"),
            entity_rows=asked.get("entity_rows"),
        )
        answer = client.get_online_features(asked["features"], rows, at_from_json(asked.get("at")))
        if self.headers["Accept"] == ARROW_TYPE:
            return answer_to_arrow(answer), ARROW_TYPE
        return json.dumps(answer_to_json(answer), allow_nan=False).encode(), JSON_TYPE


class _Open:
    """A connection that can be closed from another thread."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def close(self) -> None:
        try:
            self._connection.shutdown(2)
        except OSError:
            return  # the client has closed it
        self._connection.close()
