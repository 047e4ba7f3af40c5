"""Every row store that headrace has passes the public contract."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from headrace.rows import RowStore
from headrace.rows.lmdb_rows import LmdbRows
from headrace.rows.memory_rows import MemoryRows
from headrace.testing.rows import OpenRows, RowStoreContract


class TestMemoryRows(RowStoreContract):
    gaps: ClassVar = {
        "test_rows_are_there_when_the_store_is_opened_again": "it ends with the process",
        "test_two_stores_see_each_others_rows": "each is a store of its own",
        "test_several_writers_leave_the_newest_row": "each is a store of its own",
    }

    @pytest.fixture
    def open_rows(self) -> OpenRows:
        return MemoryRows


class TestLmdbRows(RowStoreContract):
    @pytest.fixture
    def open_rows(self, tmp_path: Path) -> OpenRows:
        return lambda: LmdbRows(tmp_path / "rows", writable=True)


class TestLmdbRowsInSmallChunks(RowStoreContract):
    @pytest.fixture
    def open_rows(self, tmp_path: Path) -> OpenRows:
        return lambda: LmdbRows(tmp_path / "rows", writable=True, chunk_rows=1_000)


@pytest.mark.redis
class TestRedisRows(RowStoreContract):
    @pytest.fixture
    def open_rows(self, redis_url: str) -> OpenRows:
        from headrace.rows.redis_rows import RedisRows

        def opened() -> RowStore:
            return RedisRows(redis_url)

        return opened
