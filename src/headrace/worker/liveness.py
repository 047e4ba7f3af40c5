"""What a worker reports while it runs: log lines, and a sign of life for `status` and `health`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from typing import Any

from headrace.errors import HeadraceError
from headrace.events.source_partition import SourcePartition
from headrace.worker.heartbeat import Heart, WorkerState
from headrace.worker.progress import Progress

__all__ = ["Away", "Life", "named"]

logger = logging.getLogger(__name__)

_REMINDER_S = 60.0


def named(sources: Iterable[SourcePartition]) -> str:
    """Source partitions, for people: `orders[0,1,2], refunds[0]`."""
    by_topic: dict[str, list[int]] = {}
    for topic, partition in sorted(sources):
        by_topic.setdefault(topic, []).append(partition)
    return (
        ", ".join(f"{topic}[{','.join(map(str, partitions))}]" for topic, partitions in by_topic.items()) or "nothing"
    )


class Away:
    """Something that is away. It is logged once, then every minute with how long, and when it is back.

    Args:
        monotonic: A clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._since: float | None = None
        self._said = 0.0
        self.what: str | None = None

    def note(self, error: HeadraceError) -> None:
        """It is away, or still is."""
        now, self.what = self._monotonic(), error.what
        if self._since is None:
            self._since = self._said = now
            logger.warning("%s The worker waits for it and goes on where it was.", error.what)
        elif now - self._said >= _REMINDER_S:
            self._said = now
            logger.warning("Still away, for %.0f s: %s", now - self._since, error.what)

    def over(self) -> None:
        """It is there."""
        if self._since is not None:
            logger.warning("Back after %.0f s: %s", self._monotonic() - self._since, self.what)
            self._since = self.what = None


class Life:
    """What others see of a worker.

    Args:
        heart: Its sign of life; None if nobody looks at it (tests, `faust worker`).
        progress: Whether it moves.
    """

    def __init__(self, heart: Heart | None = None, progress: Progress | None = None) -> None:
        self.heart = heart
        self.progress = progress or Progress()
        self._away: dict[str, Away] = {}
        self._since = time.monotonic()
        self._assigned: list[SourcePartition] | None = None
        self._assigned_at = 0.0
        self._caught_up = False
        self._round_at: float | None = None
        self._stopping = False

    def away(self, what: str) -> Away:
        """Notes whether what some part of the worker needs is away.

        Args:
            what: The part.
        """
        return self._away.setdefault(what, Away())

    @property
    def waits_for(self) -> str | None:
        """What is away now; None if nothing is."""
        return next((one.what for one in self._away.values() if one.what is not None), None)

    @property
    def was_assigned(self) -> bool:
        """Whether the group has given the worker its partitions (possibly none)."""
        return self._assigned is not None

    @property
    def age_s(self) -> float:
        """How long it has been running, in seconds."""
        return time.monotonic() - self._since

    def recovering(self) -> None:
        """The stores are being opened, and the online store is filled from the log; each call is a step."""
        self._beat(WorkerState.RECOVERING)

    def joining(self, group: str) -> None:
        """The worker asks its group for partitions."""
        self._since = time.monotonic()
        logger.info("Joining the group %r.", group)
        self._beat(WorkerState.JOINING)

    def still_joining(self) -> None:
        """The group has not given any partitions yet. It may wait a minute for silent members."""
        self._beat(WorkerState.JOINING)

    def assigned(self, sources: list[SourcePartition]) -> None:
        """The group has given the worker these partitions, and no others."""
        if sources != self._assigned:
            logger.info("Assigned: %s.", named(sources))
            self._assigned, self._assigned_at, self._caught_up = sources, time.monotonic(), False

    def applied_round(self) -> None:
        """A round has become readable online."""
        self._round_at = time.time()

    def stopping(self) -> None:
        """The worker was asked to end."""
        if not self._stopping:
            self._stopping = True
            logger.info("Stopping: the last rounds go to the log, and their offsets to the broker.")
        self._beat(WorkerState.STOPPING)

    def beat(self, *, is_moved: bool, is_caught_up: bool, **numbers: Any) -> str | None:
        """Give a sign of life, if the worker makes progress.

        Args:
            is_moved: Whether the group is distributing partitions now.
            is_caught_up: Whether all that was there to read has been applied.
            numbers: `dead_letters` and `lag` of `Heartbeat`.

        Returns:
            What hangs; None if nothing does.
        """
        hangs = self.progress.hangs(is_moved=is_moved or not self.was_assigned)
        if hangs is not None:
            return hangs
        if is_caught_up and not self._caught_up and self._assigned:
            logger.info("Caught up with %s in %.1f s.", named(self._assigned), time.monotonic() - self._assigned_at)
        self._caught_up = self._caught_up or is_caught_up
        if self._stopping:
            state = WorkerState.STOPPING
        elif self.waits_for is not None:
            state = WorkerState.WAITING
        elif not self.was_assigned or is_moved:
            state = WorkerState.JOINING
        else:
            state = WorkerState.RUNNING if self._caught_up else WorkerState.CATCHING_UP
        self._beat(state, note=self.waits_for, **numbers)
        return None

    def _beat(self, state: WorkerState, note: str | None = None, **numbers: Any) -> None:
        if self.heart is not None:
            partitions = tuple(f"{topic}[{partition}]" for topic, partition in self._assigned or ())
            self.heart.beat(state, note=note, partitions=partitions, round_at=self._round_at, **numbers)
