"""The greatest value of many ranges, and values that count for ranges of rows: two uses of one pyramid of blocks.

Level k of a pyramid has one number per aligned block of 2^k neighbours. A range is the union of at most two blocks per
level, so the greatest of each of a million ranges costs two looks per level, however long the ranges are; and a value
that counts for a range of rows is noted in as few blocks, where each of the rows finds it again.

    rows       0 1 2 3 4 5 6 7 8 9
    range            ├───────┤          rows 3 to 6
    blocks           3 └─┬─┘ 6          3 alone, 4 and 5 together, 6 alone

All values are int64, in the order of `ordered`. The least is the greatest of the complements.
"""

from __future__ import annotations

import numpy as np

from headrace.aggregates import Array, IntArray

__all__ = ["NONE", "Pyramid", "ordered", "raised", "unordered"]

NONE = np.iinfo(np.int64).min
"""No value: less than any other."""

_NAN = np.float64("nan").view(np.int64)
_MAGNITUDE = np.int64(np.iinfo(np.int64).max)


class Pyramid:
    """Gives the greatest value of any range.

    Args:
        values: Shape (n,).
    """

    def __init__(self, values: IntArray) -> None:
        self._levels = [values]

    def greatest(self, start: IntArray, end: IntArray) -> IntArray:
        """The greatest value of each range.

        Args:
            start: The ranges' first places, shape (ranges,).
            end: The places behind their last ones; a range that ends before it starts is empty.

        Returns:
            Shape (ranges,); ``NONE`` where a range is empty.
        """
        found = np.full(len(start), NONE)
        live = np.flatnonzero(start < end)
        start, end = start[live], end[live]
        best, level = np.full(len(live), NONE), 0
        while len(live):
            values = self._level(level)
            odd = start & 1
            best = np.where(odd, np.maximum(best, values[start]), best)
            odd_end = end & 1
            best = np.where(odd_end, np.maximum(best, values[end - 1]), best)
            start, end, level = (start + odd) >> 1, end >> 1, level + 1
            more = start < end
            if not more.all():
                found[live[~more]] = best[~more]
                live, start, end, best = live[more], start[more], end[more], best[more]
        return found

    def _level(self, level: int) -> IntArray:
        while len(self._levels) <= level:
            below = self._levels[-1]
            pairs = len(below) // 2 * 2
            above = np.maximum(below[0:pairs:2], below[1:pairs:2])
            self._levels.append(np.append(above, below[pairs:]) if pairs < len(below) else above)
        return self._levels[level]


def raised(rows: int, first: IntArray, end: IntArray, values: IntArray) -> IntArray:
    """The greatest of the values that count at each row.

    Args:
        rows: How many rows there are.
        first: The first row that each value counts at, shape (n,).
        end: The row behind the last; a value that ends before it starts counts nowhere.
        values: Shape (n,).

    Returns:
        Shape (rows,); ``NONE`` where nothing counts.
    """
    levels: list[IntArray] = []
    live = first < end
    first, end, values = first[live], end[live], values[live]
    size = rows
    while len(first):
        blocks = np.full(size, NONE)
        odd = (first & 1).astype(np.bool_)
        np.maximum.at(blocks, first[odd], values[odd])
        odd_end = (end & 1).astype(np.bool_)
        np.maximum.at(blocks, end[odd_end] - 1, values[odd_end])
        levels.append(blocks)
        first, end = (first + 1) >> 1, end >> 1
        live = first < end
        first, end, values = first[live], end[live], values[live]
        size = (size + 1) // 2
    found = levels.pop() if levels else np.full(rows, NONE)
    while levels:
        below = levels.pop()
        found = np.maximum(below, np.repeat(found, 2)[: len(below)])
    return found


def ordered(data: Array) -> IntArray:
    """Values as int64 in the same order: doubles by their bits, NaN as the greatest."""
    if data.dtype != np.float64:
        return data.astype(np.int64, copy=False)
    bits = np.where(np.isnan(data), _NAN, data.view(np.int64))
    return np.where(bits < 0, bits ^ _MAGNITUDE, bits)


def unordered(values: IntArray, like: Array) -> Array:
    """The values that `ordered` was given."""
    if like.dtype != np.float64:
        return values
    return np.where(values < 0, values ^ _MAGNITUDE, values).view(np.float64)
