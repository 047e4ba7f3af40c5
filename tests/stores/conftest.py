"""The online stores that the contract is checked on, and a Redis server of the tests' own.

The server listens on a socket in a temporary folder, has no port, and is gone with the tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.stores import OnlineStore, open_store
from headrace.stores.memory import MemoryStore


@pytest.fixture(params=["memory", "lmdb", pytest.param("redis", marks=pytest.mark.redis)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnlineStore]:
    """An empty store, writable, of every kind there is."""
    if request.param == "memory":
        opened: OnlineStore = MemoryStore()
    else:
        url = f"lmdb:{tmp_path / 'online'}" if request.param == "lmdb" else request.getfixturevalue("redis_url")
        opened = open_store(url, writable=True)
    with opened:
        yield opened
