"""The embedded online store: LMDB. Readers in other processes never block, and one worker writes.

    records     view, digest of the entity, topic, partition    → record, entity, applied offset
    positions   topic, partition                                → offset, newest record time, newest event time
    journal     topic, partition, last offset                   → first offset, known_at
    meta        name                                            → text (the catalogue)

LMDB's keys end at 511 bytes, and an entity's key may be longer. So a record's key has a digest of it, and the entity's
key itself stands after the record. What stands after it is cut off when a record is read.

Commits are not synced one by one: `sync` is called before Kafka offsets are committed. A machine that goes down between
two syncs may leave pages of both (LMDB overwrites pages that the tree of the last sync still uses). So a store that was
open then is refused as damaged and filled again from the log: a power cut costs a replay, never a wrong value
(`power_cut`).

A commit of many records that need not become readable at once is several transactions, the positions with the last one
(`OnlineStore.commit`). The pages that a transaction frees can be used by the one after next, so the file stays about as
large as its contents.

A file lock allows one store to write at a time. So the one writer may keep in memory what it read and wrote:
an epoch lasts until another process writes, a commit names another epoch or none, a commit fails, or records are
deleted.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import IO, Any

import lmdb
import numpy as np

from headrace.errors import StoreDamagedError, StoreMissingError, StoreUnavailableError
from headrace.events.source_partition import SourcePartition
from headrace.stores.base import (
    NOTHING,
    FoundRecords,
    JournalEntry,
    Moment,
    OnlineStore,
    Position,
    RecordKey,
    Write,
    entity_digest,
    entity_prefix,
    source_key,
)
from headrace.stores.catalogue import GENERATION
from headrace.stores.lmdb.environment import (
    REBUILD,
    Environment,
    close_environment,
    lock_folder,
    open_environment,
    writable_hint,
)
from headrace.stores.lmdb.power_cut import BOOT_ID, BootMark
from headrace.stores.refusals import refuse_any_stale, refuse_behind

__all__ = ["LmdbStore"]

_POSITION = struct.Struct("<qqq")
_ENTRY = struct.Struct("<qq")
_PARTITION = struct.Struct(">I")
_OFFSET = struct.Struct(">Q")
_TRAILER = struct.Struct("<qI")
"""The end of a value: the record's applied offset, and the length of the entity's key, which stands before it."""

_ENTITY_END = -_TRAILER.size
_KEY, _SORT_KEY, _ENTITY = attrgetter("key"), attrgetter("sort_key"), attrgetter("entity")
_PREFIX_BYTES = 24
"""Of a record's key: the view's hash and the entity's digest."""

_SORTED_BYTES = 16
"""Of a record's key: enough to sort by (the view, and half of the digest)."""


