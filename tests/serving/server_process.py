"""`headrace serve` in a process of its own, and requests to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from tests.waits import wait_until

__all__ = ["Reply", "ServerProcess"]

_JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Reply:
    """An HTTP answer."""

    status: int
    headers: dict[str, str]
    content: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error(self) -> dict[str, Any]:
        """The error, which must have the form of all errors."""
        found: dict[str, Any] = self.json["error"]
        assert set(found) == {"kind", "message", "hint"}
        return found


class ServerProcess:
    """A server on a free port of the loopback.

    Args:
        project: The project's folder.
        options: Options of `headrace serve`.
        environment: The environment; None is that of the tests.
        log_folder: Where its log goes; None is the project's folder.
    """

    def __init__(
        self,
        project: Path,
        *options: str,
        environment: Mapping[str, str] | None = None,
        log_folder: Path | None = None,
    ) -> None:
        command = [sys.executable, "-m", "headrace.cli", "serve", "--project", str(project), "--port", "0", *options]
        self.log_path = (log_folder or project) / f"server-{id(self)}.log"
        with self.log_path.open("w") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
        assert self.process.stdout is not None
        self.said = self.process.stdout.readline()
        self.url = self.said.removeprefix("Serving at ").partition(" ")[0]
        self.address = urlsplit(self.url).netloc

    def __enter__(self) -> Self:
        assert self.url.startswith("http"), self.log
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def log(self) -> str:
        return f"{self.said}{self.log_path.read_text()}"

    def wait_ready(self) -> Self:
        """Return once lookups are answered."""
        self.wait_for(lambda: self.get("/ready").status == 200, "the server is ready")
        return self

    def wait_for(self, happened: Any, what: str) -> None:
        """Wait for something that a server that lives makes happen."""

        def has_happened() -> bool:
            assert self.process.poll() is None, self.log
            return bool(happened())

        wait_until(has_happened, what)

    def connect(self) -> HTTPConnection:
        """A connection; the caller closes it."""
        return HTTPConnection(self.address, timeout=120)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> Reply:
        """One request on a connection of its own."""
        with closing(self.connect()) as connection:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def get(self, path: str) -> Reply:
        return self.request("GET", path)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None) -> Reply:
        """Post bytes as they are, or anything else as JSON."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.request("POST", path, content, _JSON | (headers or {}))

    def lookup(self, features: Any, entities: Any = None, **more: Any) -> Reply:
        return self.post("/v1/lookup", {"features": features, "entities": entities, **more})

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.process.pid, number)

    def stop(self) -> int:
        """Ask it to end, and wait; its exit code."""
        if self.process.poll() is None:
            self.signal(signal.SIGTERM)
        killer = threading.Timer(120, self.process.kill)
        killer.start()
        try:
            code = self.process.wait()
        finally:
            killer.cancel()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code
