"""When a store that forgets by itself may forget a record: once no window can reach any of its tiles, and some time later.

What is lost with such a record changes no value. Its events lie in tiles that no lookup from then on counts; applied a second time, by a replay
that no longer finds the record's offset, they would lie there again. The time between covers clocks that differ and a worker that has read the
record and not yet written it.
"""

from __future__ import annotations

import struct

from headrace.plan import View
from headrace.windows import NEVER

__all__ = ["KEPT_US", "REMEMBERED_US", "expires_ms", "reach_us"]

KEPT_US = 3_600_000_000
"""How long a record is kept that no window reaches any more, by the clock of the store's server: an hour."""

REMEMBERED_US = KEPT_US // 2
"""Within which time before now a lookup's moment may lie, by its own clock: the rest is for clocks that differ."""

_NEWEST_TS = struct.Struct("<q")
_NEWEST_TS_AT = 24


def reach_us(view: View) -> int | None:
    """How long after an event some window of a view may still count it, in µs; None is for good."""
    if any(feature.window_us is None for feature in view.features):
        return None
    # A tile begins at or before its events and is counted until its beginning + window + offset.
    return max((feature.window_us or 0) + feature.offset_us for feature in view.features)


def expires_ms(record: bytes, reach: int) -> int | None:
    """When a record may be forgotten, in ms UTC; None where it holds no event.

    Args:
        record: The encoded record.
        reach: How long after an event a window may count it, in µs.
    """
    newest_us: int = _NEWEST_TS.unpack_from(record, _NEWEST_TS_AT)[0]
    return None if newest_us == NEVER else (newest_us + reach + KEPT_US) // 1000 + 1
