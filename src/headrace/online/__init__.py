"""The online store: records of tiles per view, entity and source partition, and how batches are applied to them."""

from headrace.errors import ConfigError
from headrace.online.base import JournalEntry, Moment, OnlineStore, Position, RecordKey, SourcePartition, Write

__all__ = ["JournalEntry", "Moment", "OnlineStore", "Position", "RecordKey", "SourcePartition", "Write", "open_store"]


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

        from headrace.online.lmdb import LmdbStore

        return LmdbStore(Path(rest), writable=writable)
    if scheme in ("redis", "rediss", "unix"):
        try:
            from headrace.online.redis import RedisStore
        except ImportError as error:
            msg = f"A {scheme}: store needs the redis client: {error}."
            raise ConfigError(msg, cure="pip install 'headrace[redis]'") from error
        return RedisStore(url)
    msg_0 = f"`store` starts with {scheme!r}."
    raise ConfigError(msg_0, cure="It is lmdb (embedded), lmdb:PATH or redis://host:port/db.")
