"""A worker's sign of life: a small file per worker, which `status` and `health` read.

The worker writes it about once a second as long as its rounds go on; so a worker that hangs is seen by a beat that
grows old. A worker that ends leaves its file for a while, with the reason, so that `status` can say later why nothing
runs.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["STALE_S", "Heart", "Heartbeat", "WorkerState", "read_heartbeats"]

STALE_S = 5.0
"""A worker whose last beat is older than this, in seconds, hangs."""

_START_STALE_S = 60.0
"""The same before its rounds have begun: a step of its start may take longer."""
_EVERY_S = 1.0
_KEPT_S = 7 * 86_400.0
"""For how long the file of a worker that is gone is kept, in seconds."""


class WorkerState(StrEnum):
    """What a worker does."""

    STARTING = "starting"
    RECOVERING = "recovering"
    JOINING = "joining"
    CATCHING_UP = "catching up"
    RUNNING = "running"
    WAITING = "waiting"
    STOPPING = "stopping"
    ENDED = "ended"
    FAILED = "failed"


_BEFORE_ROUNDS = {WorkerState.STARTING, WorkerState.RECOVERING}
_GONE = {WorkerState.ENDED, WorkerState.FAILED}


@dataclass(frozen=True)
class Heartbeat:
    """What a worker last said of itself.

    Attributes:
        worker: Its name: host and process.
        host: Where it runs.
        pid: Its process there.
        born: When the system says that this process began, to distinguish it from a later process of the same number;
            None where it does not say.
        since: When it started, in seconds since 1970.
        beat: When it said this.
        state: What it does.
        partitions: The source partitions that it has, as text.
        round_at: When it last applied a round; None where it has not yet.
        note: What it waits for, or why it ended; None where there is nothing to say.
        dead_letters: How many dead letters it has sent since it started; None where it has not said.
        lag: By source partition, as text, how many offsets it has still to apply; None where it has not said.
    """

    worker: str
    host: str
    pid: int
    since: float
    beat: float
    state: WorkerState
    partitions: tuple[str, ...] = ()
    round_at: float | None = None
    note: str | None = None
    born: str | None = None
    dead_letters: int | None = None
    lag: Mapping[str, int] | None = None

    def age_s(self, now: float) -> float:
        """How old the beat is, in seconds."""
        return max(now - self.beat, 0.0)

    @property
    def is_gone(self) -> bool:
        """Whether the worker has ended: it said so, or its process is no longer there."""
        return self.state in _GONE or (self.host == socket.gethostname() and not _runs(self.pid, self.born))

    def is_stale(self, now: float) -> bool:
        """Whether it should have said something by now: it hangs."""
        limit_s = _START_STALE_S if self.state in _BEFORE_ROUNDS else STALE_S
        return not self.is_gone and self.age_s(now) > limit_s

    def to_json(self, now: float) -> dict[str, Any]:
        """As JSON, with what follows from it now."""
        facts = asdict(self) | {"state": str(self.state), "partitions": list(self.partitions)}
        return facts | {"gone": self.is_gone, "stale": self.is_stale(now), "beat_age_s": round(self.age_s(now), 3)}


def _born(pid: int) -> str | None:
    """When a process began, in the system's own count; None where there is no such file, or no such process."""
    try:
        # The name, in brackets, may hold anything; what comes behind has the beginning in the twentieth place.
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def _runs(pid: int, born: str | None) -> bool:
    now = _born(pid)
    if born is not None and now is not None and now != born:
        return False  # another process has its number now
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # somebody else's
        return True
    return True


class Heart:
    """Writes a worker's sign of life.

    Args:
        folder: Where the signs of all workers are.
    """

    def __init__(self, folder: Path) -> None:
        now, host = time.time(), socket.gethostname()
        name = f"{host}-{os.getpid()}"
        self._path = folder / f"{name}.json"
        self._last = Heartbeat(name, host, os.getpid(), now, now, WorkerState.STARTING, born=_born(os.getpid()))
        self._written = 0.0
        _remove_old(folder, now)
        self.beat(WorkerState.STARTING)

    @property
    def worker(self) -> str:
        """The worker's name."""
        return self._last.worker

    def beat(self, state: WorkerState, **facts: Any) -> None:
        """Say what the worker does; about once a second, and whenever that changes.

        Args:
            state: What it does.
            facts: Other attributes of `Heartbeat` that have changed; `note` is forgotten where it is left out.
        """
        new = replace(self._last, **{"note": None, **facts}, state=state)
        changed = new != replace(self._last, round_at=new.round_at, dead_letters=new.dead_letters, lag=new.lag)
        self._last = new
        now = time.monotonic()
        if changed or now - self._written >= _EVERY_S:
            self._written = now
            self._write(replace(new, beat=time.time()))

    def end(self, why: str | None) -> None:
        """The worker ends.

        Args:
            why: What failed; None where it was asked to end.
        """
        self.beat(WorkerState.ENDED if why is None else WorkerState.FAILED, note=why, partitions=())

    def _write(self, heartbeat: Heartbeat) -> None:
        # A disk that cannot take a sign of life cannot take the log either, and that says more.
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            aside = self._path.with_suffix(".new")
            aside.write_text(json.dumps(asdict(heartbeat)), encoding="utf-8")
            aside.replace(self._path)


def read_heartbeats(folder: Path) -> list[Heartbeat]:
    """The signs of life of all workers, by name; those of workers that are gone after those that run.

    Args:
        folder: Where they are.
    """
    found = [one for path in sorted(folder.glob("*.json")) if (one := _read(path)) is not None]
    return sorted(found, key=lambda one: (one.is_gone, one.worker))


def _read(path: Path) -> Heartbeat | None:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        known = {one.name for one in fields(Heartbeat)}
        made = Heartbeat(**{name: value for name, value in facts.items() if name in known})
        return replace(made, state=WorkerState(made.state), partitions=tuple(made.partitions))
    except (OSError, ValueError, TypeError, AttributeError):  # it is just being removed, or is another version's
        return None


def _remove_old(folder: Path, now: float) -> None:
    for path in _files(folder):
        found = _read(path)
        if found is not None and found.is_gone and now - found.beat > _KEPT_S:
            path.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[Path]:
    with suppress(OSError):
        yield from folder.glob("*.json")
