"""The online store: a port (`base`) and its adapters in memory, on LMDB and on Redis; what it serves (`catalogue`)."""

from __future__ import annotations

from pathlib import Path

from headrace.errors import ConfigError, StoreDamagedError
from headrace.stores.base import FoundRecords, JournalEntry, Moment, OnlineStore, Position, RecordKey, Write
from headrace.stores.catalogue import Catalogue, CatalogueChange, Readiness, refuse_other_format

__all__ = [
    "Catalogue",
    "CatalogueChange",
    "FoundRecords",
    "JournalEntry",
    "Moment",
    "OnlineStore",
    "Position",
    "Readiness",
    "RecordKey",
    "Write",
    "open_store",
]


def open_store(url: str, *, writable: bool, replace_damaged: bool = False, any_format: bool = False) -> OnlineStore:
    """Open the online store that a URL names.

    Args:
        url: `lmdb:PATH` or `redis://host:port/db`.
        writable: True for a worker; False for lookups.
        replace_damaged: Move a damaged LMDB store aside and make a new one.
        any_format: Open a store of another format too: the caller clears it before it writes.

    Returns:
        The store.

    Raises:
        ConfigError: The URL names no store headrace knows, or one whose extra is not installed.
        StoreFormatError: The store was written by a version of headrace with another format.
        StoreMissingError: There is no store to read yet.
        StoreError, StoreUnavailableError: The store cannot be opened.
    """
    store = _opened(url, writable=writable, replace_damaged=replace_damaged)
    if not any_format:
        try:
            refuse_other_format(store.meta())
        except BaseException:
            store.close()
            raise
    return store


def _opened(url: str, *, writable: bool, replace_damaged: bool) -> OnlineStore:
    scheme, _, rest = url.partition(":")
    if scheme == "lmdb":
        from headrace.stores.lmdb.environment import move_aside
        from headrace.stores.lmdb.store import LmdbStore

        try:
            return LmdbStore(Path(rest), writable=writable)
        except StoreDamagedError as error:
            if not replace_damaged:
                raise
            move_aside(Path(rest), error)
            return LmdbStore(Path(rest), writable=writable)
    if scheme in ("redis", "rediss", "unix"):
        try:
            from headrace.stores.redis.store import RedisStore
        except ImportError as error:
            msg = f"A {scheme}: store needs the redis client: {error}."
            raise ConfigError(msg, hint="pip install 'headrace[redis]'") from error
        return RedisStore(url)
    msg_0 = f"`store` starts with {scheme!r}."
    raise ConfigError(msg_0, hint="It is lmdb (embedded), lmdb:PATH or redis://host:port/db.")
