"""The newest row per entity of batch and push views: a port (`base`), its adapters, and the encoding of values.

A stream view's features are computed from tiles. A batch view's features are columns of a row that somebody else
computed, so the store keeps one row per entity: the one with the newest event time.
"""

from __future__ import annotations

from pathlib import Path

from headrace.errors import ConfigError
from headrace.rows.base import Row, RowStore, StoredRow, Written
from headrace.rows.encoding import RowCodec

__all__ = ["Row", "RowCodec", "RowStore", "StoredRow", "Written", "open_rows"]


def open_rows(url: str, *, writable: bool) -> RowStore:
    """Open the rows that stand beside the online store that a URL names.

    Args:
        url: The project's store (`Project.store_url`): `lmdb:PATH`, whose rows are in the folder `PATH-rows`;
            `redis://host:port/db`, whose rows are in the same database; or `memory:`, a new store in this process.
        writable: Whether to write. Any number of processes may.

    Returns:
        The rows. Where nothing was ever written, there are none; that is no error.

    Raises:
        ConfigError: The URL names no store headrace knows, or one whose extra is not installed.
        StoreError, StoreUnavailableError: The rows cannot be opened.
    """
    scheme, _, rest = url.partition(":")
    if scheme == "lmdb":
        from headrace.rows.lmdb_rows import LmdbRows

        path = Path(rest)
        return LmdbRows(path.with_name(f"{path.name}-rows"), writable=writable)
    if scheme in ("redis", "rediss", "unix"):
        try:
            from headrace.rows.redis_rows import RedisRows
        except ImportError as error:
            msg = f"A {scheme}: store needs the redis client: {error}."
            raise ConfigError(msg, hint="pip install 'headrace[redis]'") from error
        return RedisRows(url)
    if scheme == "memory":
        from headrace.rows.memory_rows import MemoryRows

        return MemoryRows()
    msg = f"`store` starts with {scheme!r}."
    raise ConfigError(msg, hint="It is lmdb (embedded), lmdb:PATH or redis://host:port/db.")
