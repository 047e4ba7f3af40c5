"""The log's events of a spine's entities. Their columns are read when they are needed.

First only join keys and times are read, to know which rows of which row groups count. Other columns follow one at a
time: whole, where they are aggregated, or of single events, where only the value of a last one is wanted. What a file's
statistics exclude is not read at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from headrace.aggregates import Array, BoolArray, IntArray
from headrace.events.event_batch import ARROW_TYPES, column_values
from headrace.history.column_files import LogFiles, Unit, in_threads, plain
from headrace.history.entity_index import KeyIndex
from headrace.history.join_plan import JoinPlan, TimeBounds
from headrace.log.log_columns import KNOWN_AT, OFFSET, PARTITION, TS

__all__ = ["OFFSET_BITS", "Cells", "Events", "LogEvents", "Selected", "TableEvents", "derived", "positions", "select"]

OFFSET_BITS = 48
"""A position is partition << 48 | offset."""


class Cells(NamedTuple):
    """A column of events.

    Attributes:
        data: int64 (also for bool, timestamp in µs and date in days), float64 or object (strings); values at
            nulls are undefined.
        valid: False where the value is null; None where none is.
    """

    data: Array
    valid: BoolArray | None


class Events(Protocol):
    """Events of a spine's entities, numbered from 0.

    Attributes:
        key_id: Each event's entity, shape (n,).
        ts_us: Event times.
        known_us: From when each is known; the same object as ``ts_us`` where events are known when they happen.
    """

    key_id: IntArray
    ts_us: IntArray
    known_us: IntArray

    def cells(self, column: str) -> Cells:
        """A column's values."""
        ...

    def valid(self, column: str) -> BoolArray | None:
        """Where a column is not null; None where it never is."""
        ...

    def is_full(self, column: str) -> bool | None:
        """Whether a column has no nulls; None where only its values can tell."""
        ...

    def position(self) -> IntArray:
        """Source positions as one number that orders like (partition, offset)."""
        ...

    def take(self, columns: Sequence[str], numbers: IntArray) -> pa.Table:
        """The values of some events, by number; null where the number is -1."""
        ...


class Selected(NamedTuple):
    """The rows of a table that are events of a spine's entities.

    Attributes:
        key_id: Their entities, shape (n,).
        ts_us: Their times.
        known_us: From when each is known.
        keep: Which rows of the table they are; None is all.
    """

    key_id: IntArray
    ts_us: IntArray
    known_us: IntArray
    keep: BoolArray | None


def select(table: pa.Table, join_keys: Sequence[str], keys: KeyIndex, bounds: TimeBounds, known_at: str) -> Selected:
    """Find the rows of a table that are events of the spine's entities, within the bounds.

    Args:
        table: Rows of a log, at least with join keys and times.
        join_keys: The columns that name the entity.
        keys: The spine's entities.
        bounds: The event times that can matter, and until when events may have become known.
        known_at: The column that says from when an event is known.
    """
    key_id, ts_us, known_us = (
        keys.of([table.column(name) for name in join_keys]),
        _ints(table, TS),
        _ints(table, known_at),
    )
    keep = key_id >= 0
    if bounds.from_us is not None:
        keep &= ts_us >= bounds.from_us
    if bounds.until_us is not None:
        keep &= ts_us <= bounds.until_us
    if bounds.known_until_us is not None:
        keep &= _ints(table, KNOWN_AT) <= bounds.known_until_us
    if keep.all():
        return Selected(key_id, ts_us, known_us, None)
    return Selected(key_id[keep], ts_us[keep], known_us[keep], keep)


def positions(table: pa.Table) -> IntArray:
    """Source positions as one number that orders like (partition, offset)."""
    return (_ints(table, PARTITION) << OFFSET_BITS) | _ints(table, OFFSET)


@dataclass(frozen=True)
class _Part:
    """The events of a row group: which of its rows they are (None is all), how many, and the number of the first."""

    unit: Unit
    keep: BoolArray | None
    start: int
    rows: int


