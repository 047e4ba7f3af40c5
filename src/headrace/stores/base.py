"""The online store's port: a small interface, and a public contract suite for adapters (`headrace.testing.stores`).

A store keeps records: opaque bytes, one per view, entity and source partition. A lookup reads the records that an
entity has in all source partitions; a worker replaces those of its own partitions. The store also keeps how far each
source partition was applied, the journal of `known_at` that the log does not have yet, and its catalogue.
"""

from __future__ import annotations

import hashlib
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import NamedTuple, Self

from headrace.events.source_partition import SourcePartition
from headrace.stores.catalogue import Catalogue, CatalogueChange, Readiness

__all__ = [
    "NOTHING",
    "FoundRecords",
    "JournalEntry",
    "Moment",
    "OnlineStore",
    "Position",
    "RecordKey",
    "Write",
    "entity_digest",
    "entity_prefix",
    "source_key",
]

_PARTITION = struct.Struct(">I")
_DIGEST_BYTES = 16


def entity_digest(entity: bytes) -> bytes:
    """16 bytes of BLAKE2b, for stores whose keys must be short."""
    return hashlib.blake2b(entity, digest_size=_DIGEST_BYTES).digest()


def entity_prefix(view: str, entity: bytes) -> bytes:
    """The first bytes of the sort keys of all records of an entity; see `RecordKey.sort_key`."""
    return bytes.fromhex(view) + entity_digest(entity)


def source_key(source: SourcePartition) -> bytes:
    """A source partition as bytes that sort by topic and then by partition."""
    return source.topic.encode() + b"\0" + _PARTITION.pack(source.partition)


class _Key(NamedTuple):
    view: str
    entity: bytes
    source: SourcePartition


class RecordKey(_Key):
    """The key of a record.

    Attributes:
        view: The content hash of the view's version, 16 hex digits.
        entity: The entity's key (`headrace.records.entity_keys`).
        source: The source partition whose events the record holds.
    """

    @cached_property
    def sort_key(self) -> bytes:
        """The key in a store that keeps its keys in order: by view, entity (its digest) and source partition."""
        return entity_prefix(self.view, self.entity) + source_key(self.source)


class Write(NamedTuple):
    """A conditional write of one record.

    Attributes:
        key: The record's key.
        expected: The applied offset of the record that was read; None where there was none. The store refuses the
            write if its record has another one.
        applied: The applied offset of the new record. The store keeps it beside the record.
        record: The new record. A store never looks inside.
        expires_us: From when on the store may remove the record by itself, in µs; None is never. Of the versions of a
            view, either all writes have a time or none has.
    """

    key: RecordKey
    expected: int | None
    applied: int
    record: bytes
    expires_us: int | None = None


@dataclass(frozen=True)
class Position:
    """How far a source partition has been applied.

    Attributes:
        offset: The last offset applied.
        record_ts_us: The newest Kafka timestamp among the records read.
        event_ts_us: The newest event time among the events applied.
    """

    offset: int
    record_ts_us: int
    event_ts_us: int


class JournalEntry(NamedTuple):
    """When the events of one partition's fetch became readable, kept until the log has them.

    Attributes:
        source: The source partition.
        first: The first offset of the fetch.
        last: Its last offset.
        known_at_us: When the online write was acknowledged.
    """

    source: SourcePartition
    first: int
    last: int
    known_at_us: int


class FoundRecords(NamedTuple):
    """The records that a lookup finds in one view, in the order of the entities asked for.

    Those of one entity are neighbours and ascend by source partition. These are three flat lists, not a list per
    entity, because a lookup takes a tenth longer where it must make that.

    Attributes:
        rows: The place of each record's entity among those asked for, ascending.
        sources: Each record's source partition.
        records: The records.
    """

    rows: list[int]
    sources: list[SourcePartition]
    records: list[bytes]

    @classmethod
    def of(cls, by_entity: Iterable[Iterable[tuple[SourcePartition, bytes]]]) -> Self:
        """From each entity's records, as (source partition, record), ascending by source partition."""
        found = cls([], [], [])
        for row, records in enumerate(by_entity):
            for source, record in records:
                found.rows.append(row)
                found.sources.append(source)
                found.records.append(record)
        return found


@dataclass(frozen=True)
class Moment:
    """What a store had at one moment.

    Attributes:
        records: By view, the records of the entities asked for.
        positions: How far each source partition had been applied.
        generation: The fact `catalogue.GENERATION`: where it changed since, other versions of views may be live.
    """

    records: dict[str, FoundRecords]
    positions: dict[SourcePartition, Position]
    generation: str = ""


NOTHING: Mapping[SourcePartition, int] = {}


