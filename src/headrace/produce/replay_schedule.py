"""When each event of a history is sent. The whole history and a seed decide it, so that every run decides the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headrace.errors import ConfigError

__all__ = ["MAX_LATE_US", "Schedule", "schedule"]

MAX_LATE_US = 600_000_000
"""A late event is sent up to this long after it happened: 10 minutes, in microseconds."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """What is sent, in order.

    Attributes:
        rows: The events' row numbers in the history, int64, in the order of sending.
        sent_ms: When each is sent, int64 milliseconds since 1970 UTC, ascending.
        late: Whether each is sent later than it happened.
    """

    rows: npt.NDArray[np.int64]
    sent_ms: npt.NDArray[np.int64]
    late: npt.NDArray[np.bool_]


def schedule(
    ts_us: npt.NDArray[np.int64],
    *,
    late: float = 0.0,
    seed: int = 0,
    start_us: int | None = None,
    until_us: int | None = None,
) -> Schedule:
    """Decide the order and the times of sending.

    An event is sent when it happened; a late one up to 10 minutes after. Which events are late, and how much, is
    decided for the whole history before it is cut to `start_us` and `until_us`, so a part of a replay is the same as
    that part of the whole.

    Args:
        ts_us: Event times in µs, in the history's order.
        late: The share of events that is late, 0 to 1.
        seed: Decides which.
        start_us: Only events that happened at this time or after, in µs.
        until_us: Only events that happened before this time, in µs.

    Returns:
        The schedule; events sent at the same time keep the history's order. Times are rounded up to whole
        milliseconds, as Kafka has them, so that no event is sent before it happened.

    Raises:
        ConfigError: `late` is not a share.
    """
    if not 0.0 <= late <= 1.0:
        msg = f"The share of late events is {late}."
        raise ConfigError(msg, hint="--late takes 0 to 1: 0.05 makes 5% late.")
    random = np.random.default_rng(seed)
    is_late = random.random(len(ts_us)) < late
    delay_us = random.integers(0, MAX_LATE_US, len(ts_us), endpoint=True)
    sent_us = ts_us + np.where(is_late, delay_us, 0)
    rows = np.argsort(sent_us, kind="stable")
    wanted = np.ones(len(ts_us), bool)
    if start_us is not None:
        wanted &= ts_us >= start_us
    if until_us is not None:
        wanted &= ts_us < until_us
    rows = rows[wanted[rows]]
    return Schedule(rows, -(-sent_us[rows] // 1000), is_late[rows])
