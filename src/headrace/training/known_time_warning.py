"""A warning for training rows whose time lies before anything was known: all their features are empty."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from headrace.config import Clock
from headrace.errors import HeadraceWarning
from headrace.history import spine_times_us
from headrace.log import LogSnapshot
from headrace.times import iso_time

__all__ = ["warn_of_nothing_known"]

_GAP_US = 3_600_000_000
"""Between the time of the first event and the time the first event became known. A live stream has a shorter delay."""


def warn_of_nothing_known(spine: pa.Table, time_column: str, logs: Iterable[LogSnapshot], clock: Clock) -> None:
    """Warn if events had happened by a row's time but none was known yet, as after a replay under the system clock.

    Args:
        spine: The spine.
        time_column: Its column of moments.
        logs: The logs of the features' topics.
        clock: The project's clock.
    """
    times = spine_times_us(spine.column(time_column), time_column)
    for log in logs:
        known = [file.known_us for file in log.files if file.known_us is not None]
        happened = [file.first_us for file in log.files if file.first_us is not None]
        if not known or not happened or min(known) - min(happened) < _GAP_US:
            continue
        before = pc.and_(pc.greater_equal(times, min(happened)), pc.less(times, min(known)))
        unknown = pc.sum(before).as_py() or 0
        if not unknown:
            continue
        rows = f"At {unknown:,} of {spine.num_rows:,} rows"
        what = f"{rows} nothing of the topic {log.topic} was known yet, although events had happened:"
        since = f" its first event became known at {iso_time(min(known))}, and happened at {iso_time(min(happened))}."
        hint = (
            ' as_of="event" joins what had happened by then; `headrace import` loads history as known when it happened'
        )
        replay = "" if clock is Clock.RECORD else ', and clock = "record" in headrace.toml replays it so'
        warnings.warn(f"{what}{since}{hint}{replay}.", HeadraceWarning, stacklevel=3)
