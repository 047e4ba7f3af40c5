"""What the benchmark tells a side, and what it tells back.

A side is a process that gets a `Job` as JSON in its one argument, reads the topic from its beginning, and prints a
`Run` as its last line. Peers write each touched user's ten features to Redis under the user's id, as `PACKED`: the time
that they are computed for, then count, sum, mean, min and max over the last hour by the minute, and the same over the
last day by the quarter of an hour. This file imports nothing but the standard library: peers run in environments of
their own.
"""

from __future__ import annotations

import json
import struct
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

__all__ = ["NO_VALUE", "PACKED", "WINDOWS", "Job", "Run", "Timer", "main"]

PACKED = struct.Struct("<q10d")
"""A user's features in Redis: the time in ms, then the ten values."""

NO_VALUE = float("nan")
"""Mean, min and max of no events."""

WINDOWS = ((60_000, 60), (900_000, 96))
"""The windows: the slide in ms, and how many slides long."""


@dataclass(frozen=True)
class Job:
    """What a side is to do.

    Attributes:
        broker: Kafka's ``host:port``.
        topic: The topic.
        partitions: How many partitions it has.
        events: How many events to read of it, from its beginning.
        group: A consumer group that nobody has used.
        redis: The path of Redis' socket.
        folder: A folder of the run's own.
    """

    broker: str
    topic: str
    partitions: int
    events: int
    group: str
    redis: str
    folder: str


@dataclass(frozen=True)
class Run:
    """What a side did.

    Attributes:
        events: How many events it has counted.
        seconds: From the first fetch consumed to the last feature readable in the store.
        more: Other figures of its own.
    """

    events: int
    seconds: float
    more: dict[str, Any] = field(default_factory=dict)


class Timer:
    """The clock of a run: it begins with the first fetch, and stops at each time when features have become readable."""

    def __init__(self) -> None:
        self._begun: float | None = None
        self._ended = 0.0

    def begin(self) -> None:
        """A fetch has been consumed; only the first counts."""
        if self._begun is None:
            self._begun = time.perf_counter()

    def stop(self) -> None:
        """Features have become readable; the last time counts."""
        self._ended = time.perf_counter()

    @property
    def seconds(self) -> float:
        """What it shows."""
        return self._ended - self._begun if self._begun is not None else 0.0


def main(side: Callable[[Job], Run]) -> None:
    """Run a side as the benchmark asked for it in the process's one argument.

    Args:
        side: The side.
    """
    done = side(Job(**json.loads(sys.argv[1])))
    print(json.dumps(asdict(done)), flush=True)
