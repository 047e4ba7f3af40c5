"""Cutting what was read into rounds. A round is what is applied in one commit; once cut, it stays whole.

Under the system clock a round is whatever one poll brought. Under the record clock, a replay, partitions would run
ahead of each other by months, and a lookup during the replay would see one partition's June beside another's March. So
each round is cut at a common record time: the earliest of the newest times read from the partitions still being waited
for. A partition is waited for until it has been read to its end, or has been silent for `IDLE_S` seconds (the idea of
watermark alignment and idleness in Flink's Kafka source).
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field

from headrace.events.dead_letter import DeadLetter
from headrace.events.event_batch import EventBatch
from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import Read

__all__ = ["IDLE_S", "Aligner", "Decoded", "Round"]

IDLE_S = 5.0
"""How long a silent partition holds the others back, in seconds."""

Decoded = tuple[list[EventBatch], list[DeadLetter]]
"""A round's good events, a batch per topic, and its dead letters."""


@dataclass(eq=False)
class Round:
    """What is applied in one commit.

    Attributes:
        reads: What was read of each of Kafka's partitions.
        epoch: Which placing of the reader it was read after; the worker leaves rounds of an earlier one.
        decoded: Its events, where they are decoded ahead of its turn; see `headrace.worker.decode_ahead`.
    """

    reads: Mapping[SourcePartition, Read]
    epoch: int = 0
    decoded: Future[Decoded] | None = None

    def __len__(self) -> int:
        """How many records it has."""
        return sum(len(read.records) for read in self.reads.values())

    @property
    def next_offsets(self) -> dict[SourcePartition, int]:
        """By Kafka's partition, the offset to read after this round."""
        return {source: read.next_offset for source, read in self.reads.items()}

    def by_topic(self) -> dict[str, RawRecords]:
        """The records of each topic, partition after partition."""
        parts: dict[str, list[RawRecords]] = {}
        for source in sorted(self.reads):
            parts.setdefault(source.topic, []).append(self.reads[source].records)
        return {topic: RawRecords.concat(runs) for topic, runs in parts.items()}


@dataclass
class _Partition:
    """A partition's records that wait, as they were read. A record is copied only when it is released."""

    heard_at: float
    waiting: deque[RawRecords] = field(default_factory=deque)
    count: int = 0
    next_offset: int = 0
    passed: int = 0

    @property
    def newest(self) -> int:
        """The timestamp of the last record that waits; -1 where none does."""
        return int(self.waiting[-1].timestamps[-1]) if self.waiting else -1

    def add(self, read: Read, now: float) -> None:
        """Take in what was read."""
        if len(read.records):
            self.waiting.append(read.records)
            self.count += len(read.records)
        self.next_offset, self.heard_at = read.next_offset, now

    def release(self, until: int | None) -> Read | None:
        """Give the records up to a time, or all; None where that moves nothing."""
        everything = until is None or self.newest <= until
        taken: list[RawRecords] = []
        while self.waiting and (everything or self.waiting[0].timestamps[-1] <= until):
            taken.append(self.waiting.popleft())
        if self.waiting and until is not None:
            # Timestamps may step back within a partition. Any cut keeps the order, and all records go once the newest
            # is not later.
            cut = bisect_right(self.waiting[0].timestamps, until)
            if cut:
                taken.append(self.waiting[0][:cut])
                self.waiting[0] = self.waiting[0][cut:]
        released = RawRecords.concat(taken)
        self.count -= len(released)
        # Offsets without records go with the record before them.
        end = int(released.offsets[-1]) + 1 if self.waiting and taken else self.next_offset
        is_new = bool(taken) or (not self.waiting and end > self.passed)
        self.passed = max(self.passed, end) if is_new else self.passed
        return Read(released, end) if is_new else None


class Aligner:
    """Keeps records that were read until their time has come.

    Args:
        by_record_time: Whether to align; without it every record goes at once.
        max_waiting: How many records of a partition may wait before no more of it are wanted.
        monotonic: A clock in seconds.
    """

    def __init__(
        self, *, by_record_time: bool, max_waiting: int = 20_000, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._by_record_time = by_record_time
        self._max_waiting = max_waiting
        self._monotonic = monotonic
        self._partitions: dict[SourcePartition, _Partition] = {}

    def wants(self, source: SourcePartition) -> bool:
        """Whether to read more of a partition now."""
        partition = self._partitions.get(source)
        return partition is None or partition.count < self._max_waiting

    @property
    def has_waiting(self) -> bool:
        """Whether any record waits for its time."""
        return any(partition.count for partition in self._partitions.values())

    def cut(
        self,
        reads: Mapping[SourcePartition, Read],
        assigned: Iterable[SourcePartition],
        ends: Callable[[SourcePartition], int | None],
    ) -> dict[SourcePartition, Read]:
        """Take what was read and give what may be applied.

        Args:
            reads: What was read since.
            assigned: The partitions that may hold the others back.
            ends: A partition's end offset, or None where it is not known yet.

        Returns:
            The next round, by partition in order; empty if everything has to wait.
        """
        now = self._monotonic()
        for source, read in reads.items():
            self._partitions.setdefault(source, _Partition(now)).add(read, now)
        until = self._horizon(assigned, ends, now) if self._by_record_time else None
        released = ((source, self._partitions[source].release(until)) for source in sorted(self._partitions))
        return {source: read for source, read in released if read is not None}

    def _horizon(
        self, assigned: Iterable[SourcePartition], ends: Callable[[SourcePartition], int | None], now: float
    ) -> int | None:
        """The record time up to which every awaited partition has been read; None is no limit, -1 means wait."""
        horizon: int | None = None
        for source in assigned:
            partition = self._partitions.setdefault(source, _Partition(now))
            end = ends(source)
            read_to_end = end is not None and partition.next_offset >= end
            if read_to_end or now - partition.heard_at > IDLE_S:
                continue
            horizon = partition.newest if horizon is None else min(horizon, partition.newest)
        return horizon
