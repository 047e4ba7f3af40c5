"""Connections to one server: kept open between requests, shared by threads, not by processes."""

from __future__ import annotations

import http.client
import io
import os
import socket
import ssl
import time
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from headrace.client.exchange import Ask
from headrace.client.failed_requests import FailedRequest, Headers, connection_failure, timed_out
from headrace.client.http_settings import HttpSettings
from headrace.client.server_address import ServerAddress
from headrace.errors import ServerError
from headrace.lookup.wire_format import NO_SERVER

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = ["Connections", "Received"]

_CLOSED = (ConnectionResetError, BrokenPipeError, ConnectionAbortedError, ssl.SSLEOFError, ssl.SSLZeroReturnError)
"""How a connection fails that the server has closed. (`http.client.RemoteDisconnected` is a `ConnectionResetError`.)"""


class Received(NamedTuple):
    """A server's answer.

    Attributes:
        status: The status code.
        headers: The headers.
        body: The body.
    """

    status: int
    headers: Headers
    body: bytes


class Connections:
    """Connections to one server. Any number of threads may send requests; each uses a connection of its own meanwhile.

    A process that was forked opens its own connections.

    Args:
        address: The server.
        settings: Time limits, how many connections are kept, TLS.

    Raises:
        ConfigError: A file of the TLS settings cannot be used.
    """

    def __init__(self, address: ServerAddress, settings: HttpSettings) -> None:
        self._address = address
        self._settings = settings
        self._tls = settings.tls() if address.is_secure else None
        # A deque needs no lock: one that another thread holds while the process forks stays locked in the child.
        self._idle: deque[tuple[float, _Connection]] = deque()
        self._process = os.getpid()

    def send(self, ask: Ask, deadline: float) -> Received:
        """Send a request, and wait for its answer.

        The server may have closed an idle connection just when it was used. Then the request is sent once more, on a
        new connection. That is safe: requests only read.

        Args:
            ask: The request.
            deadline: When to give up, by `time.monotonic`.

        Raises:
            FailedRequest: There is no answer.
        """
        try:
            kept = self._kept()
            if kept is not None:
                with suppress(*_CLOSED):
                    return self._exchange(kept, ask, deadline)
            return self._exchange(self._new(deadline), ask, deadline)
        except TimeoutError as error:
            raise timed_out(self._address, "did not answer in time") from error
        except (OSError, http.client.IncompleteRead) as error:
            raise connection_failure(self._address, error) from error
        except http.client.HTTPException as error:
            msg = f"What answers at {self._address.url} does not speak HTTP ({type(error).__name__}: {error})."
            raise FailedRequest(ServerError(msg, hint=NO_SERVER)) from error

    def close(self) -> None:
        """Close the connections that are idle."""
        while True:
            try:
                _, connection = self._idle.pop()
            except IndexError:
                return
            connection.close()

    def _exchange(self, connection: _Connection, ask: Ask, deadline: float) -> Received:
        """Send a request over a connection; it is kept for the next one, or closed."""
        is_done = False
        try:
            connection.until(self._settings.read_timeout_s, deadline)
            connection.request(ask.method, self._address.path + ask.path, ask.body, ask.headers)
            response = connection.getresponse()
            received = Received(response.status, response.headers, response.read())
            is_done = True
        finally:
            if not is_done:
                connection.close()
        if connection.sock is not None:  # it is None where the answer has closed the connection
            self._keep(connection)
        return received

    def _kept(self) -> _Connection | None:
        """An idle connection, the one that was used last; None if there is none."""
        if self._process != os.getpid():
            self._process = os.getpid()
            self.close()  # closes this process's copies; the parent's connections stay open
        oldest = time.monotonic() - self._settings.idle_s
        while True:
            try:
                since, connection = self._idle.pop()
            except IndexError:
                return None
            if since >= oldest:
                return connection
            connection.close()

    def _keep(self, connection: _Connection) -> None:
        self._idle.append((time.monotonic(), connection))
        while len(self._idle) > self._settings.max_idle:
            try:
                _, oldest = self._idle.popleft()
            except IndexError:  # another thread took it
                return
            oldest.close()

    def _new(self, deadline: float) -> _Connection:
        limit_s = min(self._settings.connect_timeout_s, deadline - time.monotonic())
        if limit_s <= 0:
            raise timed_out(self._address, "did not answer in time")
        host, port = self._address.host, self._address.port
        connection: _Connection
        if self._tls is None:
            connection = _PlainConnection(host, port, timeout=limit_s)
        else:
            connection = _TlsConnection(host, port, timeout=limit_s, context=self._tls)
        try:
            connection.connect()
        except TimeoutError as error:
            connection.close()
            raise timed_out(self._address, f"took no connection within {limit_s:.3g} s") from error
        except BaseException:
            connection.close()
            raise
        return connection


class _Connection(http.client.HTTPConnection):
    """A connection whose every wait ends at a deadline."""

    sock: Any  # a _TimedSocket, once it is connected

    def until(self, read_timeout_s: float, deadline: float) -> None:
        """Let the next request take until a deadline, and each wait for the server not longer than a limit.

        Args:
            read_timeout_s: The limit.
            deadline: The deadline, by `time.monotonic`.
        """
        self.sock.read_timeout_s, self.sock.deadline = read_timeout_s, deadline


class _PlainConnection(_Connection):
    def connect(self) -> None:
        super().connect()
        self.sock = _TimedSocket(self.sock)


class _TlsConnection(http.client.HTTPSConnection, _Connection):
    def connect(self) -> None:
        super().connect()
        self.sock = _TimedSocket(self.sock)


class _TimedSocket:
    """The part of a socket that `http.client` uses. A server that sends a byte a second is given up at the deadline."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.read_timeout_s = 0.0
        self.deadline = 0.0

    def limit(self) -> None:
        """Limit the next wait.

        Raises:
            TimeoutError: The deadline has passed.
        """
        left_s = self.deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self._sock.settimeout(min(self.read_timeout_s, left_s))

    def sendall(self, data: ReadableBuffer) -> None:
        """Send all data."""
        self.limit()
        self._sock.sendall(data)

    def makefile(self, mode: str, **_: Any) -> io.BufferedReader:
        """What an answer is read from."""
        return io.BufferedReader(_TimedReader(self, self._sock.makefile("rb", buffering=0)))

    def close(self) -> None:
        """Close it, once nobody reads from it."""
        self._sock.close()


class _TimedReader(io.RawIOBase):
    def __init__(self, sock: _TimedSocket, raw: io.RawIOBase) -> None:
        self._sock = sock
        self._raw = raw

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int | None:
        self._sock.limit()
        return self._raw.readinto(buffer)

    def close(self) -> None:
        if not self.closed:
            self._raw.close()
        super().close()
