"""A user's tiles in a peer that keeps them by hand: two dicts of tile number to count, sum, min and max."""

from __future__ import annotations

from benchmarks.peers.protocol import NO_VALUE, PACKED, WINDOWS

__all__ = ["Cell", "Tiles", "add", "features"]

Cell = list[float]
"""Count, sum, min and max."""

Tiles = tuple[dict[int, Cell], dict[int, Cell]]
"""By window: the cells by tile number."""

_EMPTY = (0, 0.0, NO_VALUE, NO_VALUE, NO_VALUE)


def add(tiles: Tiles, ts: int, amount: float) -> None:
    """Count an event.

    Args:
        tiles: The user's tiles.
        ts: The event's time in ms.
        amount: Its amount.
    """
    for cells, (slide, _) in zip(tiles, WINDOWS, strict=True):
        tile = ts // slide
        cell = cells.get(tile)
        if cell is None:
            cells[tile] = [1, amount, amount, amount]
            continue
        cell[0] += 1
        cell[1] += amount
        if amount < cell[2]:
            cell[2] = amount
        elif amount > cell[3]:
            cell[3] = amount


def features(tiles: Tiles, now: int) -> bytes:
    """Compute a user's features, and forget the tiles that no window reaches any more.

    Args:
        tiles: The user's tiles.
        now: The time to compute them for, in ms: no event is newer.

    Returns:
        The features, as `PACKED`.
    """
    found: list[float] = []
    for cells, (slide, length) in zip(tiles, WINDOWS, strict=True):
        before = now // slide - length
        live = [cell for tile, cell in cells.items() if tile > before]
        if len(live) < len(cells):
            for tile in [tile for tile in cells if tile <= before]:
                del cells[tile]
        if not live:
            found += _EMPTY
            continue
        counts, sums, lows, highs = zip(*live, strict=True)
        count, total = sum(counts), sum(sums)
        found += (count, total, total / count, min(lows), max(highs))
    return PACKED.pack(now, *found)
