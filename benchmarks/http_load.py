"""Requests over HTTP from a process of its own: as fast as answers come, or at a fixed rate.

    python -m benchmarks.http_load < load.json

At a fixed rate a request's time begins when it should have been sent, not when a connection was free for it. Otherwise
a server that stalls would delay the requests that would have shown it (coordinated omission). So as not to be late
itself, the process does not sleep while a request is due within two milliseconds.
"""

from __future__ import annotations

import json
import re
import select
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["Load", "Measured", "measure"]

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_SPIN_S = 0.002
_ANSWER_S = 60.0
"""How long an answer may take at the end of a run, in seconds."""


@dataclass(frozen=True)
class Load:
    """What to ask.

    Attributes:
        port: The server's port on the loopback.
        path: The path to post to.
        bodies: The JSON bodies, in turn.
        seconds: For how long.
        connections: Over how many connections.
        rate: How many requests per second; None is as many as are answered.
    """

    port: int
    path: str
    bodies: Sequence[str]
    seconds: float
    connections: int = 8
    rate: float | None = None


@dataclass(frozen=True)
class Measured:
    """What came of it.

    Attributes:
        per_second: Answers per second.
        p50_ms: How long the middle request took, in ms.
        p99_ms: How long the slowest request in a hundred took, in ms.
        requests: How many were answered.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    requests: int


def measure(load: Load) -> Measured:
    """Run a load in a process of its own.

    Args:
        load: What to ask.

    Raises:
        RuntimeError: An answer was no 200, or none came.
    """
    command = [sys.executable, "-m", "benchmarks.http_load"]
    done = subprocess.run(
        command,
        input=json.dumps(asdict(load)),
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return Measured(**json.loads(done.stdout))


class _Connection:
    """A connection with at most one request."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._had = b""

    def ask(self, request: bytes, due: float) -> None:
        self.due = due
        self.socket.sendall(request)

    def is_answered(self) -> bool:
        """Whether the answer is complete, after something came."""
        came = self.socket.recv(1 << 20)
        if not came:
            msg = "the server closed a connection"
            raise RuntimeError(msg)
        self._had += came
        end = self._had.find(b"\r\n\r\n")
        if end < 0:
            return False
        length = _LENGTH.search(self._had, 0, end)
        if length is None or not self._had.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(self._had[:2_000].decode("latin-1"))
        if len(self._had) < end + 4 + int(length[1]):
            return False
        self._had = b""
        return True


def _run(load: Load) -> Measured:
    requests = [_request(load.path, body) for body in load.bodies]
    connections = [_Connection(load.port) for _ in range(load.connections)]
    by_number = {one.socket.fileno(): one for one in connections}
    poll = select.epoll()
    for number in by_number:
        poll.register(number, select.EPOLLIN)
    idle, took, sent = deque(connections), list[float](), 0
    begun = time.perf_counter()
    until = begun + load.seconds
    due = _due(begun, load.rate)
    following = next(due)
    while True:
        now = time.perf_counter()
        while idle and following <= now < until:
            one = idle.popleft()
            one.ask(requests[sent % len(requests)], following if load.rate else now)
            sent += 1
            following = next(due)
        if now >= until and len(idle) == len(connections):
            break
        if now >= until + _ANSWER_S:
            msg = f"{len(connections) - len(idle)} requests were not answered"
            raise RuntimeError(msg)
        wait = 0.1 if not idle or now >= until else max(min(following, until) - now - _SPIN_S, 0.0)
        for number, _ in poll.poll(wait):
            one = by_number[number]
            if one.is_answered():
                took.append(time.perf_counter() - one.due)
                idle.append(one)
    seconds = time.perf_counter() - begun
    for one in connections:
        one.socket.close()
    p50, p99 = (float(value) * 1000 for value in np.percentile(took, [50, 99]))
    return Measured(len(took) / seconds, p50, p99, len(took))


def _due(begun: float, rate: float | None) -> Iterator[float]:
    """When each request is due."""
    number = 0
    while True:
        yield begun if rate is None else begun + number / rate
        number += 1


def _request(path: str, body: str) -> bytes:
    content = body.encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(content)}"
    )
    return f"{head}\r\n\r\n".encode() + content


if __name__ == "__main__":
    given: dict[str, Any] = json.load(sys.stdin)
    json.dump(asdict(_run(Load(**given))), sys.stdout)
