"""All windows over tiles at once.

A record's tiles ascend, so those that a window counts stand together, and one search finds where each window begins and ends in each record.
One `reduceat` per column of state then merges the tiles of all windows and records: its indices are those beginnings and ends by turns, and
every other of its results is a window's. They are given from the last to the first, so that what follows an end begins before it, and `reduceat`
has nothing to merge between the two. Families whose tiles hold the same, by the minute and by the quarter of an hour say, are one lot and
share these calls.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from headrace.aggregates import Array, BoolArray, IntArray, State
from headrace.records.reader import StoredRecords
from headrace.windows import Family, FeaturePlace, Tiles, Window

__all__ = ["Lot", "Spans", "merges_alone"]


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


class _Bound(NamedTuple):
    """Where a window stands: its family in the lot, where it begins, and where it ends, in tiles from the lookup's."""

    family: int
    begin: int
    end: int


@dataclass(frozen=True)
class Lot:
    """Families whose tiles hold the same and stand in one table, and the windows over them, worked out once.

    Attributes:
        run: Which table.
        numbers: The families' numbers.
        families: The families.
        windows: Of each family the windows asked for, and those that tell whether any event counts; one family's after the other's.
        telling: Which of the windows tell.
        bounds: Where each of the windows stands.
        columns: The columns of state that merge by themselves and are needed.
        words: Which words of a tile those are.
    """

    run: int
    numbers: tuple[int, ...]
    families: tuple[Family, ...]
    windows: tuple[Window, ...]
    telling: tuple[int, ...]
    bounds: tuple[_Bound, ...]
    columns: tuple[_Column, ...]
    words: slice | list[int]

    @classmethod
    def of(
        cls,
        run: int,
        families: Mapping[int, Family],
        places: Sequence[FeaturePlace],
        telling: Mapping[int, Sequence[Window]],
    ) -> Lot:
        """Work out what features at some places of alike families share, families and telling windows being given by number."""
        windows: list[Window] = []
        tells: list[int] = []
        bounds: list[_Bound] = []
        for place, number in enumerate(families):
            mine = list(dict.fromkeys([*(one.window for one in places if one.family == number), *telling[number]]))
            tells += [len(windows) + mine.index(window) for window in telling[number]]
            windows += mine
            bounds += [_Bound(place, _first(window), 1 - window.lag) for window in mine]
        family = next(iter(families.values()))
        needed = dict.fromkeys(place.accumulator for place in places if merges_alone(family, place.accumulator))
        found = {column.slot: column for accumulator in needed for column in _columns(family, accumulator)}
        columns = tuple(found[slot] for slot in sorted(found))
        words = [2 + column.slot for column in columns]
        are_neighbours = bool(words) and words[-1] - words[0] == len(words) - 1
        return cls(
            run,
            tuple(families),
            tuple(families.values()),
            tuple(windows),
            tuple(tells),
            tuple(bounds),
            columns,
            slice(words[0], words[-1] + 1) if are_neighbours else words,
        )

    def window_of(self, place: FeaturePlace) -> int:
        """Which of the windows a feature's is."""
        family = self.numbers.index(place.family)
        found = (number for number, window in enumerate(self.windows) if window == place.window)
        return next(number for number in found if self.bounds[number].family == family)

    def tiles_at(self, at_us: int) -> list[int]:
        """The tile of each family that a lookup at a time lies in."""
        return [at_us // family.slide_us if family.slide_us else 0 for family in self.families]


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
        stored: The records.
        at_us: The time, in µs.
    """

    def __init__(self, lot: Lot, stored: StoredRecords, at_us: int) -> None:
        self._lot = lot
        self._stored = stored
        self._table = stored.tables[lot.run]
        records = len(stored.encoded)
        tiles = lot.tiles_at(at_us)
        # Of each record and window where it begins and ends, as rows of the table; from the last window of the last record to the first.
        self._indices = np.array(self._of_one(tiles)) if records == 1 else self._of_many(tiles, records)
        self._is_counted: BoolArray = self._indices[-2::-2] < self._indices[-1::-2]

    @property
    def is_counted(self) -> BoolArray:
        """Whether each window counts any tile of each record, shape (records, windows)."""
        return self._is_counted.reshape(-1, len(self._lot.bounds))

    def merged(self, row: IntArray, rows: int, *, is_plain: bool) -> list[Array]:
        """The lot's columns of state, window by window of one row after the other, shape (rows * windows,) each.

        Args:
            row: Each record's row, ascending.
            rows: How many rows there are.
            is_plain: Whether each row has one record.
        """
        indices, windows = self._indices, len(self._lot.bounds)
        if not len(indices):
            return [_nothing(column, rows * windows) for column in self._lot.columns]
        empty = ~self._is_counted if b"\0" in self._is_counted.tobytes() else None
        starts = None if is_plain else np.flatnonzero(np.concatenate(([True], row[1:] != row[:-1])))
        # One column after the other: numpy merges neighbours several at a time.
        words = np.ascontiguousarray(self._table.T[self._lot.words])
        floats = words.view(np.float64)
        found: list[Array] = []
        for number, described in enumerate(self._lot.columns):
            column: Array = described.merge.reduceat((floats if described.is_float else words)[number], indices)[-2::-2]
            if empty is not None:
                column[empty] = described.nothing
            if starts is not None:
                by_row = _nothing(described, rows * windows).reshape(rows, windows)
                by_row[row[starts]] = described.merge.reduceat(column.reshape(-1, windows), starts, axis=0)
                column = by_row.reshape(-1)
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
        number = self._lot.numbers[self._lot.bounds[window].family]
        n_tiles = np.asarray(self._stored.n_tiles[number])
        begin, end = self._indices[::-1].reshape(-1, len(self._lot.bounds), 2)[:, window, ::-1].T
        counts = end - begin
        begin = begin - self._stored.first[number] + (np.cumsum(n_tiles) - n_tiles)
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

    def _of_one(self, tiles: Sequence[int]) -> list[int]:
        """The beginnings and ends in the only record, a call of numpy being as long as three searches in one."""
        tile = self._table[:, 0].data
        first = [int(self._stored.first[number][0]) for number in self._lot.numbers]
        last = [
            begin + int(self._stored.n_tiles[number][0]) for begin, number in zip(first, self._lot.numbers, strict=True)
        ]
        found: list[int] = []
        for family, begin, end in reversed(self._lot.bounds):
            at, low, high = tiles[family], first[family], last[family]
            if low < high and tile[high - 1] >= at + end:  # as a rule nothing is newer than the lookup
                high = bisect_left(tile, at + end, low, high)
            found.append(bisect_left(tile, at + begin, low, high))
            found.append(high)
        return found

    def _of_many(self, tiles: Sequence[int], records: int) -> IntArray:
        """The beginnings and ends in each record."""
        bounds = self._lot.bounds
        families = [self._lot.numbers[bound.family] for bound in bounds]
        search = _Search.of(
            self._table, *(np.asarray(of)[families] for of in (self._stored.first, self._stored.n_tiles))
        )
        begins, ends = (
            np.array([[tiles[bound.family] + bound[side]] for bound in bounds], np.int64) for side in (1, 2)
        )
        found = np.empty((records, len(bounds), 2), np.int64)
        # As a rule nothing is newer than the lookup.
        found[:, :, 0] = (search.last if (search.newest < ends).all() else search.last_before(ends)).T
        found[:, :, 1] = search.last_before(begins).T
        found += 1
        return found.reshape(-1)[::-1].copy()


class _Search(NamedTuple):
    """A search in a table for many windows and records at once.

    Attributes:
        table: The table.
        before: The row in front of the first tile, shape (windows, records).
        last: The row of the last, shape (windows, records).
        oldest: The first tile, shape (windows, records); of no meaning where there is none.
        newest: The last, shape (windows, records).
    """

    table: IntArray
    before: IntArray
    last: IntArray
    oldest: IntArray
    newest: IntArray

    @classmethod
    def of(cls, table: IntArray, first: IntArray, n_tiles: IntArray) -> _Search:
        """A search among so many rows from the first ones on, shape (windows, records)."""
        words, width = table.reshape(-1), table.shape[1]
        before = first - 1
        last = before + n_tiles
        oldest, newest = words.take(first * width, mode="clip"), words.take(last * width, mode="clip")
        return cls(table, before, last, oldest, newest)

    def last_before(self, tiles: IntArray) -> IntArray:
        """The last row whose tile is before a given one; that in front of the first, where none is.

        Args:
            tiles: The tiles, shape (windows, 1).
        """
        words, width = self.table.reshape(-1), self.table.shape[1]
        # From one tile to the next there is at least one, so not many rows come into question; they are searched by halves.
        most = np.minimum(np.maximum(self.before + (tiles - self.oldest), self.before), self.last)
        found = np.minimum(np.maximum(self.last - 1 + (tiles - self.newest), self.before), most)
        halves = int((most - found).max(initial=0)).bit_length()
        most *= width
        found *= width
        for half in range(halves - 1, -1, -1):
            further = found + (width << half)
            np.minimum(further, most, out=further)
            np.copyto(found, further, where=words.take(further, mode="clip") < tiles)
        found //= width
        return found


def _nothing(column: _Column, size: int) -> Array:
    """A column of state where there is no event."""
    return np.full(size, column.nothing, np.float64 if column.is_float else np.int64)
