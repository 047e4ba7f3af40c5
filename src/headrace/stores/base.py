"""The online store: a small interface that every adapter keeps, and one contract suite (`tests/stores/test_contract.py`) that checks it.

A store holds records, opaque bytes (see `codec`), one per view, entity and source partition. A lookup reads all partitions' records of an
entity; a worker replaces those of its own partitions. Beside the records it keeps, per source partition, how far it got, and the journal of
`known_at` that the log does not hold yet.
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
    "JournalEntry",
    "Moment",
    "OnlineStore",
    "Position",
    "RecordKey",
    "Write",
    "entity_digest",
    "entity_place",
]

_PARTITION = struct.Struct(">I")
_DIGEST_BYTES = 16


def entity_digest(entity: bytes) -> bytes:
    """What stands for an entity's key where keys have to be short: 16 bytes of BLAKE2b."""
    return hashlib.blake2b(entity, digest_size=_DIGEST_BYTES).digest()


def entity_place(view: str, entity: bytes) -> bytes:
    """What the places of all of an entity's records begin with; see `RecordKey.place`."""
    return bytes.fromhex(view) + entity_digest(entity)


class _Key(NamedTuple):
    view: str
    entity: bytes
    partition: int


class RecordKey(_Key):
    """The key of a record.

    Attributes:
        view: The view's content hash, 16 hex digits.
        entity: The entity's key, as `codec.entity_key` writes it.
        partition: The source partition.
    """

    @cached_property
    def place(self) -> bytes:
        """Where it stands in a store that keeps its keys in order: by view, entity (its digest) and partition; made once."""
        return entity_place(self.view, self.entity) + _PARTITION.pack(self.partition)


class Write(NamedTuple):
    """A conditional write of one record.

    Attributes:
        key: The record's key.
        expected: The applied offset of the record that was read, or None where there was none. If the store holds another, it refuses.
        record: The new record.
    """

    key: RecordKey
    expected: int | None
    record: bytes


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


@dataclass(frozen=True)
class Moment:
    """What the store held at one moment.

    Attributes:
        records: By view, for each entity asked for its records as (source partition, record), ascending by partition.
        positions: How far each source partition had been applied.
        generation: The fact `catalogue.GENERATION`: where it changed since, other versions of views may be live.
    """

    records: dict[str, list[list[tuple[int, bytes]]]]
    positions: dict[SourcePartition, Position]
    generation: str = ""


NOTHING: Mapping[SourcePartition, int] = {}


class OnlineStore(ABC):
    """Where the records live."""

    remembers_us: int | None = None
    """Up to how long before now, in µs of the system clock, the store still has every record that a window reached; None is for good."""

    def epoch(self) -> object | None:
        """What stays the same for as long as records change through commits of this epoch alone; None where that cannot be told.

        Whoever has kept what it read and what it committed, and says the epoch when it commits, need not read it again meanwhile. There can be one
        such: a commit that says another epoch, or none, begins a new one, as do a deletion and a commit that fails.
        """
        return None

    @abstractmethod
    def read(self, keys: Sequence[RecordKey]) -> list[bytes | None]:
        """The records of `keys`, None where there is none."""

    @abstractmethod
    def commit(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        held: Mapping[SourcePartition, int] = NOTHING,
        epoch: object | None = None,
    ) -> None:
        """Write records, each only if it is still the one that was read, and then the positions.

        A store may write many records in several portions, the positions with the last. Where a later portion is refused, what was written
        before stays: each record says which offset it has applied, so a replay passes over it.

        A position only ever moves forward: one that is behind what the store holds is passed over. (A replay brings those, and so does a
        worker that has lost its partition, where a round of its has nothing to write that could be refused.)

        Args:
            writes: The records.
            positions: How far source partitions have been read with them.
            held: Per source partition, the offset that the store must have come to already: what the worker has committed before.
            epoch: What `epoch()` gave before the records were read: a store that is still in it need not look whether they are what was read.
                None has it look.

        Raises:
            StaleWriteError: A record changed since it was read: another worker owns the partition now.
            StoreBehindError: The store has not come so far: it has lost writes. No position moves.
            StoreUnavailableError: The store is away; what was written before stays, and writing again changes nothing.
        """

    @abstractmethod
    def lookup(self, wanted: Mapping[str, Sequence[bytes]]) -> Moment:
        """All source partitions' records of entities, by view: one moment, and one round trip where there are any.

        Args:
            wanted: By view's content hash, the entities' keys.

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
        """Forget the notes whose last offset is at or below the offset given: the log has them."""

    def catalogue(self) -> Catalogue:
        """What the store says of itself: which versions it serves, under which clock, made from which logs."""
        return Catalogue.of(self.meta())

    def change(self, change: CatalogueChange) -> None:
        """Write changes of the catalogue, all at one moment."""
        if change.facts:
            self.set_meta(change.facts)

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
            view: The view's content hash.
        """

    @abstractmethod
    def delete(self, view: str, entities: Iterable[bytes], partition: int | None = None) -> int:
        """Forget the records of entities; a write that was made from one of them is refused afterwards.

        Args:
            view: The view's content hash.
            entities: The entities' keys; those without a record are passed over.
            partition: The source partition whose records are meant; None is all.

        Returns:
            How many records there were.
        """

    @abstractmethod
    def clear(self) -> None:
        """Forget every record, position, note and fact: a rebuild starts from nothing."""

    @abstractmethod
    def sync(self) -> None:
        """Return once everything committed will survive a power cut."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the store."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
