"""The embedded online store: LMDB. Readers in other processes never block, and one worker writes.

Commits are not synced one by one: `sync` is called before Kafka offsets are committed. A machine that goes down between two syncs may leave pages
of both (LMDB writes pages anew that the tree of the last sync still holds), so a store that was open then is refused as damaged, and filled anew
from the log: a power cut costs a replay, never a wrong value (`lmdb_boot`).

Under the system clock a commit of many records is several transactions, the positions with the last (see `OnlineStore.commit`): the pages that a
transaction gives up can be written anew by the one after next, so the file stays about as large as what is in it. Under the record clock, where
what is known at a time must become readable together, a commit is one.

As one store writes at a time (a lock sees to it), whoever writes through that one may keep what it read and wrote: an epoch lasts until somebody
has written past the lock or by no or another epoch, a commit has failed, or records were deleted. A record's key in the tree is its place
(`RecordKey.place`): LMDB's keys end at 511 bytes, and an entity's key may be longer; the record carries it and is checked when it is read.
"""

from __future__ import annotations

import fcntl
import os
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

from headrace.config import Clock
from headrace.errors import StoreDamagedError, StoreLockedError, StoreUnavailableError
from headrace.events.source_partition import SourcePartition
from headrace.records.layout import record_entity
from headrace.stores.base import (
    NOTHING,
    JournalEntry,
    Moment,
    OnlineStore,
    Position,
    RecordKey,
    Write,
    entity_digest,
    entity_place,
)
from headrace.stores.catalogue import GENERATION
from headrace.stores.lmdb.environment import REBUILD, Environment, close_environment, open_environment, writable_hint
from headrace.stores.lmdb.power_cut import BootMark
from headrace.stores.memory import refuse_any_stale, refuse_behind

__all__ = ["LmdbStore"]

_POSITION = struct.Struct("<qqq")
_ENTRY = struct.Struct("<qq")
_PARTITION = struct.Struct(">I")
_OFFSET = struct.Struct(">Q")
_KEY, _PLACE, _RECORD = attrgetter("key"), attrgetter("place"), attrgetter("record")
_CLOCK, _SYSTEM = b"clock", str(Clock.SYSTEM).encode()
_PORTION = 5_000
"""Under the system clock, how many records a transaction writes at most: with keys at random each is on a page of its own."""
_PREFIX_BYTES = 24
"""Of a record's key: the view's hash and the entity's digest."""

_SORTED_BY = 16
"""Bytes of a record's key that say where it stands in the tree: the view, and as much of the digest."""


