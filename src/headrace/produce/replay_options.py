"""The options of a replay, its progress and its summary."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time

from headrace.errors import ConfigError
from headrace.times import us_of

__all__ = ["Report", "ReplayOptions", "ReplayProgress", "ReplaySummary", "parse_time"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayOptions:
    """What to replay of a history, and how.

    Attributes:
        speed: How much faster than it happened; None is as fast as it goes.
        start: Only events that happened at this time or later. Without a time zone it is UTC.
        until: Only events that happened before this time.
        limit: Only the first N of these, in the order of sending.
        resume: Leave out what an earlier run with the same `start`, `until`, `late` and `seed` has sent.
        late: The share of events that is sent up to 10 minutes after it happened, 0 to 1.
        seed: Decides which events are late, and how much.

    Raises:
        ConfigError: A value makes no sense.
    """

    speed: float | None = None
    start: date | None = None
    until: date | None = None
    limit: int | None = None
    resume: bool = False
    late: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.speed is not None and not 0 < self.speed < math.inf:
            msg = f"The speed is {self.speed}."
            raise ConfigError(msg, hint="--speed takes a number above 0: 3600 replays an hour in a second.")
        if self.limit is not None and self.limit < 0:
            msg = f"The limit is {self.limit}."
            raise ConfigError(msg, hint="--limit takes 0 or more events.")
        if not 0 <= self.late <= 1:
            msg = f"The share of late events is {self.late}."
            raise ConfigError(msg, hint="--late takes 0 to 1: 0.05 makes 5% late.")
        if self.seed < 0:
            msg = f"The seed is {self.seed}."
            raise ConfigError(msg, hint="--seed takes 0 or more.")
        if self.start_us is not None and self.until_us is not None and self.start_us >= self.until_us:
            msg = f"Nothing lies from {self.start} until {self.until}."
            raise ConfigError(msg, hint="--from must be before --until, which is left out itself.")

    @property
    def start_us(self) -> int | None:
        """`start` in microseconds since 1970 UTC."""
        return _as_us(self.start)

    @property
    def until_us(self) -> int | None:
        """`until` in microseconds since 1970 UTC."""
        return _as_us(self.until)


@dataclass(frozen=True, slots=True)
class ReplayProgress:
    """How far a replay is.

    Attributes:
        sent: How many events were handed to the broker in this run.
        total: How many this run will send.
        simulated: The time that the replay has reached.
    """

    sent: int
    total: int
    simulated: datetime


Report = Callable[[ReplayProgress], None]
"""Called several times a second while a replay runs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplaySummary:
    """What a replay did. Every event counted as sent was confirmed by the broker.

    Attributes:
        topic: The topic.
        sent: How many events were sent.
        skipped: How many an earlier run had sent (`resume`).
        late: How many of those sent were late.
        already: How many records the topic had before.
        seconds: How long it took.
        events_per_second: How many were sent per second.
    """

    topic: str
    sent: int
    skipped: int
    late: int
    already: int
    seconds: float
    events_per_second: float


def parse_time(text: str) -> datetime:
    """Read a date or a time.

    Args:
        text: ISO 8601: ``2013-07-01``, ``2013-07-01T12:00``, ``2013-07-01T12:00:00-04:00``. Without an offset it is
            UTC.

    Returns:
        The time, in UTC.

    Raises:
        ConfigError: It is neither.
    """
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        msg = f"{text!r} is not a date or time: {error}."
        raise ConfigError(msg, hint="Write 2013-07-01, or 2013-07-01T12:00 (UTC).") from error


def _as_us(at: date | None) -> int | None:
    if at is None:
        return None
    moment = at if isinstance(at, datetime) else datetime.combine(at, time())
    return us_of(moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment)
