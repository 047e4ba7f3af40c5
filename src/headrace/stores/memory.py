"""The in-memory twin of the online store, for unit tests of what stands above it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence

from headrace.errors import StaleWriteError, StoreBehindError
from headrace.events.source_partition import SourcePartition
from headrace.records.layout import APPLIED, applied_offset
from headrace.stores.base import NOTHING, JournalEntry, Moment, OnlineStore, Position, RecordKey, Write
from headrace.stores.catalogue import GENERATION

__all__ = ["MemoryStore", "refuse_any_stale", "refuse_behind", "refuse_stale"]


class MemoryStore(OnlineStore):
    """A store in this process, gone with it."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, bytes], dict[int, bytes]] = {}
        self._positions: dict[SourcePartition, Position] = {}
        self._journal: dict[tuple[SourcePartition, int], JournalEntry] = {}
        self._meta: dict[str, str] = {}

    def read(self, keys: Sequence[RecordKey]) -> list[bytes | None]:
        return [self._records.get((key.view, key.entity), {}).get(key.partition) for key in keys]

    def commit(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        held: Mapping[SourcePartition, int] = NOTHING,
        epoch: object | None = None,
    ) -> None:
        for source, offset in held.items():
            found = self._positions.get(source)
            refuse_behind(source, offset, None if found is None else found.offset)
        refuse_any_stale(writes, self.read([write.key for write in writes]))
        for write in writes:
            self._records.setdefault((write.key.view, write.key.entity), {})[write.key.partition] = write.record
        for source, position in positions.items():
            if source not in self._positions or self._positions[source].offset <= position.offset:
                self._positions[source] = position

    def lookup(self, wanted: Mapping[str, Sequence[bytes]]) -> Moment:
        records = {
            view: [sorted(self._records.get((view, entity), {}).items()) for entity in entities]
            for view, entities in wanted.items()
        }
        return Moment(records, dict(self._positions), self._meta.get(GENERATION, ""))

    def add_journal(self, entries: Iterable[JournalEntry]) -> None:
        self._journal.update({(entry.source, entry.last): entry for entry in entries})

    def journal(self) -> list[JournalEntry]:
        return [self._journal[key] for key in sorted(self._journal)]

    def trim_journal(self, through: Mapping[SourcePartition, int]) -> None:
        self._journal = {key: entry for key, entry in self._journal.items() if entry.last > through.get(key[0], -1)}

    def meta(self) -> dict[str, str]:
        return dict(self._meta)

    def set_meta(self, facts: Mapping[str, str | None]) -> None:
        known = {**self._meta, **facts}
        self._meta = {name: value for name, value in known.items() if value is not None}

    def entities(self, view: str) -> list[bytes]:
        return [entity for of, entity in self._records if of == view]

    def delete(self, view: str, entities: Iterable[bytes], partition: int | None = None) -> int:
        keys = [(view, entity) for entity in set(entities)]
        if partition is None:
            return sum(len(self._records.pop(key, {})) for key in keys)
        deleted = sum(self._records.get(key, {}).pop(partition, None) is not None for key in keys)
        for key in keys:
            if not self._records.get(key, True):
                del self._records[key]
        return deleted

    def clear(self) -> None:
        for held in (self._records, self._positions, self._journal, self._meta):
            held.clear()

    def sync(self) -> None:
        """There is no disk to wait for."""

    def close(self) -> None:
        """There is nothing to let go of."""


def refuse_behind(source: SourcePartition, offset: int, found: int | None) -> None:
    """Raise StoreBehindError unless the position found has come to an offset."""
    if found is None or found < offset:
        came = "nothing" if found is None else f"offset {found}"
        msg = f"The online store has lost writes: {source.topic}-{source.partition} had been applied up to offset {offset}, and it holds {came}."
        hint = (
            "Start the worker again: it applies what is missing from the log. (Redis: see appendonly and appendfsync.)"
        )
        raise StoreBehindError(msg, hint=hint)


def refuse_any_stale(writes: Sequence[Write], records: Sequence[bytes | None]) -> None:
    """Raise StaleWriteError unless each write was made from the record given for it; by comparing bytes, as all are fresh but once in a blue moon."""
    if not _are_fresh([write.expected for write in writes], records):
        for write, record in zip(writes, records, strict=True):
            refuse_stale(write, record)


def _are_fresh(expected: list[int | None], records: Sequence[bytes | None]) -> bool:
    if None in expected:
        if [number is None for number in expected] != [record is None for record in records]:
            return False
        expected = [number for number in expected if number is not None]
    held = b"".join([record[APPLIED] for record in records if record is not None])
    return held == struct.pack(f"<{len(expected)}q", *expected)


def refuse_stale(write: Write, record: bytes | None) -> None:
    """Raise StaleWriteError unless `record` is the one that the write was made from."""
    found = None if record is None else applied_offset(record)
    if found != write.expected:
        msg = (
            f"The record of {write.key.entity.decode('utf-8', 'replace')} for source partition {write.key.partition} "
            f"has applied offset {found}, not {write.expected}: another worker owns the partition. The write was refused."
        )
        raise StaleWriteError(msg)
