"""Gaps in a partition's offsets: looked at again before they are believed.

Compaction, transactions and retention leave gaps, and what is missing there never comes. But a broker may also show a
batch before one that has lower offsets (the embedded broker does, where two producers write at the same moment: an
offset is given out before its batch can be read), and a consumer that goes on behind the gap never sees those records.
So a gap is read again until it is filled, or has stayed for a while. Where a topic's gaps turn out to be real, they are
believed at once.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable

import numpy as np

from headrace.events.columns import IntArray
from headrace.events.source_partition import SourcePartition

__all__ = ["PATIENCE_S", "OffsetGaps"]

logger = logging.getLogger("faust.headrace.reader")

PATIENCE_S = 0.5
"""How long a gap is looked at again, in seconds: a batch that is on its way takes milliseconds."""

_REAL_ENOUGH = 3
"""After how many real gaps a topic's are believed at once: it is compacted, or written by transactions."""


class OffsetGaps:
    """Which gaps have been seen.

    Args:
        monotonic: A clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._open: dict[SourcePartition, tuple[int, float]] = {}
        self._real: Counter[str] = Counter()

    def before_gap(self, source: SourcePartition, expected: int, offsets: IntArray) -> int:
        """How many records follow without a gap that should be read again.

        Args:
            source: The partition.
            expected: The offset that comes next.
            offsets: The offsets of records read, ascending, none below that.
        """
        taken = 0
        while self._real[source.topic] < _REAL_ENOUGH:
            rest = offsets[taken:]
            gaps = np.flatnonzero(rest != expected + np.arange(len(rest)))
            if len(rest) and (not len(gaps) or gaps[0]):
                self._open.pop(source, None)  # what was missing has come
            if not len(gaps):
                break
            taken, missing = taken + int(gaps[0]), expected + int(gaps[0])
            now = self._monotonic()
            known, since = self._open.get(source, (missing, now))
            if known != missing:
                since = now
            self._open[source] = missing, since
            if now - since < PATIENCE_S:
                return taken
            del self._open[source]
            self._real[source.topic] += 1
            expected = int(offsets[taken])
            logger.info("%s[%d] has nothing at offsets %d to %d.", *source, missing, expected - 1)
        return len(offsets)
