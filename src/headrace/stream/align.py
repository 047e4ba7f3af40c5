"""Cutting fetches into rounds: what is applied in one commit.

Under the system clock a round is whatever one poll brought. Under the record clock, a replay, partitions would run ahead of each other by
months, and a lookup during the replay would see one partition's June beside another's March. So each round is cut at a common record time:
the earliest of the newest times read from the partitions still being waited for. A partition is waited for until it has been read to its
end, or has been silent for `IDLE_S` seconds (the idea of watermark alignment and idleness in Flink's Kafka source).
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from headrace.events.raw import RawRecords
from headrace.online import SourcePartition

__all__ = ["IDLE_S", "Aligner", "Fetch"]

IDLE_S = 5.0
"""How long a silent partition holds the others back, in seconds."""


_NONE = RawRecords.of([])


@dataclass(frozen=True, eq=False)
class Fetch:
    """Records of one source partition, part of a round.

    Attributes:
        source: The source partition.
        records: Its records in offset order, at least one.
        round: The round's number.
        ends_round: Whether it is the round's last fetch.
        epoch: The aligner's epoch when it was cut: fetches from before a seek have an older one.
        follows: The last offset of the partition's fetch before, in this epoch; None where this is its first.
    """

    source: SourcePartition
    records: RawRecords
    round: int
    ends_round: bool
    epoch: int = 0
    follows: int | None = None

    @property
    def last_offset(self) -> int:
        """The offset of its last record."""
        return int(self.records.offsets[-1])


@dataclass
class _Partition:
    held: RawRecords
    next_offset: int
    heard_at: float
    released: int | None = None


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
        return partition is None or len(partition.held) < self._max_held

    @property
    def holds(self) -> bool:
        """Whether any record is held back."""
        return any(len(partition.held) for partition in self._partitions.values())

    def cut(
        self,
        records: Mapping[SourcePartition, RawRecords],
        assigned: Iterable[SourcePartition],
        ends: Callable[[SourcePartition], int | None],
    ) -> list[Fetch]:
        """Take what was fetched and give what may be applied.

        Args:
            records: Newly fetched records.
            assigned: The partitions that may hold the others back.
            ends: A partition's end offset, or None where it is not known yet.

        Returns:
            The next round, empty where everything has to wait.
        """
        now = self._monotonic()
        for source, fetched in records.items():
            partition = self._partitions.setdefault(source, _Partition(_NONE, 0, now))
            if len(fetched):
                held = partition.held
                partition.held = RawRecords.concat([held, fetched]) if len(held) else fetched
                partition.next_offset, partition.heard_at = int(fetched.offsets[-1]) + 1, now
        until = self._horizon(assigned, ends, now) if self._by_record_time else None
        released = ((source, self._release(source, until)) for source in sorted(self._partitions))
        ready = [(source, records) for source, records in released if len(records)]
        self._round += bool(ready)
        last = len(ready) - 1
        return [self._fetch(source, records, number == last) for number, (source, records) in enumerate(ready)]

    def _fetch(self, source: SourcePartition, records: RawRecords, ends_round: bool) -> Fetch:
        partition = self._partitions[source]
        fetch = Fetch(source, records, self._round, ends_round, self.epoch, partition.released)
        partition.released = fetch.last_offset
        return fetch

    def _horizon(
        self, assigned: Iterable[SourcePartition], ends: Callable[[SourcePartition], int | None], now: float
    ) -> int | None:
        """The record time up to which every partition waited for has been read; None is no limit, -1 is wait."""
        horizon: int | None = None
        for source in assigned:
            partition = self._partitions.setdefault(source, _Partition(_NONE, 0, now))
            end = ends(source)
            read_to_end = end is not None and partition.next_offset >= end
            if read_to_end or now - partition.heard_at > IDLE_S:
                continue
            newest = int(partition.held.timestamps[-1]) if len(partition.held) else -1
            horizon = newest if horizon is None else min(horizon, newest)
        return horizon

    def _release(self, source: SourcePartition, until: int | None) -> RawRecords:
        partition = self._partitions[source]
        held = partition.held
        if until is None or not len(held) or held.timestamps[-1] <= until:
            partition.held = _NONE
            return held
        # Timestamps may step back within a partition; any cut keeps the order, and the branch above lets the rest go.
        cut = bisect_right(held.timestamps, until)
        partition.held = held[cut:]
        return held[:cut]
