"""Rows on LMDB: one file for all processes of a machine, in a folder beside the online store's.

    rows   view, digest of the entity   → event time, sequence, created, length of the entity's key, that key, values

Any number of processes may write: a transaction holds LMDB's own lock, which ends with its process, and compares event
times inside it. A transaction is on disk when it ends. The sequence of a write is the number of its transaction.

LMDB opens a file once per process, so all stores of a process share one environment. It is opened to write wherever
that is possible, so that a server can look up and write in one process.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import lmdb

from headrace.errors import StoreDamagedError, StoreError, StoreLockedError, StoreUnavailableError
from headrace.rows.base import NO_TIME, Row, RowStore, StoredRow, age
from headrace.stores.base import entity_digest

__all__ = ["LmdbRows"]

_MAP_SIZE = 1 << 40
"""Address space, not disk: the file grows as it is used."""

_HEADER = struct.Struct("<qqqI")
_VIEW_BYTES = 8
_WRITABLE = "Check that the disk has room and the folder is writable, or set `state` in headrace.toml to another one."
_FILL = (
    "Delete the folder and run `headrace materialize`: it fills the rows again. What was pushed must be pushed again."
)


@dataclass
class _Shared:
    """An environment that this process has open.

    Attributes:
        env: LMDB's environment.
        database: Its one database.
        writable: Whether it was opened to write.
        users: How many stores share it.
    """

    env: Any
    database: Any
    writable: bool
    users: int = 0


_open: dict[Path, _Shared] = {}
_guard = threading.Lock()


class LmdbRows(RowStore):
    """Rows in a folder.

    Args:
        path: The folder.
        writable: Whether to write. A store that only reads need not exist yet: it has no rows until it does.
        chunk_rows: How many rows a transaction writes at most.

    Raises:
        StoreUnavailableError: The folder cannot be used.
        StoreDamagedError: The file is no store.
        StoreLockedError: This process reads the folder, which it then could not write.
    """

    def __init__(self, path: Path, *, writable: bool, chunk_rows: int = 5_000) -> None:
        super().__init__(chunk_rows)
        self.path = path
        self._writable = writable
        self._shared: _Shared | None = None
        if writable or (path / "data.mdb").exists():
            self._shared = self._acquire()

    def _write_chunk(self, view: str, rows: Sequence[Row]) -> int:
        if not self._writable:
            msg = f"The rows at {self.path} were opened to read."
            raise StoreError(msg, hint="Open them with writable=True.")
        # In the order of the tree, so that neighbours are written together.
        prefix = bytes.fromhex(view)
        keyed = sorted((prefix + entity_digest(row.entity), row) for row in rows)  # the digests differ
        changed = 0
        with self._transaction(write=True) as txn:
            sequence = txn.id()
            cursor = txn.cursor()
            for key, row in keyed:
                held = cursor.get(key)
                event_us, created = age(row)
                if held is not None and _HEADER.unpack_from(held)[0:3:2] > (event_us, created):
                    continue
                header = _HEADER.pack(event_us, sequence, created, len(row.entity))
                cursor.put(key, b"".join((header, row.entity, row.values)))
                changed += 1
        return changed

    def read_views(self, wanted: Mapping[str, Sequence[bytes]]) -> dict[str, list[StoredRow | None]]:
        if not self._is_there():
            return {view: [None] * len(entities) for view, entities in wanted.items()}
        with self._transaction() as txn:
            return {view: _found(txn, bytes.fromhex(view), entities) for view, entities in wanted.items()}

    def views(self) -> set[str]:
        found: set[str] = set()
        if not self._is_there():
            return found
        with self._transaction() as txn:
            cursor = txn.cursor()
            is_there = cursor.first()
            while is_there:
                view = bytes(cursor.key()[:_VIEW_BYTES])
                found.add(view.hex())
                after = _after(view)
                is_there = after is not None and cursor.set_range(after)
        return found

    def entities(self, view: str) -> Iterator[bytes]:
        prefix = at = bytes.fromhex(view)
        while self._is_there():
            # A transaction that stays open while its caller works would keep old pages from being used again.
            page: list[bytes] = []
            with self._transaction() as txn:
                cursor = txn.cursor()
                is_there = cursor.set_range(at)
                while is_there and len(page) < self._chunk_rows and cursor.key().startswith(prefix):
                    value = cursor.value()
                    page.append(value[_HEADER.size : _HEADER.size + _HEADER.unpack_from(value)[3]])
                    at = cursor.key() + b"\0"
                    is_there = cursor.next()
            if not page:
                return
            yield from page

    def delete(self, view: str, entities: Iterable[bytes]) -> int:
        if not self._is_there():
            return 0
        prefix = bytes.fromhex(view)
        with self._transaction(write=True) as txn:
            return sum(txn.delete(prefix + entity_digest(entity)) for entity in set(entities))

    def clear(self, view: str) -> None:
        prefix, is_more = bytes.fromhex(view), self._is_there()
        while is_more:
            with self._transaction(write=True) as txn:
                cursor = txn.cursor()
                for _ in range(self._chunk_rows):
                    is_more = bool(cursor.set_range(prefix)) and cursor.key().startswith(prefix)
                    if not is_more:
                        break
                    cursor.delete()

    def close(self) -> None:
        shared, self._shared = self._shared, None
        if shared is None:
            return
        with _guard:
            shared.users -= 1
            if shared.users == 0:
                del _open[self.path.resolve()]
                shared.env.close()

    def _is_there(self) -> bool:
        """Whether there is a file; a store that only reads opens it once it has been made."""
        if self._shared is None and (self.path / "data.mdb").exists():
            self._shared = self._acquire()
        return self._shared is not None

    def _acquire(self) -> _Shared:
        key = self.path.resolve()
        with _guard:
            shared = _open.get(key)
            if shared is None:
                shared = _open[key] = _opened(self.path, writable=self._writable)
            if self._writable and not shared.writable:
                msg = f"This process reads the rows at {self.path} and cannot write them."
                raise StoreLockedError(msg, hint=_WRITABLE)
            shared.users += 1
            return shared

    @contextmanager
    def _transaction(self, *, write: bool = False) -> Iterator[Any]:
        if self._shared is None:
            msg = f"The rows at {self.path} are closed."
            raise StoreError(msg)
        try:
            with self._shared.env.begin(db=self._shared.database, write=write) as txn:
                yield txn
        except (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.PanicError) as error:
            msg = f"The rows at {self.path} are damaged: {error}."
            raise StoreDamagedError(msg, hint=_FILL) from error
        except lmdb.Error as error:
            msg = f"The rows at {self.path} failed: {error}."
            raise StoreUnavailableError(msg, hint=_WRITABLE) from error


def _opened(path: Path, *, writable: bool) -> _Shared:
    can_write = writable or all(os.access(path / name, os.W_OK) for name in ("data.mdb", "lock.mdb"))
    env: Any = None
    try:
        if writable:
            path.mkdir(parents=True, exist_ok=True)
        env = lmdb.open(
            str(path), map_size=_MAP_SIZE, max_dbs=1, readonly=not can_write, readahead=False, max_readers=1024
        )
        if can_write:
            env.reader_check()  # frees the places of processes that were killed
        return _Shared(env, env.open_db(b"rows", create=can_write), can_write)
    except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError) as error:
        msg = f"The rows at {path} are damaged: {error}."
        raise StoreDamagedError(msg, hint=_FILL) from error
    except (lmdb.Error, OSError) as error:
        if env is not None:
            env.close()
        msg = f"The rows at {path} cannot be opened: {error}."
        raise StoreUnavailableError(msg, hint=_WRITABLE) from error


def _found(txn: Any, view: bytes, entities: Sequence[bytes]) -> list[StoredRow | None]:
    found: list[StoredRow | None] = []
    for entity in entities:
        value = txn.get(view + _digest(entity))
        if value is None:
            found.append(None)
            continue
        event_us, sequence, created, entity_bytes = _HEADER.unpack_from(value)
        start = _HEADER.size + entity_bytes
        found.append(StoredRow(event_us, None if created == NO_TIME else created, sequence, value[start:]))
    return found


_digest = lru_cache(maxsize=1 << 15)(entity_digest)
"""An entity's digest, cached: computing it takes longer than the lookup in the tree."""


def _after(view: bytes) -> bytes | None:
    """The first key after all of a view's; None for the last view there can be."""
    number = int.from_bytes(view, "big") + 1
    return None if number >> (8 * _VIEW_BYTES) else number.to_bytes(_VIEW_BYTES, "big")
