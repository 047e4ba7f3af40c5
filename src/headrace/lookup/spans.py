"""All windows over a family of tiles at once.

A record's tiles ascend, so those that a window counts stand together, and one search finds where each window begins and ends in each record.
One `reduceat` per column of state then merges the tiles of all windows and records: its indices are those beginnings and ends by turns, and
every other of its results is a window's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headrace.aggregates import Array, BoolArray, IntArray, State
from headrace.windows import Family, FeaturePlace, Tiles, Window

__all__ = ["FamilyAsked", "Spans", "merges_alone"]

_MOST = 1 << 62


class _Column(NamedTuple):
    """A column of state that merges by itself.

    Attributes:
        slot: Which it is of the family's.
        merge: What merges two values.
        is_float: Whether its words are doubles.
        nothing: Its value where there is no event.
    """

    slot: int
    merge: np.ufunc
    is_float: bool
    nothing: int | float


@dataclass(frozen=True)
class FamilyAsked:
    """What a request asks of a family of tiles, worked out once.

    Attributes:
        family: The family.
        windows: The windows asked for, and those that tell whether any event counts.
        telling: Which of them those are.
        bounds: Where each window begins, and where it ends, in tiles from the lookup's, shape (2, windows).
        columns: The columns of state that merge by themselves and are needed.
    """

    family: Family
    windows: tuple[Window, ...]
    telling: tuple[int, ...]
    bounds: IntArray
    columns: tuple[_Column, ...]

    @classmethod
    def of(cls, family: Family, places: Sequence[FeaturePlace], telling: Sequence[Window]) -> FamilyAsked:
        """Work out what features at some places of a family share."""
        windows = list(dict.fromkeys([*(place.window for place in places), *telling]))
        alone = dict.fromkeys(place.accumulator for place in places if merges_alone(family, place.accumulator))
        columns = {column.slot: column for accumulator in alone for column in _columns(family, accumulator)}
        bounds = np.array([[_first(window) for window in windows], [1 - window.lag for window in windows]], np.int64)
        which = tuple(windows.index(window) for window in telling)
        return cls(family, tuple(windows), which, bounds, tuple(columns.values()))


def merges_alone(family: Family, accumulator: int) -> bool:
    """Whether an accumulator's columns merge each by itself."""
    return all(family.columns[slot].merge is not None for slot in family.slots[accumulator])


def _first(window: Window) -> int:
    return 0 if window.tiles is None else 1 - window.lag - window.tiles


def _columns(family: Family, accumulator: int) -> list[_Column]:
    nothing = family.accumulators[accumulator].aggregate.init(1)
    found: list[_Column] = []
    for slot, value in zip(family.slots[accumulator], nothing, strict=True):
        described = family.columns[slot]
        if described.merge is not None:
            found.append(_Column(slot, described.merge, described.kind == "float64", value[0].item()))
    return found


class Spans:
    """The tiles of some records, a family's, that windows count at one time.

    Args:
        asked: The windows.
        tiles: The records' tiles; a tile's group is its record.
        records: How many records there are.
        at_us: The time, in µs.
    """

    def __init__(self, asked: FamilyAsked, tiles: Tiles, records: int, at_us: int) -> None:
        self._asked = asked
        self._tiles = tiles
        self._n = len(tiles)
        # One more of each: an index may be the end.
        self._words = np.empty((tiles.rows.shape[1], self._n + 1), np.int64)
        self._words[:, : self._n] = tiles.rows.T
        slide = asked.family.slide_us
        bounds = asked.bounds if slide is None else asked.bounds + at_us // slide
        self._ends = _searched(self._words[0, : self._n], tiles.group, records, bounds)

    @property
    def is_counted(self) -> BoolArray:
        """Whether each window counts any tile of each record, shape (windows, records)."""
        counted: BoolArray = self._ends[0] < self._ends[1]
        return counted

    def merged(self, row: IntArray, rows: int) -> dict[int, Array]:
        """The columns of state that merge by themselves, by slot, shape (windows, rows) each; what doubles overflow to is nobody's error.

        Args:
            row: Each record's row, ascending.
            rows: How many rows there are.
        """
        shape = self._ends.shape[1:]
        empty = self._ends[0] >= self._ends[1]
        is_any_empty = bool(empty.any())
        indices = self._ends.transpose(1, 2, 0).ravel()
        floats = self._words.view(np.float64)
        is_plain = len(row) == rows and (rows <= 1 or bool((row[1:] > row[:-1]).all()))
        starts = None if is_plain else np.flatnonzero(np.concatenate(([True], row[1:] != row[:-1])))[: len(row)]
        found: dict[int, Array] = {}
        for slot, merge, is_float, nothing in self._asked.columns:
            if not self._n:
                found[slot] = np.full((shape[0], rows), nothing, np.float64 if is_float else np.int64)
                continue
            merged: Array = merge.reduceat((floats if is_float else self._words)[2 + slot], indices)[::2].reshape(shape)
            if is_any_empty:
                merged[empty] = nothing
            if starts is not None:
                by_row: Array = np.full((shape[0], rows), nothing, merged.dtype)
                by_row[:, row[starts]] = merge.reduceat(merged, starts, axis=1)
                merged = by_row
            found[slot] = merged
        return found

    def together(self, accumulator: int, window: int, row: IntArray, rows: int) -> State:
        """The state of an accumulator whose columns only merge together, per row; see `merged`."""
        family = self._asked.family
        aggregate = family.accumulators[accumulator].aggregate
        begin, end = self._ends[:, window]
        counts = end - begin
        if not counts.any():
            return aggregate.init(rows)
        offsets = np.repeat(begin - (np.cumsum(counts) - counts), counts)
        which = offsets + np.arange(len(offsets))
        of = np.repeat(row, counts)
        starts = np.flatnonzero(np.concatenate(([True], of[1:] != of[:-1])))
        kept = tuple(self._tiles.columns[slot][which] for slot in family.slots[accumulator])
        merged = aggregate.merge(kept, starts)
        if len(starts) == rows:
            return merged
        state = aggregate.init(rows)
        for whole, part in zip(state, merged, strict=True):
            whole[of[starts]] = part
        return state


def _searched(tile: IntArray, record: IntArray, records: int, bounds: IntArray) -> IntArray:
    """Where tiles stand among those of each record.

    Args:
        tile: Tile numbers, ascending within each record, shape (tiles,).
        record: Each one's record, ascending.
        records: How many records there are.
        bounds: The tiles looked for, shape (2, windows).

    Returns:
        For each of them and each record, the place of the first of its tiles that is not before, shape (2, windows, records).
    """
    if records == 1:
        return tile.searchsorted(bounds)[:, :, None]
    if not len(tile):
        return np.zeros((*bounds.shape, records), np.int64)
    oldest = int(tile.min())
    width = int(tile.max()) - oldest + 2
    if width >= _MOST // records:
        starts = np.searchsorted(record, np.arange(records + 1)).tolist()
        places = [
            begin + np.searchsorted(tile[begin:end], bounds) for begin, end in zip(starts, starts[1:], strict=False)
        ]
        return np.stack(places, axis=2)
    keys = record * width
    keys += tile
    keys -= oldest
    wanted = np.clip(bounds, oldest, oldest + width - 1) - oldest
    return np.searchsorted(keys, wanted[:, :, None] + width * np.arange(records))
