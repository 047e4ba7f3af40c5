"""Events with the same id count once: the first position wins, and what follows it within the horizon is left out of both stores.

The decision is made once, before the online store and the log, by nothing but the order of a source partition's records, so a replay decides
alike and both sides hold the same events. Time is the partition's own: the newest record timestamp among the events counted so far. What was
counted is remembered from the log, wherever the worker starts.

    horizon 10 min      offset   0      1      2      3
                        id       a      a      b      a
                        record   12:00  12:04  12:07  12:11
                                 counts again  counts counts: 11 minutes after the one that counted
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from headrace.events.batch import EventBatch
from headrace.events.columns import BoolArray
from headrace.online import SourcePartition
from headrace.plan import Source

if TYPE_CHECKING:
    from headrace.log import EventLog

__all__ = ["Deduplicator"]

_NEVER = -(2**63)


@dataclass
class _Seen:
    """What a source partition has counted.

    Attributes:
        clock_us: The newest record timestamp counted.
        ids: By id, the partition's time when it was counted; in the order of counting, and so of time.
    """

    clock_us: int = _NEVER
    ids: dict[object, int] = field(default_factory=dict)

    def advance(self, event_id: object, clock_us: int, horizon_us: int) -> None:
        """Count an event, and forget what the horizon no longer reaches."""
        self.clock_us = clock_us
        if event_id is not None:
            self.ids.pop(event_id, None)
            self.ids[event_id] = clock_us
        while self.ids and next(iter(self.ids.values())) < clock_us - horizon_us:
            del self.ids[next(iter(self.ids))]


class Deduplicator:
    """Leaves out repeated events of sources that declare an event id.

    Args:
        logs: The log of each topic; where there is none, nothing was counted before.
    """

    def __init__(self, logs: Mapping[str, EventLog]) -> None:
        self._logs = logs
        self._seen: dict[SourcePartition, _Seen] = {}
        self._pending: list[Callable[[], None]] = []

    def forget(self) -> None:
        """Forget what was counted: partitions that have just been assigned may have been another worker's, and are read from the log anew."""
        self._seen.clear()
        self._pending.clear()

    def first_ones(self, batches: Sequence[EventBatch]) -> list[EventBatch]:
        """The batches without repeated events; `accept` keeps what they counted, once they have been applied."""
        self._pending.clear()
        return [self._first_ones(batch) if batch.source.event_id is not None else batch for batch in batches]

    def accept(self) -> None:
        """Remember what the last batches counted: they are applied."""
        for remember in self._pending:
            remember()
        self._pending.clear()

    def _first_ones(self, batch: EventBatch) -> EventBatch:
        keep = np.ones(len(batch), np.bool_)
        ids = batch.table.column(batch.source.event_id).to_pylist()
        for partition in np.unique(batch.partition).tolist():
            rows = np.flatnonzero(batch.partition == partition)
            self._mark(batch, SourcePartition(batch.source.topic, partition), ids, rows.tolist(), keep)
        return batch.where(keep)

    def _mark(
        self, batch: EventBatch, at: SourcePartition, ids: list[object], rows: list[int], keep: BoolArray
    ) -> None:
        source = batch.source
        seen = self._seen_at(source, at, int(batch.offset[rows[0]]))
        clock, counted = seen.clock_us, dict[object, int]()
        advances: list[tuple[object, int]] = []
        for row in rows:
            event_id, now = ids[row], max(clock, int(batch.record_ts_us[row]))
            before = counted.get(event_id, seen.ids.get(event_id)) if event_id is not None else None
            if before is not None and now - before <= source.dedup_us:
                keep[row] = False
                continue
            clock = now
            counted[event_id] = now
            advances.append((event_id, now))

        def remember() -> None:
            for event_id, clock_us in advances:
                seen.advance(event_id, clock_us, source.dedup_us)

        self._pending.append(remember)

    def _seen_at(self, source: Source, at: SourcePartition, before: int) -> _Seen:
        if at not in self._seen:
            seen = self._seen[at] = _Seen()
            log = self._logs.get(at.topic)
            found = [] if log is None else log.recent_ids(at.partition, before, source.dedup_us)
            for event_id, record_ts_us in found:
                seen.advance(event_id, max(seen.clock_us, record_ts_us), source.dedup_us)
        return self._seen[at]
