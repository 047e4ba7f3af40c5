"""The servers that benchmarks need, each their own: a broker and a redis-server, gone when the block ends."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.side_by_side import Skipped
from headrace.kafka import EmbeddedBroker

__all__ = ["broker", "redis_program", "redis_server"]

_READY_S = 10.0


@contextmanager
def broker(folder: Path, given: str | None = None) -> Iterator[str]:
    """A Kafka broker.

    Args:
        folder: Where the embedded one writes its log.
        given: One that runs already, as ``host:port``; None starts the embedded one.

    Yields:
        Its ``host:port``.
    """
    if given is not None:
        yield given
        return
    with EmbeddedBroker(folder / "broker.json") as started:
        yield started.address


def redis_program() -> str:
    """The path of redis-server.

    Raises:
        Skipped: It is not installed.
    """
    program = shutil.which("redis-server")
    if program is None:
        why = "redis-server is not installed; on Debian: apt-get install redis-server"
        raise Skipped(why)
    return program


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """A redis-server without persistence, on a socket of this machine.

    Args:
        folder: Where its socket is; its path must be short.

    Yields:
        The socket's path; as a store it is ``unix://PATH?db=0``.

    Raises:
        Skipped: There is none to start.
    """
    program = redis_program()
    socket, log = folder / "redis.sock", folder / "redis.log"
    command = [program, "--port", "0", "--save", "", "--appendonly", "no", "--dir", str(folder)]
    command += ["--unixsocket", str(socket), "--loglevel", "warning", "--logfile", str(log)]
    server = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + _READY_S
        while not socket.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(log.read_text() if log.exists() else "redis-server does not come up")
            time.sleep(0.02)
        yield str(socket)
    finally:
        server.kill()
        server.wait()