class LmdbStore(OnlineStore):
    """A store in a folder.

    Args:
        path: The folder.
        writable: True for the one worker that writes; False for lookups, in any number of processes.
        chunk_records: How many records a transaction writes at most, where a commit may be several. Records are spread
            over the tree, so each is on a page of its own.
        boot_id: The file that names the machine's current boot.

    Raises:
        StoreMissingError: There is no store there to read.
        StoreUnavailableError: The folder cannot be written.
        StoreLockedError: Another worker writes it.
        StoreDamagedError: The files are not a store, or are cut short.
    """

    def __init__(self, path: Path, *, writable: bool, chunk_records: int = 5_000, boot_id: Path = BOOT_ID) -> None:
        self.path = path
        self._lock: IO[str] | None = None
        self._chunk_records = chunk_records
        self._boot = BootMark(path, boot_id)
        if writable:
            self._lock = lock_folder(path)
        elif not (path / "data.mdb").exists():
            hint = "Run `headrace stream` (or `headrace demo`) to fill it, or check `store` in headrace.toml."
            msg = f"There is no online store at {path}."
            raise StoreMissingError(msg, hint=hint)
        try:
            if writable:
                self._boot.begin()
            self._environment: Environment | None = open_environment(path, writable=writable)
        except BaseException:
            self._release()
            raise
        self._env = self._environment.env
        self._guard = threading.RLock()
        self._epoch = object()
        self._written = -1
        self._known_positions: dict[bytes, tuple[bytes, tuple[SourcePartition, Position]]] = {}
        self._records, self._positions, self._journal, self._meta = self._environment.databases

    def epoch(self) -> object | None:
        if self._lock is None:
            return None
        with self._guard, self._begin() as txn:
            self._notice(txn.id())
            return self._epoch

    def read(self, keys: Sequence[RecordKey], keep_us: int = 0) -> list[bytes | None]:
        with self._begin() as txn:
            values = self._values(txn, list(map(_SORT_KEY, keys)))
        after = [-_TRAILER.size - len(key.entity) for key in keys]
        return [None if value is None else value[:end] for value, end in zip(values, after, strict=True)]

    def commit(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        required: Mapping[SourcePartition, int] = NOTHING,
        epoch: object | None = None,
        *,
        at_once: bool = True,
    ) -> None:
        keys = list(map(_SORT_KEY, map(_KEY, writes)))
        # Neighbours in the tree are written together, so that each chunk rewrites few pages.
        order = _in_order(keys)
        size = max(1, len(order)) if at_once else self._chunk_records
        with self._guard:
            for start in range(0, max(1, len(order)), size):
                chunk = order[start : start + size]
                with self._writing() as txn:
                    if start == 0:
                        self._refuse_behind(txn, required)
                    self._write(txn, [writes[at] for at in chunk], [keys[at] for at in chunk], epoch)
                    if start + size >= len(order):
                        self._move(txn, positions)

    def _refuse_behind(self, txn: Any, required: Mapping[SourcePartition, int]) -> None:
        for source, offset in required.items():
            found = txn.get(source_key(source), db=self._positions)
            refuse_behind(source, offset, None if found is None else _POSITION.unpack(found)[0])

    def _write(self, txn: Any, writes: list[Write], keys: list[bytes], epoch: object | None) -> None:
        """Write records whose keys ascend."""
        if not writes:
            return
        if epoch is None or epoch is not self._epoch:
            self._begin_epoch()
            found = self._values(txn, keys)
            refuse_any_stale(writes, [None if value is None else _trailer(value)[0] for value in found])
        record_keys, _, applied, records, _ = zip(*writes, strict=True)
        entities = list(map(_ENTITY, record_keys))
        trailers = map(_TRAILER.pack, applied, map(len, entities))
        txn.cursor(self._records).putmulti(
            zip(keys, map(b"".join, zip(records, entities, trailers, strict=True)), strict=True)
        )

    def _move(self, txn: Any, positions: Mapping[SourcePartition, Position]) -> None:
        """Move positions, except those that are further already."""
        for source, position in positions.items():
            key = source_key(source)
            known = txn.get(key, db=self._positions)
            if known is None or _POSITION.unpack(known)[0] <= position.offset:
                packed = _POSITION.pack(position.offset, position.record_ts_us, position.event_ts_us)
                txn.put(key, packed, db=self._positions)

    def _values(self, txn: Any, keys: list[bytes]) -> list[bytes | None]:
        """The values at some keys of the records' tree, read in the tree's order."""
        found: list[bytes | None] = [None] * len(keys)
        for number in _in_order(keys):
            found[number] = txn.get(keys[number], db=self._records)
        return found

    def lookup(self, wanted: Mapping[str, Sequence[bytes]]) -> Moment:
        with self._begin() as txn:
            cursor = txn.cursor(self._records)
            records = {view: _found(cursor, bytes.fromhex(view), entities) for view, entities in wanted.items()}
            positions = dict([self._position(key, value) for key, value in txn.cursor(self._positions)])
            generation = txn.get(GENERATION.encode(), b"", db=self._meta)
        return Moment(records, positions, generation.decode())

    def _position(self, key: bytes, value: bytes) -> tuple[SourcePartition, Position]:
        """A position as it is read, made once for as long as it stays the same."""
        known = self._known_positions.get(key)
        if known is None or known[0] != value:
            known = value, (_source_partition(key), Position(*_POSITION.unpack(value)))
            self._known_positions[key] = known
        return known[1]

    def add_journal(self, entries: Iterable[JournalEntry]) -> None:
        with self._writing() as txn:
            for entry in entries:
                key = source_key(entry.source) + _OFFSET.pack(entry.last)
                txn.put(key, _ENTRY.pack(entry.first, entry.known_at_us), db=self._journal)

    def journal(self) -> list[JournalEntry]:
        with self._begin() as txn:
            return [_journal_entry(key, value) for key, value in txn.cursor(self._journal)]

    def trim_journal(self, through: Mapping[SourcePartition, int]) -> None:
        with self._writing() as txn:
            cursor = txn.cursor(self._journal)
            for key, value in list(cursor):
                entry = _journal_entry(key, value)
                if entry.last <= through.get(entry.source, -1):
                    txn.delete(key, db=self._journal)

    def meta(self) -> dict[str, str]:
        with self._begin() as txn:
            return {key.decode(): value.decode() for key, value in txn.cursor(self._meta)}

    def set_meta(self, facts: Mapping[str, str | None]) -> None:
        with self._writing() as txn:
            for key, value in facts.items():
                if value is None:
                    txn.delete(key.encode(), db=self._meta)
                else:
                    txn.put(key.encode(), value.encode(), db=self._meta)

    def entities(self, view: str) -> list[bytes]:
        found: dict[bytes, None] = {}
        with self._begin() as txn:
            cursor = txn.cursor(self._records)
            prefix = bytes.fromhex(view)
            if cursor.set_range(prefix):
                for key, value in cursor:
                    if not key.startswith(prefix):
                        break
                    end = len(value) - _TRAILER.size
                    found[value[end - _trailer(value)[1] : end]] = None
        return list(found)

    def delete(self, view: str, entities: Iterable[bytes], source: SourcePartition | None = None) -> int:
        deleted = 0
        with self._writing() as txn:
            cursor = txn.cursor(self._records)
            for prefix in {
                entity_prefix(view, entity) if source is None else RecordKey(view, entity, source).sort_key
                for entity in entities
            }:
                while cursor.set_range(prefix) and cursor.key().startswith(prefix):
                    cursor.delete()
                    deleted += 1
            if deleted:
                self._begin_epoch()
        return deleted

    def clear(self) -> None:
        with self._writing() as txn:
            for database in (self._records, self._positions, self._journal, self._meta):
                txn.drop(database, delete=False)
            self._begin_epoch()

    def sync(self) -> None:
        self._to_disk()

    def _to_disk(self) -> None:
        try:
            self._env.sync(True)
        except lmdb.Error as error:
            msg = f"The store at {self.path} cannot be synced: {error}."
            raise StoreUnavailableError(msg, hint=writable_hint()) from error

    def close(self) -> None:
        try:
            if self._environment is not None and self._lock is not None:
                self._to_disk()
                self._boot.end()
        finally:
            if self._environment is not None:
                close_environment(self.path, self._environment)
                self._environment = None
            self._release()

    def _release(self) -> None:
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _notice(self, state: int) -> None:
        """Begin another epoch where another process has written in spite of the lock.

        Args:
            state: The number of the last transaction that wrote.
        """
        if state > self._written:
            self._written = state
            self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._epoch = object()

    @contextmanager
    def _writing(self) -> Iterator[Any]:
        with self._guard:
            try:
                with self._begin(write=True) as txn:
                    number = txn.id()
                    self._notice(number - 1)
                    yield txn
            except BaseException:
                self._begin_epoch()
                raise
            # LMDB gives the number of a transaction that wrote nothing to the next transaction, of any process.
            self._written = min(number, self._env.info()["last_txnid"])

    @contextmanager
    def _begin(self, *, write: bool = False) -> Iterator[Any]:
        try:
            with self._env.begin(write=write) as txn:
                yield txn
        except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError) as error:
            msg = f"The store at {self.path} is damaged: {error}."
            raise StoreDamagedError(msg, hint=REBUILD) from error
        except lmdb.Error as error:
            msg = f"The store at {self.path} failed: {error}."
            raise StoreUnavailableError(msg, hint=writable_hint()) from error


