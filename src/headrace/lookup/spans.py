"""All windows over tiles at once.

A record's tiles ascend, so those that a window counts stand together, and one search finds where each window begins and ends in each record.
One `reduceat` per column of state then merges the tiles of all windows and records: its indices are those beginnings and ends by turns, and
every other of its results is a window's. Families whose tiles hold the same, by the minute and by the quarter of an hour say, are one lot and
share these calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headrace.aggregates import Array, IntArray, State
from headrace.online.numbers import FamilyNumbers
from headrace.windows import Family, FeaturePlace, Tiles, Window

__all__ = ["Lot", "Spans", "merges_alone"]

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
class Lot:
    """Families whose tiles hold the same, and the windows over them, worked out once.

    Attributes:
        numbers: The families' numbers.
        families: The families.
        windows: Of each family the windows asked for, and those that tell whether any event counts; one family's after the other's.
        of_family: Of which of the lot's families each window is.
        telling: Which of the windows tell.
        bounds: Per family where each of its windows begins, and where it ends, in tiles from the lookup's, shape (2, windows).
        columns: The columns of state that merge by themselves and are needed.
        words: Which words of a tile are read: its number, and those columns.
    """

    numbers: tuple[int, ...]
    families: tuple[Family, ...]
    windows: tuple[Window, ...]
    of_family: tuple[int, ...]
    telling: tuple[int, ...]
    bounds: tuple[IntArray, ...]
    columns: tuple[_Column, ...]
    words: tuple[int, ...]

    @classmethod
    def of(
        cls, families: Mapping[int, Family], places: Sequence[FeaturePlace], telling: Mapping[int, Sequence[Window]]
    ) -> Lot:
        """Work out what features at some places of alike families share, families and telling windows being given by number."""
        windows: list[Window] = []
        of_family: list[int] = []
        tells: list[int] = []
        bounds: list[IntArray] = []
        for place, number in enumerate(families):
            mine = list(dict.fromkeys([*(one.window for one in places if one.family == number), *telling[number]]))
            tells += [len(windows) + mine.index(window) for window in telling[number]]
            windows += mine
            of_family += [place] * len(mine)
            bounds.append(
                np.array([[_first(window) for window in mine], [1 - window.lag for window in mine]], np.int64)
            )
        family = next(iter(families.values()))
        needed = dict.fromkeys(place.accumulator for place in places if merges_alone(family, place.accumulator))
        columns = {column.slot: column for accumulator in needed for column in _columns(family, accumulator)}
        words = (0, *(2 + slot for slot in columns))
        numbers, of = tuple(families), tuple(families.values())
        return cls(
            numbers, of, tuple(windows), tuple(of_family), tuple(tells), tuple(bounds), tuple(columns.values()), words
        )

    def window_of(self, place: FeaturePlace) -> int:
        """Which of the windows a feature's is."""
        family = self.numbers.index(place.family)
        found = (number for number, window in enumerate(self.windows) if window == place.window)
        return next(number for number in found if self.of_family[number] == family)


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
    """The tiles of some records that a lot's windows count at one time.

    Args:
        lot: The windows.
        numbers: Per family of the lot its tiles.
        records: How many records there are.
        at_us: The time, in µs.
    """

    def __init__(self, lot: Lot, numbers: Sequence[FamilyNumbers], records: int, at_us: int) -> None:
        self._lot = lot
        self._starts = [0]
        self._total = sum([family.total for family in numbers])
        # One tile more than there is: an index may be the end.
        self._words = np.empty((len(lot.words), self._total + 1), np.int64)
        ends: list[IntArray] = []
        for family, bounds, held in zip(lot.families, lot.bounds, numbers, strict=True):
            start = self._starts[-1]
            part = self._words[:, start : start + held.total]
            held.fill(part, lot.words)
            if family.slide_us is not None:
                bounds = bounds + at_us // family.slide_us  # noqa: PLW2901 the same, at this time
            found = _searched(part[0], held.n_tiles, records, bounds)
            ends.append(found + start if start else found)
            self._starts.append(start + held.total)
        self._ends = ends[0] if len(ends) == 1 else np.concatenate(ends, axis=1)
        self.is_counted = self._ends[0] < self._ends[1]
        """Whether each window counts any tile of each record, shape (windows, records)."""

    def merged(self, row: IntArray, rows: int, *, is_plain: bool) -> list[Array]:
        """The lot's columns of state per window and row, shape (windows, rows) each.

        Args:
            row: Each record's row, ascending.
            rows: How many rows there are.
            is_plain: Whether each row has one record.
        """
        windows = len(self._lot.windows)
        if not self._total:
            return [
                np.full((windows, rows), column.nothing, np.float64 if column.is_float else np.int64)
                for column in self._lot.columns
            ]
        empty = None if self.is_counted.all() else ~self.is_counted
        indices = self._ends.transpose(1, 2, 0).ravel()
        starts = None if is_plain else np.flatnonzero(np.concatenate(([True], row[1:] != row[:-1])))
        floats = self._words.view(np.float64)
        found: list[Array] = []
        for number, (_, merge, is_float, nothing) in enumerate(self._lot.columns, 1):
            column: Array = merge.reduceat((floats if is_float else self._words)[number], indices)[::2]
            column = column.reshape(windows, -1)
            if empty is not None:
                column[empty] = nothing
            if starts is not None:
                by_row: Array = np.full((windows, rows), nothing, column.dtype)
                by_row[:, row[starts]] = merge.reduceat(column, starts, axis=1)
                column = by_row
            found.append(column)
        return found

    def together(self, tiles: Tiles, accumulator: int, window: int, row: IntArray, rows: int) -> State:
        """The state of an accumulator whose columns only merge together, per row.

        Args:
            tiles: The tiles of the window's family.
            accumulator: The accumulator.
            window: The window.
            row: Each record's row, ascending.
            rows: How many rows there are.
        """
        family = tiles.family
        aggregate = family.accumulators[accumulator].aggregate
        begin, end = self._ends[:, window] - self._starts[self._lot.of_family[window]]
        counts = end - begin
        if not counts.any():
            return aggregate.init(rows)
        which = np.repeat(begin - (np.cumsum(counts) - counts), counts)
        which += np.arange(len(which))
        of = np.repeat(row, counts)
        starts = np.flatnonzero(np.concatenate(([True], of[1:] != of[:-1])))
        merged = aggregate.merge(tuple(tiles.columns[slot][which] for slot in family.slots[accumulator]), starts)
        if len(starts) == rows:
            return merged
        state = aggregate.init(rows)
        for whole, part in zip(state, merged, strict=True):
            whole[of[starts]] = part
        return state


def _searched(tile: IntArray, n_tiles: IntArray, records: int, bounds: IntArray) -> IntArray:
    """Where tiles stand among those of each record.

    Args:
        tile: Tile numbers, ascending within each record, one record's after the other's.
        n_tiles: How many each record has.
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
    if width >= _MOST // records:  # numbers of tiles and of records do not fit one word together
        ends = np.cumsum(n_tiles).tolist()
        found = [start + tile[start:end].searchsorted(bounds) for start, end in zip([0, *ends], ends, strict=False)]
        return np.stack(found, axis=2)
    firsts = width * np.arange(records)
    keys = np.repeat(firsts - oldest, n_tiles)
    keys += tile
    return keys.searchsorted((np.clip(bounds, oldest, oldest + width - 1) - oldest)[:, :, None] + firsts)