class LogEvents:
    """Events of a log's files.

    Args:
        files: The files.
        join_keys: The columns that name the entity.
        keys: The spine's entities.
        known: Whether events count from ``_known_at_us`` on, and not from their own time.

    Raises:
        LogError: A file does not read.
    """

    def __init__(self, files: LogFiles, join_keys: Sequence[str], keys: KeyIndex, *, known: bool) -> None:
        self._files = files
        known_at = KNOWN_AT if known else TS
        pinned = () if files.bounds.known_until_us is None else (KNOWN_AT,)

        def selected(unit: Unit) -> Selected:
            table = files.read(unit, list(dict.fromkeys([*join_keys, TS, known_at, *pinned])))
            return select(table, join_keys, keys, files.bounds, known_at)

        found = in_threads(files.threads, selected, files.units)
        starts = np.cumsum([0, *(len(one.key_id) for one in found)]).tolist()
        self._parts = [
            _Part(unit, one.keep, start, len(one.key_id))
            for unit, one, start in zip(files.units, found, starts[:-1], strict=True)
        ]
        self.key_id = _joined([one.key_id for one in found])
        self.ts_us = _joined([one.ts_us for one in found])
        self.known_us = _joined([one.known_us for one in found]) if known else self.ts_us

    def tables(self) -> Iterator[pa.Table]:
        """The events as they were logged, a row group at a time."""
        for part in self._parts:
            yield plain(self._read(part, self._files.every_column))

    def cells(self, column: str) -> Cells:
        """A column's values."""
        empty = pa.chunked_array([], self._files.type_of(column))
        parts = in_threads(
            self._files.threads,
            lambda part: column_values(plain(self._read(part, [column])).column(column)),
            self._parts,
        )
        data, valid = (np.concatenate(arrays) for arrays in zip(column_values(empty), *parts, strict=True))
        return Cells(data, None if valid.all() else valid)

    def valid(self, column: str) -> BoolArray | None:
        """Where a column is not null; None where it never is."""
        if self.is_full(column):
            return None
        valid = in_threads(
            self._files.threads, lambda part: _valid(self._read(part, [column]).column(column)), self._parts
        )
        if all(one is None for one in valid):
            return None
        every = (
            np.ones(part.rows, np.bool_) if one is None else one for part, one in zip(self._parts, valid, strict=True)
        )
        return np.concatenate(list(every))

    def is_full(self, column: str) -> bool | None:
        """Whether a column has no nulls; None where the files' statistics do not say."""
        nulls = [part.unit.nulls(column) for part in self._parts]
        if any(nulls):
            return False
        return None if None in nulls else True

    def position(self) -> IntArray:
        """Source positions as one number that orders like (partition, offset)."""
        return _joined(
            in_threads(self._files.threads, lambda part: positions(self._read(part, [PARTITION, OFFSET])), self._parts)
        )

    def take(self, columns: Sequence[str], numbers: IntArray) -> pa.Table:
        """The values of some events, by number; null where the number is -1."""
        rows = np.flatnonzero(numbers >= 0)
        starts = np.array([part.start for part in self._parts], np.int64)
        part_of = np.searchsorted(starts, numbers[rows], side="right") - 1
        small = part_of.astype(np.uint16 if len(starts) < 1 << 16 else np.int64)
        rows = rows[np.argsort(small, kind="stable")]
        ends = np.cumsum(np.bincount(part_of, minlength=len(starts))).tolist()
        asked = [
            (part, numbers[rows[first:end]] - part.start)
            for part, first, end in zip(self._parts, [0, *ends][:-1], ends, strict=True)
            if first < end
        ]
        found = in_threads(
            self._files.threads, lambda one: plain(self._read(one[0], columns).take(pa.array(one[1]))), asked
        )
        empty = pa.schema([(column, self._files.type_of(column)) for column in columns]).empty_table()
        place: IntArray = np.full(len(numbers), -1)
        place[rows] = np.arange(len(rows))
        every, at = pa.concat_tables([empty, *found]), pa.array(place, mask=place < 0)
        # A column at a time in each thread: Arrow takes them one after the other.
        taken = in_threads(
            self._files.threads, lambda column: every.column(column).combine_chunks().take(at), list(columns)
        )
        return pa.table(taken, names=list(columns))

    def _read(self, part: _Part, columns: Sequence[str]) -> pa.Table:
        table = self._files.read(part.unit, columns)
        return table if part.keep is None else table.filter(pa.array(part.keep))


class TableEvents:
    """Events whose columns are in memory.

    Args:
        table: Their columns.
        key_id: Their entities, shape (n,).
        ts_us: Their times.
        known_us: From when each is known.
        position: Gives their source positions.
    """

    def __init__(
        self, table: pa.Table, key_id: IntArray, ts_us: IntArray, known_us: IntArray, position: Callable[[], IntArray]
    ) -> None:
        self._table = table
        self.key_id, self.ts_us, self.known_us = key_id, ts_us, known_us
        self._position = position

    def cells(self, column: str) -> Cells:
        """A column's values."""
        data, valid = column_values(self._table.column(column))
        return Cells(data, None if valid.all() else valid)

    def valid(self, column: str) -> BoolArray | None:
        """Where a column is not null; None where it never is."""
        return _valid(self._table.column(column))

    def is_full(self, column: str) -> bool | None:
        """Whether a column has no nulls."""
        return not self._table.column(column).null_count

    def position(self) -> IntArray:
        """Source positions as one number that orders like (partition, offset)."""
        return self._position()

    def take(self, columns: Sequence[str], numbers: IntArray) -> pa.Table:
        """The values of some events, by number; null where the number is -1."""
        return self._table.select(list(columns)).combine_chunks().take(pa.array(numbers, mask=numbers < 0))


def derived(logged: LogEvents, derive: Callable[[pa.Table], pa.Table], plan: JoinPlan) -> TableEvents:
    """Events with the columns that a view derives from them.

    Args:
        logged: The events as they were logged.
        derive: Appends the derived columns to a table.
        plan: The view's part of the join plan.
    """
    needed = list(plan.columns)
    empty = pa.schema([(name, ARROW_TYPES[plan.source.column(name).dtype]) for name in needed]).empty_table()
    tables = [derive(table).select(needed).cast(empty.schema) for table in logged.tables()]
    table = pa.concat_tables([empty, *tables]).combine_chunks()
    return TableEvents(table, logged.key_id, logged.ts_us, logged.known_us, logged.position)


def _joined(parts: Sequence[IntArray]) -> IntArray:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _valid(column: pa.ChunkedArray) -> BoolArray | None:
    if not column.null_count:
        return None
    valid: BoolArray = column.is_valid().to_numpy()
    return valid


def _ints(table: pa.Table, name: str) -> IntArray:
    values: IntArray = table.column(name).to_numpy().astype(np.int64, copy=False)
    return values
