"""Decoded records that a worker has read or written recently, so that a round neither reads nor decodes them again.

A record's tiles are one stretch of each family's rows. What a round changes is written behind the last stretch, and the
old stretch becomes unused. When there is no room left, the stretches in use are copied together (a log-structured heap
with copying, one generation).

    before   [ a a a | b b | c c c c | . . . ]      b gets a tile: its new stretch goes to the end
    after    [ a a a | - - | c c c c | b b b ]      the old one is unused until the next copy
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from headrace.aggregates import Array, IntArray
from headrace.records.layout import Records
from headrace.records.words import segments
from headrace.stores.base import RecordKey
from headrace.windows import Family, Tiles, ViewLayout

__all__ = ["RecordCache"]

_KEY_BYTES = 900
"""About what a record takes besides its tiles: its key, its name and its entry in the dictionary."""

_OBJECT_BYTES = 50
"""About what a string or bytes object takes besides its characters."""

_MIN_ROWS = 1 << 10


class RecordCache:
    """The cached records of one version of a view.

    Args:
        layout: How they are laid out.

    Attributes:
        keys: Each record's key, by its number.
    """

    def __init__(self, layout: ViewLayout) -> None:
        self.keys: list[RecordKey] = []
        self._entities: list[bytes] = []
        self._entity_bytes = 0
        self._numbers: dict[Hashable, int] = {}
        self._heads = np.empty((0, 3 + len(layout.families)), np.int64)
        self._stretches = [_Stretches(family) for family in layout.families]

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def nbytes(self) -> int:
        """About how many bytes the cache takes."""
        return (
            _KEY_BYTES * len(self)
            + self._entity_bytes
            + self._heads.nbytes
            + sum(one.nbytes for one in self._stretches)
        )

    def numbers(self, names: Sequence[Hashable]) -> list[int | None]:
        """The number of each record, by the name that it was added under; None for those that are missing."""
        return list(map(self._numbers.get, names))

    def add(self, names: Sequence[Hashable], keys: Sequence[RecordKey], records: Records) -> None:
        """Add records that are missing.

        Args:
            names: What the caller finds each by.
            keys: Their keys.
            records: The records; they may be not written yet.
        """
        first = len(self)
        numbers = np.arange(first, first + len(keys))
        self._numbers.update(zip(names, numbers.tolist(), strict=True))
        self.keys.extend(keys)
        self._entities.extend(key.entity for key in keys)
        # A key is counted three times: its bytes, the name, and the values in the name.
        self._entity_bytes += 3 * sum(len(key.entity) for key in keys)
        if len(self) > len(self._heads):
            self._heads = _grown(self._heads, len(self))
        self.put(numbers, records)

    def take(self, numbers: IntArray) -> Records:
        """Copy records out, in the order given.

        Args:
            numbers: Their numbers, each once, shape (records,).
        """
        heads = self._heads[numbers]
        entities = self._entities
        return Records(
            [entities[number] for number in numbers.tolist()],
            heads[:, 0],
            heads[:, 1],
            heads[:, 2],
            [heads[:, 3 + at] for at in range(len(self._stretches))],
            [one.take(numbers) for one in self._stretches],
        )

    def put(self, numbers: IntArray, records: Records) -> None:
        """Replace records.

        Args:
            numbers: Their numbers, each once, shape (records,).
            records: Their new contents.
        """
        heads = [records.applied, records.known_through_us, records.newest_ts_us, *records.dropped]
        self._heads[numbers] = np.stack(heads, axis=1)
        for one, tiles in zip(self._stretches, records.tiles, strict=True):
            one.put(numbers, tiles)


class _Stretches:
    """The tiles of one family, a stretch for each record."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._rows = np.empty((0, 2 + len(family.columns)), np.int64)
        self._objects: tuple[Array, ...] = tuple(np.empty(0, object) for _ in family.objects)
        self._starts = np.zeros(0, np.int64)
        self._counts = np.zeros(0, np.int64)
        self._used = 0
        self._object_bytes = 0

    @property
    def nbytes(self) -> int:
        """About how many bytes they take, unused stretches included."""
        references = sum(column.nbytes for column in self._objects)
        return self._rows.nbytes + references + self._object_bytes + 16 * len(self._starts)

    def take(self, numbers: IntArray) -> Tiles:
        """The tiles of some records, copied."""
        counts = self._counts[numbers]
        places = segments(self._starts[numbers], counts)
        group = np.repeat(np.arange(len(numbers)), counts)
        objects = tuple(column[places] for column in self._objects)
        return Tiles(self._family, group, self._rows.take(places, axis=0), objects)

    def put(self, numbers: IntArray, tiles: Tiles) -> None:
        """Replace the tiles of some records."""
        missing = int(numbers.max(initial=-1)) + 1 - len(self._starts)
        if missing > 0:
            room = np.zeros(max(missing, len(self._starts)), np.int64)
            self._starts, self._counts = np.append(self._starts, room), np.append(self._counts, room)
        self._counts[numbers] = 0
        if self._used + len(tiles) > len(self._rows):
            self._make_room(len(tiles))
        end = self._used + len(tiles)
        self._rows[self._used : end] = tiles.rows
        for column, new in zip(self._objects, tiles.objects, strict=True):
            column[self._used : end] = new
            self._object_bytes += _bytes_of(new)
        counts = np.bincount(tiles.group, minlength=len(numbers))
        self._starts[numbers] = self._used + np.cumsum(counts) - counts
        self._counts[numbers] = counts
        self._used = end

    def _make_room(self, more: int) -> None:
        """Copy the stretches in use together, into twice the room that they and `more` tiles need."""
        places = segments(self._starts, self._counts)
        self._used = len(places)
        room = max(_MIN_ROWS, 2 * (self._used + more))
        self._rows = _moved(self._rows, places, np.empty((room, self._rows.shape[1]), np.int64))
        self._objects = tuple(_moved(column, places, np.empty(room, object)) for column in self._objects)
        self._object_bytes = sum(_bytes_of(column[: self._used]) for column in self._objects)
        self._starts = np.cumsum(self._counts) - self._counts


def _bytes_of(objects: Array) -> int:
    """About how many bytes strings and bytes take."""
    return sum(_OBJECT_BYTES + len(one) for one in objects.tolist() if one is not None)


def _moved(rows: Array, places: IntArray, room: Array) -> Array:
    """Copy the rows at some places to the beginning of a new array, `room`."""
    room[: len(places)] = rows[places]
    return room


def _grown(heads: IntArray, needed: int) -> IntArray:
    """The same rows in an array with room for `needed` of them, or for twice as many as now."""
    room = np.zeros((max(needed, 2 * len(heads)), heads.shape[1]), np.int64)
    room[: len(heads)] = heads
    return room
