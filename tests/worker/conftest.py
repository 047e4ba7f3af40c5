"""What the tests of handoffs run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.stores import open_store
from headrace.stores.memory import MemoryStore
from tests.worker.handoffs import Deployment


@pytest.fixture(params=["memory", "lmdb"])
def deployed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    opened = MemoryStore() if request.param == "memory" else open_store(f"lmdb:{tmp_path / 'online'}", writable=True)
    with opened:
        yield Deployment(tmp_path, opened)
