"""The online store in this process's memory, for tests of what is built on a store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from headrace.events.source_partition import SourcePartition
from headrace.stores.base import NOTHING, FoundRecords, JournalEntry, Moment, OnlineStore, Position, RecordKey, Write
from headrace.stores.catalogue import GENERATION
from headrace.stores.refusals import refuse_any_stale, refuse_behind

__all__ = ["MemoryStore"]


class MemoryStore(OnlineStore):
    """A store that ends with this process."""

    def __init__(self) -> None:
        self._records: dict[tuple[str, bytes], dict[SourcePartition, tuple[int, bytes]]] = {}
        self._positions: dict[SourcePartition, Position] = {}
        self._journal: dict[tuple[SourcePartition, int], JournalEntry] = {}
        self._meta: dict[str, str] = {}

    def read(self, keys: Sequence[RecordKey], keep_us: int = 0) -> list[bytes | None]:
        return [None if found is None else found[1] for found in map(self._found, keys)]

    def _found(self, key: RecordKey) -> tuple[int, bytes] | None:
        """A record, and its applied offset before it."""
        return self._records.get((key.view, key.entity), {}).get(key.source)

    def commit(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        required: Mapping[SourcePartition, int] = NOTHING,
        epoch: object | None = None,
        *,
        at_once: bool = True,
    ) -> None:
        for source, offset in required.items():
            position = self._positions.get(source)
            refuse_behind(source, offset, None if position is None else position.offset)
        there = [self._found(write.key) for write in writes]
        refuse_any_stale(writes, [None if found is None else found[0] for found in there])
        for write in writes:
            of_entity = self._records.setdefault((write.key.view, write.key.entity), {})
            of_entity[write.key.source] = write.applied, write.record
        for source, position in positions.items():
            if source not in self._positions or self._positions[source].offset <= position.offset:
                self._positions[source] = position

    def lookup(self, wanted: Mapping[str, Sequence[bytes]]) -> Moment:
        records = {
            view: FoundRecords.of(
                [(source, record) for source, (_, record) in sorted(self._records.get((view, entity), {}).items())]
                for entity in entities
            )
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
        changed = {**self._meta, **facts}
        self._meta = {name: value for name, value in changed.items() if value is not None}

    def entities(self, view: str) -> list[bytes]:
        return [entity for of, entity in self._records if of == view]

    def delete(self, view: str, entities: Iterable[bytes], source: SourcePartition | None = None) -> int:
        keys = [(view, entity) for entity in set(entities)]
        if source is None:
            return sum(len(self._records.pop(key, {})) for key in keys)
        deleted = sum(self._records.get(key, {}).pop(source, None) is not None for key in keys)
        for key in keys:
            if not self._records.get(key, True):
                del self._records[key]
        return deleted

    def clear(self) -> None:
        for kept in (self._records, self._positions, self._journal, self._meta):
            kept.clear()

    def sync(self) -> None:
        """There is no disk to wait for."""

    def close(self) -> None:
        """There is nothing to close."""
