"""The definition of a window.

An event counts for a lookup at `t` iff it was known by `t` and `tile(t) − n < tile(ts) ≤ tile(t)`, where
`tile(x) = floor(x / slide)` and `n = length / slide`:

    slide 15 min, length 1 h, n = 4                     t = 10:50, tile(t) = [10:45, 11:00)
    ───┬──────┬──────┬──────┬──────┬──────┬───▶
     09:45  10:00  10:15  10:30  10:45  11:00
              └──────── counted ────────┘

A feature without a window counts a lifetime: one tile, which is all of time. An offset moves the counted tiles back by
the tiles that it spans; which events are known is still decided at `t`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from headrace.aggregates import IntArray

__all__ = ["Window", "tile_of"]


class Window(NamedTuple):
    """A window's shape.

    Attributes:
        length_us: Its length in µs; None is a lifetime.
        slide_us: Its slide in µs, a divisor of the length; None for a lifetime.
        offset_us: How far back it ends, in µs, a multiple of the slide.
    """

    length_us: int | None
    slide_us: int | None
    offset_us: int = 0

    @property
    def tiles(self) -> int | None:
        """How many tiles it spans; None for a lifetime."""
        if self.length_us is None or self.slide_us is None:
            return None
        return self.length_us // self.slide_us

    @property
    def lag(self) -> int:
        """How many tiles lie between its end and the lookup's tile."""
        return self.offset_us // self.slide_us if self.slide_us else 0

    def oldest(self, t_us: IntArray) -> IntArray:
        """The oldest tile that a lookup at each time counts; only for a window with a length."""
        return tile_of(t_us, self.slide_us) - self.lag - (self.tiles or 0) + 1

    def reaches(self, tile: IntArray, t_us: IntArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Which tiles a lookup counts.

        Args:
            tile: Tile numbers, shape (n,).
            t_us: The time of each tile's lookup, shape (n,), or one time for all, shape (1,).

        Returns:
            True where the tile is counted, shape (n,).
        """
        if self.tiles is None:
            return np.ones(len(tile), np.bool_)
        at = tile_of(t_us, self.slide_us) - self.lag
        return (tile > at - self.tiles) & (tile <= at)


def tile_of(ts_us: IntArray, slide_us: int | None) -> IntArray:
    """The number of the tile that each time is in; times before 1970 are floored too."""
    if slide_us is None:
        return np.zeros(len(ts_us), np.int64)
    return ts_us // slide_us
