"""Events with the same id count once: repetitions within the horizon are left out of both stores.

The first position wins.

The decision is made once, before the online store and the log, from the order of a source partition's records alone. So
a replay decides the same, and both stores have the same events. Time is the partition's own: the newest record
timestamp among the events counted so far. A worker that starts reads from the log what was counted.

    horizon 10 min      offset   0      1      2      3
                        id       a      a      b      a
                        record   12:00  12:04  12:07  12:11
                                 counts again  counts counts: 11 minutes after the one that counted

Usually no id of a round was seen before. So a round is first checked as a whole, and event by event only if some id
was.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from headrace.events.columns import BoolArray, IntArray
from headrace.events.event_batch import EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.plan import Source
from headrace.worker.partition_numbers import PartitionNumbers

if TYPE_CHECKING:
    from headrace.log import EventLog

__all__ = ["Deduplicator"]

_NEVER = -(2**63)
_ALL = 1 << 62


@dataclass
class _Seen:
    """What a source partition has counted.

    Attributes:
        clock_us: The newest record timestamp counted.
        ids: By id, the partition's time when it was counted: all that the horizon reaches, and some older ones.
        parts: The same in the order of counting, round by round: its newest time, ids, and their times.
    """

    clock_us: int = _NEVER
    ids: dict[object, int] = field(default_factory=dict)
    parts: deque[tuple[int, list[object], IntArray]] = field(default_factory=deque)

    def add(self, ids: list[object], times: IntArray, clock_us: int, horizon_us: int) -> None:
        """Count the ids of a round, and forget the rounds that the horizon no longer reaches."""
        self.clock_us = clock_us
        if ids:
            self.ids.update(zip(ids, times.tolist(), strict=True))
            self.parts.append((clock_us, ids, times))
        while self.parts and self.parts[0][0] < clock_us - horizon_us:
            _, old, counted = self.parts.popleft()
            for event_id, counted_us in zip(old, counted.tolist(), strict=True):
                if self.ids.get(event_id) == counted_us:  # it was not counted again since
                    del self.ids[event_id]


class Deduplicator:
    """Leaves out repeated events of sources that declare an event id.

    Args:
        logs: The log of each topic; without one, nothing was counted before.
        topics: Says which source partitions belong to ended incarnations. Events that counted there do not count again.
    """

    def __init__(self, logs: Mapping[str, EventLog], topics: PartitionNumbers | None = None) -> None:
        self._logs = logs
        self._topics = topics or PartitionNumbers()
        self._sealed: dict[str, tuple[set[int], dict[object, int]]] = {}
        self._seen: dict[SourcePartition, _Seen] = {}
        self._pending: list[Callable[[], None]] = []

    def forget(self) -> None:
        """Forget what was counted: other workers may have had these partitions, so it is read from the log again."""
        self._seen.clear()
        self._sealed.clear()
        self._pending.clear()

    def first_ones(self, batches: Sequence[EventBatch]) -> list[EventBatch]:
        """The batches without repeated events. Call `accept` once they are applied."""
        self._pending.clear()
        return [self._first_ones(batch) if batch.source.event_id is not None else batch for batch in batches]

    def accept(self) -> None:
        """Remember what the last batches counted."""
        for remember in self._pending:
            remember()
        self._pending.clear()

    def _first_ones(self, batch: EventBatch) -> EventBatch:
        keep = np.ones(len(batch), np.bool_)
        ids = batch.table.column(batch.source.event_id)
        for partition in np.unique(batch.partition).tolist():
            rows = np.flatnonzero(batch.partition == partition)
            is_run = len(rows) == rows[-1] - rows[0] + 1
            mine = ids.slice(rows[0], len(rows)) if is_run else ids.take(rows)
            self._mark(batch, SourcePartition(batch.source.topic, partition), mine.to_pylist(), rows, keep)
        return batch.where(keep)

    def _mark(self, batch: EventBatch, at: SourcePartition, ids: list[object], rows: IntArray, keep: BoolArray) -> None:
        horizon_us = batch.source.dedup_us
        seen = self._seen_at(batch.source, at, int(batch.offset[rows[0]]))
        times = batch.record_ts_us[rows]
        distinct = set(ids)
        before = self._before(batch.source, at, int(times.min()))
        is_new = seen.ids.keys().isdisjoint(distinct) and before.keys().isdisjoint(distinct)
        if is_new and len(distinct) == len(ids) and None not in distinct:
            counted, clocks = ids, np.maximum.accumulate(np.maximum(times, seen.clock_us))
            clock_us = int(clocks[-1])
        else:
            counted, clocks, clock_us, repeated = _one_by_one(ids, times.tolist(), seen, before, horizon_us)
            keep[rows[repeated]] = False
        self._pending.append(lambda: seen.add(counted, clocks, clock_us, horizon_us))

    def _before(self, source: Source, at: SourcePartition, earliest_us: int) -> Mapping[object, int]:
        """The ids that counted in ended incarnations of the topic, if the horizon reaches them from this time on."""
        since_us = earliest_us - source.dedup_us
        reached = [
            one for one, newest_us in self._topics.sealed(at.topic) if newest_us is None or newest_us >= since_us
        ]
        if not reached or at.topic not in self._logs:
            return {}
        loaded, ids = self._sealed.setdefault(at.topic, (set(), {}))
        for partition in {number for numbers in reached for number in numbers} - loaded:
            loaded.add(partition)
            clock_us = _NEVER
            for event_id, record_ts_us in self._logs[at.topic].recent_ids(partition, _ALL, source.dedup_us):
                clock_us = max(clock_us, record_ts_us)
                if event_id is not None:
                    ids[event_id] = max(clock_us, ids.get(event_id, clock_us))
        return ids

    def _seen_at(self, source: Source, at: SourcePartition, before: int) -> _Seen:
        if at not in self._seen:
            seen = self._seen[at] = _Seen()
            log = self._logs.get(at.topic)
            found = [] if log is None else log.recent_ids(at.partition, before, source.dedup_us)
            clock_us, counted = _NEVER, dict[object, int]()
            for event_id, record_ts_us in found:  # the log has only what counted
                clock_us = max(clock_us, record_ts_us)
                if event_id is not None:
                    counted[event_id] = clock_us
            seen.add(list(counted), np.array(list(counted.values()), np.int64), clock_us, source.dedup_us)
        return self._seen[at]


def _one_by_one(
    ids: list[object], times: list[int], seen: _Seen, sealed: Mapping[object, int], horizon_us: int
) -> tuple[list[object], IntArray, int, list[int]]:
    """What a round counts: ids, their times, the partition's time after it; and the rows that are repetitions."""
    clock, counted, repeated = seen.clock_us, dict[object, int](), list[int]()
    for row, (event_id, time) in enumerate(zip(ids, times, strict=True)):
        now = max(clock, time)
        before = counted.get(event_id, seen.ids.get(event_id, sealed.get(event_id))) if event_id is not None else None
        if before is not None and now - before <= horizon_us:
            repeated.append(row)
            continue
        clock = now
        if event_id is not None:
            counted[event_id] = now
    return list(counted), np.array(list(counted.values()), np.int64), clock, repeated
