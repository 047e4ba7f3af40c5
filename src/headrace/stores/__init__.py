"""The online store: records of tiles per view, entity and source partition, and how batches are applied to them."""

from headrace.errors import ConfigError
from headrace.stores.base import JournalEntry, Moment, OnlineStore, Position, RecordKey, Write
from headrace.stores.catalogue import Catalogue, CatalogueChange, Readiness

__all__ = [
    "Catalogue",
    "CatalogueChange",
    "JournalEntry",
    "Moment",
    "OnlineStore",
    "Position",
    "Readiness",
    "RecordKey",
    "Write",
    "open_store",
]


def open_store(url: str, *, writable: bool) -> OnlineStore:
    """Open the online store that a URL names.

    Args:
        url: `lmdb:PATH` or `redis://host:port/db`.
        writable: True for a worker; False for lookups.

    Returns:
        The store.

    Raises:
        ConfigError: The URL names no store headrace knows, or one whose extra is not installed.
        StoreError, StoreUnavailableError: The store cannot be opened.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "lmdb":
        from pathlib import Path

        from headrace.stores.lmdb.store import LmdbStore

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
