"""Waiting for what happens in another process or thread."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["wait_until"]

_LOOK_EVERY_S = 0.05


def wait_until(happened: Callable[[], object], what: str = "what the test waits for", *, seconds: float = 180) -> None:
    """Return once something has happened; fail where it never does.

    The limit only ends a test that would wait forever. It says nothing about speed: a loaded machine may take long.

    Args:
        happened: Returns something true once it has.
        what: What is waited for, for the message of the failure.
        seconds: The limit.
    """
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"not within {seconds:g} s: {what}"
        time.sleep(_LOOK_EVERY_S)
