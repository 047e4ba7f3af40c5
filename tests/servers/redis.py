"""A redis-server of the tests' own, on a socket in a temporary folder: it has no port, and is gone with the tests."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from tests.waits import wait_until

__all__ = ["RedisServer"]


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
        process = self.process
        wait_until(lambda: self._answers() or process.poll() is not None, "redis-server to start")
        if process.poll() is not None:
            pytest.fail(f"redis-server did not start:\n{(self.folder / 'redis.log').read_text()}")

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