_digest = lru_cache(maxsize=1 << 15)(entity_digest)
"""An entity's digest, cached: computing it takes longer than the lookup in the tree."""

_SOURCES: dict[bytes, SourcePartition] = {}
"""Source partitions by the last bytes of records' keys, as far as lookups have met them."""


def _found(cursor: Any, view: bytes, entities: Sequence[bytes]) -> FoundRecords:
    """Each entity's records, which are neighbours, in the order of their source partitions."""
    found = rows, sources, records = FoundRecords([], [], [])
    seek, key_of, value_of, advance, known = cursor.set_range, cursor.key, cursor.value, cursor.next, _SOURCES.get
    for row, entity in enumerate(entities):
        prefix = view + _digest(entity)
        if not seek(prefix):
            continue
        end = _ENTITY_END - len(entity)
        source = known(key_of().removeprefix(prefix))
        if source is not None:  # most entities have one record, of a partition that is known
            rows.append(row)
            sources.append(source)
            records.append(value_of()[:end])
            advance()
        while (key := key_of()).startswith(prefix):
            rows.append(row)
            sources.append(_source_of(key[_PREFIX_BYTES:]))
            records.append(value_of()[:end])
            advance()
    return found


def _source_of(key: bytes) -> SourcePartition:
    return _SOURCES.get(key) or _SOURCES.setdefault(key, _source_partition(key))


def _trailer(value: bytes) -> tuple[int, int]:
    """The applied offset of a value's record, and the length of its entity's key."""
    applied, entity_bytes = _TRAILER.unpack_from(value, len(value) - _TRAILER.size)
    return applied, entity_bytes


def _in_order(keys: Sequence[bytes]) -> list[int]:
    """The places of keys in the tree's order, or nearly: neighbours are on the same page."""
    if len(keys) < 2:
        return list(range(len(keys)))
    words = np.array(keys, f"S{_SORTED_BYTES}").view(">u8").reshape(len(keys), -1)
    return np.lexsort((words[:, 1], words[:, 0])).tolist()  # type: ignore[no-any-return]


def _source_partition(key: bytes) -> SourcePartition:
    topic, _, partition = key.partition(b"\0")
    return SourcePartition(topic.decode(), int(_PARTITION.unpack(partition)[0]))


def _journal_entry(key: bytes, value: bytes) -> JournalEntry:
    first, known_at_us = _ENTRY.unpack(value)
    last = int(_OFFSET.unpack(key[-_OFFSET.size :])[0])
    return JournalEntry(_source_partition(key[: -_OFFSET.size]), first, last, known_at_us)
