"""Every store that headrace has, and the example adapter, pass the public contract."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from headrace.stores import OnlineStore
from headrace.stores.lmdb.store import LmdbStore
from headrace.stores.memory import MemoryStore
from headrace.testing.stores import OnlineStoreContract, OpenStore
from tests.stores.sqlite_store import SqliteStore


class TestMemoryStore(OnlineStoreContract):
    gaps: ClassVar = {"test_synced_store_is_the_same_when_it_is_opened_again": "it ends with the process"}

    @pytest.fixture
    def open_store(self) -> OpenStore:
        return MemoryStore


class TestLmdbStore(OnlineStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda: LmdbStore(tmp_path / "online", writable=True)


class TestLmdbStoreInSmallChunks(OnlineStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda: LmdbStore(tmp_path / "online", writable=True, chunk_records=2)


class TestExampleStore(OnlineStoreContract):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> OpenStore:
        return lambda: SqliteStore(tmp_path / "online.db")


@pytest.mark.redis
class TestRedisStore(OnlineStoreContract):
    @pytest.fixture
    def open_store(self, redis_url: str) -> OpenStore:
        from headrace.stores.redis.store import RedisStore

        def opened() -> OnlineStore:
            return RedisStore(redis_url)

        return opened
