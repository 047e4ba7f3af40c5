"""The pytest fixture `testbed`; pytest finds it where headrace is installed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from headrace.testing.testbed import Testbed

__all__ = ["testbed"]


@pytest.fixture
def testbed() -> Iterator[Callable[..., Testbed]]:
    """What makes test beds, ``testbed(definitions, partitions=2)``, and lets go of them after the test."""
    with ExitStack() as made:

        def make(*args: Any, **options: Any) -> Testbed:
            from headrace.testing.testbed import Testbed  # late: every pytest run loads this module

            return made.enter_context(Testbed(*args, **options))

        yield make
