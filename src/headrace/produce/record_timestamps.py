"""The timestamps of records: now (system clock), or when the event happened (record clock)."""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence

from headrace.config import Clock, Project
from headrace.errors import HeadraceError, HeadraceWarning
from headrace.produce.encode import EncodedEvent
from headrace.stores import open_store
from headrace.times import iso_time, us_of

__all__ = ["RecordClock", "SystemClock", "clock_of"]

_JUMP_MS = 24 * 3_600_000


class SystemClock:
    """A record is sent now."""

    def stamps_ms(self, events: Sequence[EncodedEvent]) -> list[int]:
        """The timestamps of records that give none, in milliseconds."""
        return [time.time_ns() // 1_000_000] * len(events)

    def resent_ms(self, recorded_at_ms: int) -> int:
        """The timestamp of a record that is sent again: it becomes known now."""
        return time.time_ns() // 1_000_000

    def moves_to(self, timestamp_ms: int) -> None:
        """A record is about to be sent; that does not move this clock."""


class RecordClock:
    """A project's record clock: what time it is there, is what the newest record says.

    An event that gives no timestamp is sent when it happened, or, where that is past, now. So producing never takes the
    clock to the system's today, far from all that was replayed; a step of more than a day that an event does take is
    warned of.

    Args:
        project: The project's name, for messages.
        now_ms: The newest record's timestamp, in milliseconds; None where there is none.
    """

    def __init__(self, project: str, now_ms: int | None) -> None:
        self._project = project
        self._now_ms = now_ms

    def stamps_ms(self, events: Sequence[EncodedEvent]) -> list[int]:
        """The timestamps of records that give none, in milliseconds; an event is not known before it happens."""
        now, stamps = self._now_ms, []
        for event in events:
            happened = -(-us_of(event.time) // 1000)
            now = happened if now is None else max(now, happened)
            stamps.append(now)
        return stamps

    def resent_ms(self, recorded_at_ms: int) -> int:
        """The timestamp of a record that is sent again: its own, or the newest record's where that is later."""
        return recorded_at_ms if self._now_ms is None else max(self._now_ms, recorded_at_ms)

    def moves_to(self, timestamp_ms: int) -> None:
        """A record is about to be sent; HeadraceWarning where that moves the clock by more than a day."""
        before = self._now_ms
        if before is not None and timestamp_ms <= before:
            return
        self._now_ms = timestamp_ms
        if before is not None and timestamp_ms - before > _JUMP_MS:
            moved = f"from {iso_time(before * 1000)} to {iso_time(timestamp_ms * 1000)}"
            warnings.warn(
                f"This event moves the record clock of the project {self._project} {moved}: from now on lookups are "
                "answered for that time, at which most windows may be empty. Give send() the timestamp at which the "
                "event becomes known, look up `at` "
                'a time, or set clock = "system" in headrace.toml for events of today.',
                HeadraceWarning,
                stacklevel=4,
            )


def clock_of(project: Project) -> RecordClock | SystemClock:
    """The clock by which a project's producers stamp records.

    Args:
        project: The project. Under the record clock, its store is asked for the newest record's time.
    """
    if project.clock is not Clock.RECORD:
        return SystemClock()
    try:
        with open_store(project.store_url, writable=False) as store:
            newest = max((position.record_ts_us for position in store.positions().values()), default=None)
    except HeadraceError:  # there is no store yet, or it is away: only the events themselves give the time
        newest = None
    return RecordClock(project.root.name, None if newest is None else newest // 1000)
