"""The state in memory keeps the contract."""

from __future__ import annotations

import pytest

from headrace.state import MemoryState
from headrace.testing.state import StateContract


class TestMemoryState(StateContract):
    @pytest.fixture
    def state(self) -> MemoryState:
        return MemoryState()
