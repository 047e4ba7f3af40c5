"""Cutting fetches into rounds: what is applied in one commit.

Under the system clock a round is whatever one poll brought. Under the record clock, a replay, partitions would run ahead of each other by
months, and a lookup during the replay would see one partition's June beside another's March. So each round is cut at a common record time:
the earliest of the newest times read from the partitions still being waited for. A partition is waited for until it has been read to its
end, or has been silent for `IDLE_S` seconds (the idea of watermark alignment and idleness in Flink's Kafka source).
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import Read

__all__ = ["IDLE_S", "Aligner", "Fetch"]

IDLE_S = 5.0
"""How long a silent partition holds the others back, in seconds."""


@dataclass(frozen=True, eq=False)
class Fetch:
    """Records of one source partition, part of a round.

    Attributes:
        source: The source partition.
        records: Its records in offset order; none where the round only passes offsets that hold no records.
        round: The round's number.
        ends_round: Whether it is the round's last fetch.
        epoch: The aligner's epoch when it was cut: fetches from before a seek have an older one.
        follows: The last offset of the partition's fetch before, in this epoch; None where this is its first.
        ends_before: The offset that comes after it; None is the one after its last record.
    """

    source: SourcePartition
    records: RawRecords
    round: int
    ends_round: bool
    epoch: int = 0
    follows: int | None = None
    ends_before: int | None = None

    @property
    def first_offset(self) -> int:
        """The offset of its first record; of its end where it has no records."""
        return int(self.records.offsets[0]) if len(self.records) else self.last_offset

    @property
    def last_offset(self) -> int:
        """The last offset that it accounts for: of its last record, or of what comes after that and holds no record."""
        return int(self.records.offsets[-1]) if self.ends_before is None else self.ends_before - 1


@dataclass
class _Partition:
    """A partition's records that wait, as they were fetched: a record is copied when it is released, and not at every look."""

    heard_at: float
    held: deque[RawRecords] = field(default_factory=deque)
    count: int = 0
    next_offset: int = 0
    passed: int = 0
    released: int | None = None

    @property
    def newest(self) -> int:
        """The timestamp of the last record held; -1 where none is."""
        return int(self.held[-1].timestamps[-1]) if self.held else -1

    def hold(self, read: Read, now: float) -> None:
        """Take in what was read."""
        if len(read.records):
            self.held.append(read.records)
            self.count += len(read.records)
        self.next_offset, self.heard_at = read.next_offset, now

    def release(self, until: int | None) -> Read | None:
        """Give the records up to a time, or all; None where that moves nothing."""
        everything = until is None or self.newest <= until
        taken: list[RawRecords] = []
        while self.held and (everything or self.held[0].timestamps[-1] <= until):
            taken.append(self.held.popleft())
        if self.held and until is not None:
            # Timestamps may step back within a partition; any cut keeps the order, and the newest one not being later lets all go.
            cut = bisect_right(self.held[0].timestamps, until)
            if cut:
                taken.append(self.held[0][:cut])
                self.held[0] = self.held[0][cut:]
        released = RawRecords.concat(taken)
        self.count -= len(released)
        # Offsets without records go with the record before them.
        end = int(released.offsets[-1]) + 1 if self.held and taken else self.next_offset
        is_new = bool(taken) or (not self.held and end > self.passed)
        self.passed = max(self.passed, end) if is_new else self.passed
        return Read(released, end) if is_new else None


class Aligner:
    """Holds fetched records back until their time has come.

    Args:
        by_record_time: Whether to align; without it every record goes at once.
        max_held: How many records a partition that is ahead may hold.
        monotonic: A clock in seconds.
    """

    def __init__(
        self, *, by_record_time: bool, max_held: int = 20_000, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._by_record_time = by_record_time
        self._max_held = max_held
        self._monotonic = monotonic
        self._partitions: dict[SourcePartition, _Partition] = {}
        self._round = 0
        self.epoch = 0

    def reset(self) -> None:
        """Forget everything held and begin a new epoch: the consumer was moved, and what is needed comes again."""
        self._partitions.clear()
        self.epoch += 1

    def wants(self, source: SourcePartition) -> bool:
        """Whether to fetch more of a partition now."""
        partition = self._partitions.get(source)
        return partition is None or partition.count < self._max_held

    @property
    def holds(self) -> bool:
        """Whether any record is held back."""
        return any(partition.count for partition in self._partitions.values())

    def cut(
        self,
        reads: Mapping[SourcePartition, Read],
        assigned: Iterable[SourcePartition],
        ends: Callable[[SourcePartition], int | None],
    ) -> list[Fetch]:
        """Take what was fetched and give what may be applied.

        Args:
            reads: What was read since.
            assigned: The partitions that may hold the others back.
            ends: A partition's end offset, or None where it is not known yet.

        Returns:
            The next round, empty where everything has to wait.
        """
        now = self._monotonic()
        for source, read in reads.items():
            self._partitions.setdefault(source, _Partition(now)).hold(read, now)
        until = self._horizon(assigned, ends, now) if self._by_record_time else None
        released = ((source, self._partitions[source].release(until)) for source in sorted(self._partitions))
        ready = [(source, read) for source, read in released if read is not None]
        self._round += bool(ready)
        last = len(ready) - 1
        return [self._fetch(source, read, number == last) for number, (source, read) in enumerate(ready)]

    def _fetch(self, source: SourcePartition, read: Read, ends_round: bool) -> Fetch:
        partition = self._partitions[source]
        fetch = Fetch(
            source, read.records, self._round, ends_round, self.epoch, partition.released, ends_before=read.next_offset
        )
        partition.released = fetch.last_offset
        return fetch

    def _horizon(
        self, assigned: Iterable[SourcePartition], ends: Callable[[SourcePartition], int | None], now: float
    ) -> int | None:
        """The record time up to which every partition waited for has been read; None is no limit, -1 is wait."""
        horizon: int | None = None
        for source in assigned:
            partition = self._partitions.setdefault(source, _Partition(now))
            end = ends(source)
            read_to_end = end is not None and partition.next_offset >= end
            if read_to_end or now - partition.heard_at > IDLE_S:
                continue
            horizon = partition.newest if horizon is None else min(horizon, partition.newest)
        return horizon
