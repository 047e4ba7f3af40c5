"""What a worker is doing, and whether it moves: so that its heart beats by its rounds, and not by a clock of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["Progress"]

_TURN_S = 3.0
"""The fetch loop turns several times a second; where it has not for so long, it hangs."""


@dataclass
class _Work:
    name: str
    stepped: float
    allowed_s: float


class Progress:
    """Whether the worker's loops move. Any thread may tell and ask.

    Args:
        monotonic: A clock in seconds.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._turned = monotonic()
        self._works: dict[int, _Work] = {}

    def turn(self) -> None:
        """The fetch loop has come round."""
        self._turned = self._monotonic()

    @contextmanager
    def doing(self, name: str, allowed_s: float) -> Iterator[Callable[[], None]]:
        """Work that must end or make a step in time.

        Args:
            name: What it is, for people.
            allowed_s: How long it may take, or a step of it, in seconds.

        Yields:
            To be called at each step.
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
        """What takes too long; None where everything moves.

        Args:
            is_moved: Whether the group is sharing partitions out just now, so that nothing is fetched.
        """
        now = self._monotonic()
        for work in list(self._works.values()):
            if now - work.stepped > work.allowed_s:
                return f"{work.name} for {now - work.stepped:.0f} s"
        # Where a round takes its time, or waits for a store that is away, the fetch loop waits with the rounds behind it.
        if not is_moved and not self._works and now - self._turned > _TURN_S:
            return f"no fetch for {now - self._turned:.0f} s"
        return None
