"""The online stores that the contract is checked on, and a Redis server of the tests' own.

The server listens on a socket in a temporary folder, has no port, and is gone with the tests.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from headrace.online import OnlineStore, open_store
from headrace.online.memory import MemoryStore


@dataclass
class RedisServer:
    """A redis-server process that can be stopped and started again.

    Args:
        folder: Where its socket and files go.
    """

    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.folder / 'redis.sock'}?db=0"

    def start(self, *options: str) -> None:
        files = ["--unixsocket", str(self.folder / "redis.sock"), "--dir", str(self.folder)]
        quiet = ["--port", "0", "--save", "", "--loglevel", "warning", "--logfile", str(self.folder / "redis.log")]
        self.process = subprocess.Popen(["redis-server", *quiet, *files, *options])
        deadline = time.monotonic() + 10
        while not self._answers():
            if time.monotonic() > deadline or self.process.poll() is not None:
                self.stop()
                pytest.fail(f"redis-server did not start:\n{(self.folder / 'redis.log').read_text()}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self) -> redis.Redis:
        return redis.Redis.from_url(self.url)

    def _answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.exceptions.ConnectionError:
            return False


def _new_server(tmp_path_factory: pytest.TempPathFactory) -> RedisServer:
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not installed; on Debian: apt-get install redis-server")
    return RedisServer(tmp_path_factory.mktemp("redis"))


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = _new_server(tmp_path_factory)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis_url(shared_redis: RedisServer) -> str:
    """The URL of an empty database."""
    with shared_redis.client() as client:
        client.flushall()
    return shared_redis.url


@pytest.fixture
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """A server for one test, which may stop it; not started yet."""
    server = _new_server(tmp_path_factory)
    yield server
    server.stop()


@pytest.fixture(params=["memory", "lmdb", pytest.param("redis", marks=pytest.mark.redis)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnlineStore]:
    """An empty store, writable, of every kind there is."""
    if request.param == "memory":
        opened: OnlineStore = MemoryStore()
    else:
        url = f"lmdb:{tmp_path / 'online'}" if request.param == "lmdb" else request.getfixturevalue("redis_url")
        opened = open_store(url, writable=True)
    with opened:
        yield opened
