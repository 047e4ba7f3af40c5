"""Workers to be killed: `headrace stream` as processes of their own, and what each said before it ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from headrace.errors import StoreUnavailableError
from headrace.events.source_partition import SourcePartition
from headrace.stores import OnlineStore, open_store
from headrace.worker.failpoints import VARIABLE

__all__ = ["CrashError", "Worker", "Workers", "wait_for"]

_ROOT = Path(__file__).parents[1]
_REFUSED = "The write was refused."


class CrashError(Exception):
    """The proof cannot go on: a worker did something other than what it was made to do."""


class Worker:
    """A worker process.

    Args:
        root: The project's folder.
        log: The file that takes what it says.
        failpoint: Where it kills or stops itself; see `headrace.worker.failpoints`.
    """

    def __init__(self, root: Path, log: Path, failpoint: str | None = None, *options: str) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
        path = os.pathsep.join([str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment |= {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
        if failpoint is not None:
            environment[VARIABLE] = failpoint
        self.log = log
        self.failpoint = failpoint
        command = [sys.executable, "-m", "headrace.cli", "stream", "--project", str(root), *options]
        with log.open("wb") as said:
            self.process = subprocess.Popen(  # noqa: S603 our own command
                command, env=environment, cwd=_ROOT, stdout=said, stderr=subprocess.STDOUT
            )

    @property
    def alive(self) -> bool:
        """Whether it runs, or is stopped."""
        return self.process.poll() is None

    @property
    def stopped(self) -> bool:
        """Whether it has been stopped (SIGSTOP)."""
        try:
            return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        except FileNotFoundError:
            return False

    def said(self) -> str:
        """What it said."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def refused_writes(self) -> int:
        """How many of its writes were refused, by what it said."""
        return " ".join(self.said().split()).count(_REFUSED)  # lines are wrapped

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def end(self, timeout_s: float = 120.0) -> None:
        """SIGTERM, and wait until it has left in good order."""
        self.process.terminate()
        self.finish(timeout_s, (0, -signal.SIGTERM))  # the latter where it was still starting

    def finish(self, timeout_s: float = 240.0, codes: tuple[int, ...] = (0,)) -> None:
        """Wait for its end, which must be a good one."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            msg = f"The worker {self.log.name} did not end in {timeout_s:g} s:\n{self.said()}"
            raise CrashError(msg) from None
        if code not in codes:
            msg = f"The worker {self.log.name} ended with {code}:\n{self.said()}"
            raise CrashError(msg)

    def wait_killed(self, timeout_s: float = 240.0) -> None:
        """Wait until its failpoint has killed it."""
        try:
            code = self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            msg = f"{self.failpoint} was not reached in {timeout_s:g} s:\n{self.said()}"
            raise CrashError(msg) from None
        if code != -signal.SIGKILL:
            msg = f"The worker {self.log.name} ended with {code}, not by {self.failpoint}:\n{self.said()}"
            raise CrashError(msg)


class Workers:
    """The workers of one project, one after another or several at once.

    Args:
        root: The project's folder.
        store_url: Its online store.
    """

    def __init__(self, root: Path, store_url: str) -> None:
        self.root = root
        self.all: list[Worker] = []
        self._store_url = store_url
        self._store: OnlineStore | None = None

    def start(self, failpoint: str | None = None, *options: str) -> Worker:
        """Start one more."""
        worker = Worker(self.root, self.root / f"worker-{len(self.all):03}.log", failpoint, *options)
        self.all.append(worker)
        return worker

    def applied(self) -> dict[SourcePartition, int]:
        """The last offset applied, by partition; empty before there is a store."""
        store = self._opened()
        return {} if store is None else {source: at.offset for source, at in store.positions().items()}

    def live(self) -> dict[str, str]:
        """The version of each view that the store serves, by name; empty before there is a store."""
        store = self._opened()
        return {} if store is None else dict(store.catalogue().live)

    def _opened(self) -> OnlineStore | None:
        if self._store is None:
            with suppress(StoreUnavailableError):
                self._store = open_store(self._store_url, writable=False)
        return self._store

    def wait_progress(self, worker: Worker, timeout_s: float = 240.0) -> None:
        """Wait until something has been applied since now."""
        before = self.applied()
        wait_for(lambda: self.applied() != before or not worker.alive, "no progress", timeout_s, worker)

    @property
    def refused_writes(self) -> int:
        """How many writes of all workers were refused."""
        return sum(worker.refused_writes for worker in self.all)

    def kill_all(self) -> int:
        """Kill all that still run; how many there were."""
        running = [worker for worker in self.all if worker.alive]
        for worker in running:
            worker.kill()
        return len(running)

    def close(self) -> None:
        """Kill the workers that still run, and close the store."""
        self.kill_all()
        if self._store is not None:
            self._store.close()


def wait_for(condition: Callable[[], bool], otherwise: str, timeout_s: float, worker: Worker | None = None) -> None:
    """Wait until something holds.

    Args:
        condition: What must hold.
        otherwise: What to say where it does not.
        timeout_s: How long to wait, in seconds.
        worker: Whose words to add.
    """
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            msg = f"{otherwise} in {timeout_s:g} s{':' if worker else ''}\n{worker.said() if worker else ''}"
            raise CrashError(msg)
        time.sleep(0.02)