class OnlineStore(ABC):
    """Where the records live.

    Attributes:
        is_shared: Whether several workers may write the store at the same time. Where they may not, a store that is
            open to write locks the others out.
        removes_expired: Whether the store removes records whose `expires_us` has passed.
    """

    is_shared: bool = False
    removes_expired: bool = False

    def epoch(self) -> object | None:
        """A value that stays the same as long as records change only through commits that name it.

        A writer that keeps in memory what it read and committed, and names the epoch in its commits, need not read
        again meanwhile. There can be one such writer: a commit that names another epoch, or none, begins a new epoch.
        So do a deletion and a commit that fails. None where the store cannot detect other writers.
        """
        return None

    @abstractmethod
    def read(self, keys: Sequence[RecordKey], keep_us: int = 0) -> list[bytes | None]:
        """The records of `keys`, None where there is none.

        Args:
            keys: The keys.
            keep_us: Records that would expire sooner are kept for this long from now, in µs, so that they are still
                there when the caller writes them.
        """

    @abstractmethod
    def commit(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        required: Mapping[SourcePartition, int] = NOTHING,
        epoch: object | None = None,
        *,
        at_once: bool = True,
    ) -> None:
        """Write records, each only if it is still the one that was read, and then the positions.

        A position only moves forward: one that is behind the store's is ignored. Replays cause this. So does a worker
        that lost its partition but had nothing to write.

        Args:
            writes: The records.
            positions: How far source partitions have been read with them.
            required: Per source partition, the offset that the store must have applied at least: what the worker
                committed before.
            epoch: What `epoch()` gave before the records were read. A store that is still in it need not compare the
                applied offsets. None has it compare.
            at_once: All becomes readable at one moment, or nothing does. Otherwise a store may write many records in
                several chunks, the positions with the last one. Where a later chunk is refused, the chunks before it
                stay: each record says which offset it has applied, so a replay skips what they hold.

        Raises:
            StaleWriteError: A record changed since it was read: another worker owns the partition now.
            StoreBehindError: The store has not applied what is required: it has lost writes. No position moves.
            StoreUnavailableError: The store is away. What was written before stays; writing again changes nothing.
        """

    @abstractmethod
    def lookup(self, wanted: Mapping[str, Sequence[bytes]]) -> Moment:
        """The records that entities have in all source partitions, by view: one moment, and at most one round trip.

        Args:
            wanted: By the content hash of a view's version, the entities' keys.

        Returns:
            The records, in the order asked for, and the positions of that moment.
        """

    def positions(self) -> dict[SourcePartition, Position]:
        """How far each source partition has been applied."""
        return self.lookup({}).positions

    @abstractmethod
    def add_journal(self, entries: Iterable[JournalEntry]) -> None:
        """Note when fetches became readable."""

    @abstractmethod
    def journal(self) -> list[JournalEntry]:
        """All notes, ascending by source partition and offset."""

    @abstractmethod
    def trim_journal(self, through: Mapping[SourcePartition, int]) -> None:
        """Remove the notes whose last offset is at or below the offset given: the log has them."""

    def catalogue(self) -> Catalogue:
        """What the store says of itself: which versions it serves, under which clock, made from which logs."""
        return Catalogue.of(self.meta())

    def change(self, change: CatalogueChange) -> None:
        """Write changes of the catalogue, all at one moment."""
        if change.written:
            self.set_meta(change.written)

    def end_filling(self) -> None:
        """Note that the store holds everything that the log does; nothing changes where that was so already."""
        if self.catalogue().readiness is Readiness.FILLING:
            self.change(CatalogueChange().new_generation())

    @abstractmethod
    def meta(self) -> dict[str, str]:
        """The texts that make the catalogue, by name."""

    @abstractmethod
    def set_meta(self, facts: Mapping[str, str | None]) -> None:
        """Set some of these texts, all at one moment; None removes one."""

    @abstractmethod
    def entities(self, view: str) -> list[bytes]:
        """The keys of all entities that have a record, each once, in no particular order.

        Args:
            view: The content hash of the view's version.
        """

    @abstractmethod
    def delete(self, view: str, entities: Iterable[bytes], source: SourcePartition | None = None) -> int:
        """Remove the records of entities; a write that was made from one of them is refused afterwards.

        Args:
            view: The content hash of the view's version.
            entities: The entities' keys; those without a record are ignored.
            source: The source partition whose records are meant; None is all.

        Returns:
            How many records there were.
        """

    @abstractmethod
    def clear(self) -> None:
        """Remove every record, position, note and fact, of this and of older formats."""

    @abstractmethod
    def sync(self) -> None:
        """Return once everything committed will survive a power cut."""

    @abstractmethod
    def close(self) -> None:
        """Close the store."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
