"""What a worker is doing, and whether it makes progress: its sign of life depends on its rounds, not on a timer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Progress"]

_TURN_S = 3.0
"""The fetch loop turns several times a second. If it has not turned for this long, in seconds, it hangs."""


@dataclass
class _Work:
    name: str
    stepped: float
    allowed_s: float


class Progress:
    """Whether the worker's loops make progress. Any thread may report and ask.

    Args:
        monotonic: A clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._turned = monotonic()
        self._works: dict[int, _Work] = {}

    def turn(self) -> None:
        """The fetch loop has turned once."""
        self._turned = self._monotonic()

    @contextmanager
    def doing(self, name: str, allowed_s: float) -> Iterator[Callable[[], None]]:
        """Work that must end, or make a step, in time.

        Args:
            name: Its name in messages.
            allowed_s: How long it, or a step of it, may take, in seconds.

        Yields:
            What to call at each step.
        """
        work = _Work(name, self._monotonic(), allowed_s)

        def step() -> None:
            work.stepped = self._monotonic()

        self._works[id(work)] = work
        try:
            yield step
        finally:
            del self._works[id(work)]

    def hangs(self, *, is_moved: bool) -> str | None:
        """What takes too long; None if nothing does.

        Args:
            is_moved: Whether the group is distributing partitions now, so that nothing is fetched.
        """
        now = self._monotonic()
        for work in list(self._works.values()):
            if now - work.stepped > work.allowed_s:
                return f"{work.name} for {now - work.stepped:.0f} s"
        # While a round takes long, or waits for a store that is away, the fetch loop waits too.
        if not is_moved and not self._works and now - self._turned > _TURN_S:
            return f"no fetch for {now - self._turned:.0f} s"
        return None
