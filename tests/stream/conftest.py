"""What the tests of handoffs run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.online import open_store
from headrace.online.memory import MemoryStore
from tests.stream.handoffs import Deployment


@pytest.fixture(params=["memory", "lmdb"])
def deployed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    opened = MemoryStore() if request.param == "memory" else open_store(f"lmdb:{tmp_path / 'online'}", writable=True)
    with opened:
        yield Deployment(tmp_path, opened)
