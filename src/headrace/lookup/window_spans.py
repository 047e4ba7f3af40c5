"""Merging the tiles of all windows and records at once.

A record's tiles ascend, so the tiles that a window counts are neighbours, and one search finds where each window begins
and ends in each record. Then one `reduceat` per column of state merges the tiles of all windows and records. Its
indices are begin, end, begin, end, …, and every second result is a window's. The indices run from the last window to
the first: then each end is followed by a smaller begin, and `reduceat` merges nothing between the two.

    tiles of a record    22685  22686  22687  22688  22689  22690
    window of 2                                    [ begin      end )
    window of 5                 [ begin                         end )

Families whose tiles have the same contents, for example by the minute and by the quarter of an hour, are one group and
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

__all__ = ["WindowGroup", "WindowSpans", "merges_by_column"]


class _Column(NamedTuple):
    """A column of state that merges independently of others.

    Attributes:
        slot: Its place among the family's columns.
        merge: Merges two values.
        is_float: Whether its words are doubles.
        nothing: Its value without events.
    """

    slot: int
    merge: np.ufunc
    is_float: bool
    nothing: int | float


class _Bound(NamedTuple):
    """A window's family in the group, and where it begins and ends, in tiles relative to the lookup's tile."""

    family: int
    begin: int
    end: int


@dataclass(frozen=True)
class WindowGroup:
    """Families whose tiles have the same contents and are rows of one table, and the windows over them.

    Attributes:
        run: Which table.
        numbers: The families' numbers.
        families: The families.
        windows: Of each family the windows asked for, and its widest windows; family by family.
        widest: Which of the windows are the widest: if any event counts for the view, it counts in one of these.
        bounds: Where each window begins and ends.
        columns: The needed columns of state that merge independently.
        words: Their words in a tile.
    """

    run: int
    numbers: tuple[int, ...]
    families: tuple[Family, ...]
    windows: tuple[Window, ...]
    widest: tuple[int, ...]
    bounds: tuple[_Bound, ...]
    columns: tuple[_Column, ...]
    words: slice | list[int]

    @classmethod
    def of(
        cls,
        run: int,
        families: Mapping[int, Family],
        places: Sequence[FeaturePlace],
        widest: Mapping[int, Sequence[Window]],
    ) -> WindowGroup:
        """Group the windows of some features.

        Args:
            run: Which table.
            families: The families, by number.
            places: The places of the features.
            widest: The widest windows of each family, by number.
        """
        windows: list[Window] = []
        tells: list[int] = []
        bounds: list[_Bound] = []
        for place, number in enumerate(families):
            mine = list(dict.fromkeys([*(one.window for one in places if one.family == number), *widest[number]]))
            tells += [len(windows) + mine.index(window) for window in widest[number]]
            windows += mine
            bounds += [_Bound(place, _first(window), 1 - window.lag) for window in mine]
        family = next(iter(families.values()))
        needed = dict.fromkeys(place.accumulator for place in places if merges_by_column(family, place.accumulator))
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
        """The number of a feature's window."""
        family = self.numbers.index(place.family)
        found = (number for number, window in enumerate(self.windows) if window == place.window)
        return next(number for number in found if self.bounds[number].family == family)

    def tiles_at(self, at_us: int) -> list[int]:
        """The tile of each family that contains the time of a lookup."""
        return [at_us // family.slide_us if family.slide_us else 0 for family in self.families]


def merges_by_column(family: Family, accumulator: int) -> bool:
    """Whether each column of an accumulator merges independently."""
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


class WindowSpans:
    """The tiles of some records that the windows of a group count at one time.

    Args:
        group: The windows.
        stored: The records.
        at_us: The time, in µs.
    """

    def __init__(self, group: WindowGroup, stored: StoredRecords, at_us: int) -> None:
        self._group = group
        self._stored = stored
        self._table = stored.tables[group.run]
        records = len(stored.encoded)
        tiles = group.tiles_at(at_us)
        # For each record and window its begin and end, as rows of the table; from the last window of the last record
        # to the first window of the first.
        self._indices = np.array(self._of_one(tiles)) if records == 1 else self._of_many(tiles, records)
        self._is_counted: BoolArray = self._indices[-2::-2] < self._indices[-1::-2]

    @property
    def is_counted(self) -> BoolArray:
        """Whether each window counts any tile of each record, shape (records, windows)."""
        return self._is_counted.reshape(-1, len(self._group.bounds))

    def merged(self, row: IntArray, rows: int, *, one_record_each: bool) -> list[Array]:
        """The columns of state, window by window of one row after the other, shape (rows * windows,) each.

        Args:
            row: Each record's row, ascending.
            rows: How many rows there are.
            one_record_each: Whether each row has one record.
        """
        indices, windows = self._indices, len(self._group.bounds)
        if not len(indices):
            return [_nothing(column, rows * windows) for column in self._group.columns]
        empty = ~self._is_counted if b"\0" in self._is_counted.tobytes() else None
        starts = None if one_record_each else np.flatnonzero(np.concatenate(([True], row[1:] != row[:-1])))
        # A contiguous copy per column: numpy merges neighbours several at a time.
        words = np.ascontiguousarray(self._table.T[self._group.words])
        floats = words.view(np.float64)
        found: list[Array] = []
        for number, described in enumerate(self._group.columns):
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
        """The state of an accumulator whose columns merge only together, per row.

        Args:
            tiles: The tiles of the window's family.
            accumulator: The accumulator.
            window: The window.
            row: Each record's row, ascending.
            rows: How many rows there are.
        """
        family = tiles.family
        aggregate = family.accumulators[accumulator].aggregate
        number = self._group.numbers[self._group.bounds[window].family]
        n_tiles = np.asarray(self._stored.n_tiles[number])
        begin, end = self._indices[::-1].reshape(-1, len(self._group.bounds), 2)[:, window, ::-1].T
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
        """Begins and ends in the only record, by bisection: a numpy call takes as long as three of these searches."""
        tile = self._table[:, 0].data
        first = [int(self._stored.first[number][0]) for number in self._group.numbers]
        last = [
            begin + int(self._stored.n_tiles[number][0])
            for begin, number in zip(first, self._group.numbers, strict=True)
        ]
        found: list[int] = []
        for family, begin, end in reversed(self._group.bounds):
            at, low, high = tiles[family], first[family], last[family]
            if low < high and tile[high - 1] >= at + end:  # usually no tile is newer than the lookup
                high = bisect_left(tile, at + end, low, high)
            found.append(bisect_left(tile, at + begin, low, high))
            found.append(high)
        return found

    def _of_many(self, tiles: Sequence[int], records: int) -> IntArray:
        """Begins and ends in each record."""
        bounds = self._group.bounds
        families = [self._group.numbers[bound.family] for bound in bounds]
        search = _Search.of(
            self._table, *(np.asarray(of)[families] for of in (self._stored.first, self._stored.n_tiles))
        )
        begins, ends = (
            np.array([[tiles[bound.family] + bound[side]] for bound in bounds], np.int64) for side in (1, 2)
        )
        found = np.empty((records, len(bounds), 2), np.int64)
        # Usually no tile is newer than the lookup.
        found[:, :, 0] = (search.last if (search.newest < ends).all() else search.last_before(ends)).T
        found[:, :, 1] = search.last_before(begins).T
        found += 1
        return found.reshape(-1)[::-1].copy()


class _Search(NamedTuple):
    """A search in a table for many windows and records at once.

    Attributes:
        table: The table.
        before: The row in front of the first tile, shape (windows, records).
        last: The row of the last tile, shape (windows, records).
        oldest: The first tile, shape (windows, records); undefined without tiles.
        newest: The last tile, shape (windows, records).
    """

    table: IntArray
    before: IntArray
    last: IntArray
    oldest: IntArray
    newest: IntArray

    @classmethod
    def of(cls, table: IntArray, first: IntArray, n_tiles: IntArray) -> _Search:
        """A search among `n_tiles` rows from `first` on, shape (windows, records) each."""
        words, width = table.reshape(-1), table.shape[1]
        before = first - 1
        last = before + n_tiles
        oldest, newest = words.take(first * width, mode="clip"), words.take(last * width, mode="clip")
        return cls(table, before, last, oldest, newest)

    def last_before(self, tiles: IntArray) -> IntArray:
        """The last row whose tile is before a given one; without such a row, the row in front of the first tile.

        Args:
            tiles: The tiles, shape (windows, 1).
        """
        words, width = self.table.reshape(-1), self.table.shape[1]
        # Tile numbers ascend by at least 1 per row, which leaves few candidate rows; they are searched by bisection.
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
    """A column of state without events."""
    return np.full(size, column.nothing, np.float64 if column.is_float else np.int64)