class LmdbStore(OnlineStore):
    """A store in a folder.

    Args:
        path: The folder.
        writable: True for the one worker that writes; False for lookups, in any number of processes.

    Raises:
        StoreUnavailableError: There is no store there (to read), or the folder cannot be written.
        StoreLockedError: Another worker writes it.
        StoreDamagedError: The files are not a store, or are cut short.
    """

    def __init__(self, path: Path, *, writable: bool) -> None:
        self.path = path
        self._lock: IO[str] | None = None
        self._boot = BootMark(path)
        if writable:
            self._lock = _lock(path)
        elif not (path / "data.mdb").exists():
            hint = "Run `headrace stream` (or `headrace demo`) to fill it, or check `store` in headrace.toml."
            msg = f"There is no online store at {path}."
            raise StoreUnavailableError(msg, hint=hint)
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

    def read(self, keys: Sequence[RecordKey]) -> list[bytes | None]:
        with self._begin() as txn:
            return self._read(txn, list(map(_PLACE, keys)))

    def commit(
        self,
        writes: Sequence[Write],
        positions: Mapping[SourcePartition, Position],
        held: Mapping[SourcePartition, int] = NOTHING,
        epoch: object | None = None,
    ) -> None:
        at = list(map(_PLACE, map(_KEY, writes)))
        # Neighbours in the tree are written together, so that a portion rewrites pages of its own.
        order = _in_order(at)
        size = self._portion() or max(1, len(order))
        with self._guard:
            for start in range(0, max(1, len(order)), size):
                portion = order[start : start + size]
                with self._writing() as txn:
                    if start == 0:
                        self._refuse_behind(txn, held)
                    self._write(txn, writes, at, portion, epoch)
                    if start + size >= len(order):
                        self._move(txn, positions)

    def _portion(self) -> int | None:
        """How many records a transaction writes at most; None where a commit must be one."""
        with self._begin() as txn:
            return _PORTION if txn.get(_CLOCK, db=self._meta) == _SYSTEM else None

    def _refuse_behind(self, txn: Any, held: Mapping[SourcePartition, int]) -> None:
        for source, offset in held.items():
            found = txn.get(_source_key(source), db=self._positions)
            refuse_behind(source, offset, None if found is None else _POSITION.unpack(found)[0])

    def _write(
        self, txn: Any, writes: Sequence[Write], at: list[bytes], portion: list[int], epoch: object | None
    ) -> None:
        """Write some of the writes, whose places ascend."""
        if portion and (epoch is None or epoch is not self._epoch):
            self._begin_epoch()
            refuse_any_stale(
                [writes[number] for number in portion], self._read(txn, [at[number] for number in portion])
            )
        records = map(_RECORD, map(writes.__getitem__, portion))
        txn.cursor(self._records).putmulti(zip(map(at.__getitem__, portion), records, strict=True))

    def _move(self, txn: Any, positions: Mapping[SourcePartition, Position]) -> None:
        """Move positions, but for those that are further already."""
        for source, position in positions.items():
            key = _source_key(source)
            known = txn.get(key, db=self._positions)
            if known is None or _POSITION.unpack(known)[0] <= position.offset:
                packed = _POSITION.pack(position.offset, position.record_ts_us, position.event_ts_us)
                txn.put(key, packed, db=self._positions)

    def _read(self, txn: Any, at: list[bytes]) -> list[bytes | None]:
        """The records at some places of the tree."""
        found: list[bytes | None] = [None] * len(at)
        for number in _in_order(at):
            found[number] = txn.get(at[number], db=self._records)
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
                key = _source_key(entry.source) + _OFFSET.pack(entry.last)
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
                for key, record in cursor:
                    if not key.startswith(prefix):
                        break
                    found[record_entity(record)] = None
        return list(found)

    def delete(self, view: str, entities: Iterable[bytes], partition: int | None = None) -> int:
        deleted = 0
        with self._writing() as txn:
            cursor = txn.cursor(self._records)
            for prefix in {
                entity_place(view, entity) if partition is None else RecordKey(view, entity, partition).place
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
        """Begin another epoch where somebody has written past the lock.

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
            # A transaction that wrote nothing has used up no number: the next one will have it, whoever's that is.
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


def _lock(path: Path) -> IO[str]:
    try:
        path.mkdir(parents=True, exist_ok=True)
        handle = (path / "worker.lock").open("a+", encoding="utf-8")
    except OSError as error:
        msg = f"The store's folder {path} cannot be written: {error}."
        raise StoreUnavailableError(msg, hint=writable_hint()) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        handle.seek(0)
        holder = handle.read().strip() or "unknown"
        handle.close()
        hint = 'LMDB serves one worker: stop that one, or scale out on Redis (`store = "redis://…"` in headrace.toml).'
        msg = f"Another worker (process {holder}) writes the store at {path}."
        raise StoreLockedError(msg, hint=hint) from None
    handle.seek(0)
    handle.truncate()
    handle.write(str(os.getpid()))
    handle.flush()
    return handle


_digest = lru_cache(maxsize=1 << 15)(entity_digest)
"""An entity's digest, remembered: hashing it takes longer than looking it up."""


class _Partitions(dict[bytes, int | None]):
    """Partitions by how keys of records end; None for what is no such end."""

    def __missing__(self, end: bytes) -> int | None:
        return None if len(end) != _PARTITION.size else self.setdefault(end, int.from_bytes(end))


_PARTITIONS = _Partitions()


def _found(cursor: Any, view: bytes, entities: Sequence[bytes]) -> list[list[tuple[int, bytes]]]:
    """Each entity's records, which are neighbours, in the order of their partitions."""
    found: list[list[tuple[int, bytes]]] = []
    seek, key_of, record_of, advance = cursor.set_range, cursor.key, cursor.value, cursor.next
    for prefix in map(view.__add__, map(_digest, entities)):
        partials: list[tuple[int, bytes]] = []
        if seek(prefix) and (partition := _PARTITIONS[key_of().removeprefix(prefix)]) is not None:
            partials = [(partition, record_of())]
            while advance() and key_of().startswith(prefix):
                partials.append((int.from_bytes(key_of()[_PREFIX_BYTES:]), record_of()))
        found.append(partials)
    return found


def _in_order(keys: Sequence[bytes]) -> list[int]:
    """The numbers of the tree's keys in its order, or nearly: neighbours stand on the same page."""
    if len(keys) < 2:
        return list(range(len(keys)))
    words = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1)[:, :_SORTED_BY].copy().view(">u8")
    return np.lexsort((words[:, 1], words[:, 0])).tolist()  # type: ignore[no-any-return]


def _source_key(source: SourcePartition) -> bytes:
    return source.topic.encode() + b"\0" + _PARTITION.pack(source.partition)


def _source_partition(key: bytes) -> SourcePartition:
    topic, _, partition = key.partition(b"\0")
    return SourcePartition(topic.decode(), int(_PARTITION.unpack(partition)[0]))


def _journal_entry(key: bytes, value: bytes) -> JournalEntry:
    first, known_at_us = _ENTRY.unpack(value)
    last = int(_OFFSET.unpack(key[-_OFFSET.size :])[0])
    return JournalEntry(_source_partition(key[: -_OFFSET.size]), first, last, known_at_us)
