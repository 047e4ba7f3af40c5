"""Trying something on many rows when some rows fail: those that fail are found, and the others keep their results."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

__all__ = ["salvaged"]

_T = TypeVar("_T")
_FEW = 16
"""At most this many rows are tried one by one after they have failed together."""


def salvaged(attempt: Callable[[int, int], _T], start: int, stop: int) -> Iterator[tuple[int, int, _T | Exception]]:
    """Try all rows together, then in halves if that fails, and few rows one by one.

    Args:
        attempt: Computes the rows from a start up to, but without, a stop.
        start: The first row.
        stop: The row after the last.

    Yields:
        Ranges of rows, ascending, with the result of the attempt; for a single row that fails, the exception.
    """
    try:
        made = attempt(start, stop)
    except Exception as error:  # noqa: BLE001 a user's code and SQL may raise anything
        if stop - start <= 1:
            yield start, stop, error
            return
        # Even if all rows fail, there is little more than one attempt per row.
        step = 1 if stop - start <= _FEW else (stop - start + 1) // 2
        for first in range(start, stop, step):
            yield from salvaged(attempt, first, min(first + step, stop))
        return
    yield start, stop, made
