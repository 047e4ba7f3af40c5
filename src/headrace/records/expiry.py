"""From when on a store may remove a record by itself: some time after no window can reach any of its tiles.

Removing it changes no value. Its events lie in tiles that no lookup counts from then on. A replay that no longer finds
the record's offset applies them a second time, to those same tiles. The time between covers clocks that differ, and a
worker that has read the record and not written it yet.
"""

from __future__ import annotations

from headrace.aggregates import IntArray
from headrace.plan import View

__all__ = ["KEPT_US", "REMEMBERED_US", "expires_us", "reach_us"]

KEPT_US = 3_600_000_000
"""How long a record is kept that no window reaches any more, by the clock of the store's server: an hour."""

REMEMBERED_US = KEPT_US // 2
"""How far before now a lookup's time may be, by the client's clock; the other half is for clocks that differ."""


def reach_us(view: View) -> int | None:
    """How long after an event a window of the view may still count it, in µs; None is for ever."""
    if any(feature.window_us is None for feature in view.features):
        return None
    # A tile begins at or before its events and is counted until its beginning + window + offset.
    return max((feature.window_us or 0) + feature.offset_us for feature in view.features)


def expires_us(newest_ts_us: IntArray, reach: int) -> list[int]:
    """From when on records may be removed, in µs.

    Args:
        newest_ts_us: The newest event time of each record, shape (records,).
        reach: How long after an event a window may count it, in µs.
    """
    expires: list[int] = (newest_ts_us + (reach + KEPT_US)).tolist()
    return expires
