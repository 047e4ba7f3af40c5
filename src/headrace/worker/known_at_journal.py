"""Under the system clock: when each offset became readable online, until the log holds it.

The time is taken after the online write is acknowledged, and journalled beside the records, so that a replay after a
crash writes the same `known_at` to the log that the first run noted.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from headrace.events.columns import IntArray
from headrace.events.event_batch import EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.stores import JournalEntry

__all__ = ["KnownAt"]


class KnownAt:
    """The journal's entries, in memory. One thread adds entries, another drops them.

    Args:
        journal: The entries that an earlier run left.
    """

    def __init__(self, journal: Iterable[JournalEntry]) -> None:
        self._entries: dict[SourcePartition, list[JournalEntry]] = {}
        self._lock = threading.Lock()
        for entry in journal:
            self._entries.setdefault(entry.source, []).append(entry)

    def note(self, ranges: Sequence[tuple[SourcePartition, int, int]], known_at_us: int) -> list[JournalEntry]:
        """The entries to journal for these offsets, without those noted before. Then call `accept`.

        Args:
            ranges: Source partition, first and last offset.
            known_at_us: Since when they can be read, in µs.

        Returns:
            The entries that are new.
        """
        added: list[JournalEntry] = []
        with self._lock:
            for source, first, last in ranges:
                entries = self._entries.get(source)
                noted_through = entries[-1].last if entries else -1
                if last > noted_through:
                    added.append(JournalEntry(source, max(first, noted_through + 1), last, known_at_us))
        return added

    def accept(self, entries: Iterable[JournalEntry]) -> None:
        """Take over entries that have been journalled.

        Args:
            entries: What `note` gave.
        """
        with self._lock:
            for entry in entries:
                self._entries.setdefault(entry.source, []).append(entry)

    def of(self, batch: EventBatch) -> IntArray:
        """When each event became readable; without an entry (the log has it already), the batch's own time."""
        known = batch.known_us.copy()
        for partition in np.unique(batch.partition).tolist():
            for entry in self._entries.get(SourcePartition(batch.source.topic, partition), []):
                known[(batch.partition == partition) & (batch.offset >= entry.first) & (batch.offset <= entry.last)] = (
                    entry.known_at_us
                )
        return known

    def forget(self, through: Mapping[SourcePartition, int]) -> None:
        """Drop entries that the log has, except the newest of each partition: it says how far the notes go."""
        with self._lock:
            for source, offset in through.items():
                entries = self._entries.get(source, [])
                self._entries[source] = [entry for entry in entries[:-1] if entry.last > offset] + entries[-1:]
