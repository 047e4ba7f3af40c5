"""The log's events of a spine's entities, as columns that are read when they are needed.

First only join keys and times are read, to know which rows of which row groups count. Other columns follow one at a time: whole, where they are
aggregated, or of single events, where only the value of a last one is wanted. What a file's statistics exclude is not read at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.aggregates import Array, BoolArray, IntArray
from headrace.errors import LogError
from headrace.events.batch import ARROW_TYPES, column_values
from headrace.history.keys import KeyIndex
from headrace.history.matching import TimeBounds, ViewMatch
from headrace.log import LogSnapshot
from headrace.plan import DType, Source

__all__ = ["Cells", "DerivedEvents", "Events", "LogEvents", "in_threads"]

TS, KNOWN_AT, PARTITION, OFFSET = "_ts_us", "_known_at_us", "_partition", "_offset"

_T = TypeVar("_T")
_R = TypeVar("_R")


class Cells(NamedTuple):
    """A column of events.

    Attributes:
        data: int64 (also for bool and timestamp in µs), float64 or object (strings); what stands at a null is undefined.
        valid: False where the value is null; None where none is.
    """

    data: Array
    valid: BoolArray | None


class Events(Protocol):
    """Events of a spine's entities, numbered from 0.

    Attributes:
        key_id: Each event's entity, shape (n,).
        ts_us: Event times.
        known_us: From when each is known; the same object as ``ts_us`` where that is the event time.
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
        """Whether a column is null nowhere; None where one would have to look."""
        ...

    def position(self) -> IntArray:
        """Source positions as one number that orders like (partition, offset)."""
        ...

    def take(self, columns: Sequence[str], numbers: IntArray) -> pa.Table:
        """The values of some events, by number; null where the number is -1."""
        ...


def in_threads(threads: int, function: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Call a function that lets other threads run with each of some items, several at a time."""
    if threads <= 1 or len(items) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        return list(pool.map(function, items))


@dataclass
class _Unit:
    """A row group of a file, and which of its rows are events of the spine's entities.

    Attributes:
        keep: Which rows; None is all.
        kept: How many.
        start: The number of the first.
    """

    path: str
    metadata: pq.FileMetaData
    row_group: int
    keep: BoolArray | None = None
    kept: int = 0
    start: int = 0


class LogEvents:
    """Events of a log's files.

    Args:
        snapshot: The version of the log.
        source: What its columns are.
        join_keys: The columns that name the entity.
        keys: The spine's entities.
        bounds: The event times that can matter.
        known: Whether events count from ``_known_at_us`` on, and not from their own time.
        threads: How many row groups to read at a time.

    Raises:
        LogError: A file is missing or does not read.
    """

    def __init__(
        self,
        snapshot: LogSnapshot,
        source: Source,
        join_keys: Sequence[str],
        keys: KeyIndex,
        bounds: TimeBounds,
        *,
        known: bool,
        threads: int,
    ) -> None:
        self._snapshot = snapshot
        self._types = {column.name: column.dtype for column in source.columns}
        self._join_keys = list(join_keys)
        self._keys = keys
        self._bounds = bounds
        self._known = known
        self._threads = threads
        paths = snapshot.between(bounds.from_us, bounds.until_us)
        self._units = [unit for units in in_threads(threads, self._units_of, paths) for unit in units]
        self.key_id, self.ts_us, self.known_us = self._select()

    def tables(self) -> Iterator[pa.Table]:
        """The events as they were logged, a row group at a time."""
        own = [TS, KNOWN_AT, PARTITION, OFFSET]
        for unit in self._units:
            yield _plain(self._read(unit, [*own, *(name for name in self._types if name not in own)]))

    def cells(self, column: str) -> Cells:
        """A column's values."""
        parts = in_threads(
            self._threads, lambda unit: column_values(_plain(self._read(unit, [column])).column(column)), self._units
        )
        if not parts:
            data, _ = column_values(pa.chunked_array([], ARROW_TYPES[self._types[column]]))
            return Cells(data, None)
        data, valid = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return Cells(data, None if valid.all() else valid)

    def valid(self, column: str) -> BoolArray | None:
        """Where a column is not null; None where it never is."""
        if self.is_full(column):
            return None
        parts = in_threads(self._threads, lambda unit: _valid(self._read(unit, [column]).column(column)), self._units)
        if all(part is None for part in parts):
            return None
        return np.concatenate(
            [
                np.ones(unit.kept, np.bool_) if part is None else part
                for unit, part in zip(self._units, parts, strict=True)
            ]
        )

    def is_full(self, column: str) -> bool | None:
        """Whether a column is null nowhere; None where the files' statistics do not say."""
        nulls = [_null_count(unit, column) for unit in self._units]
        if any(nulls):
            return False
        return None if None in nulls else True

    def position(self) -> IntArray:
        """Source positions as one number that orders like (partition, offset)."""

        def read(unit: _Unit) -> IntArray:
            table = self._read(unit, [PARTITION, OFFSET])
            return (_ints(table.column(PARTITION)) << 48) | _ints(table.column(OFFSET))

        return np.concatenate([np.zeros(0, np.int64), *in_threads(self._threads, read, self._units)])

    def take(self, columns: Sequence[str], numbers: IntArray) -> pa.Table:
        """The values of some events, by number; null where the number is -1."""
        rows = np.flatnonzero(numbers >= 0)
        rows = rows[np.argsort(numbers[rows])]
        wanted = numbers[rows]
        starts = np.searchsorted(wanted, [unit.start for unit in self._units])
        ends = np.searchsorted(wanted, [unit.start + unit.kept for unit in self._units])

        def read(part: tuple[_Unit, int, int]) -> pa.Table:
            unit, start, end = part
            return _plain(self._read(unit, columns).take(pa.array(wanted[start:end] - unit.start)))

        parts = [
            (unit, int(start), int(end))
            for unit, start, end in zip(self._units, starts, ends, strict=True)
            if start < end
        ]
        empty = pa.schema([(column, ARROW_TYPES[self._types[column]]) for column in columns]).empty_table()
        found = pa.concat_tables([empty, *in_threads(self._threads, read, parts)]).combine_chunks()
        place: IntArray = np.full(len(numbers), -1)
        place[rows] = np.arange(len(rows))
        return found.take(pa.array(place, mask=place < 0))

    def _units_of(self, path: str) -> list[_Unit]:
        try:
            metadata = pq.read_metadata(path, memory_map=True)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(path, error) from error
        groups = [_Unit(path, metadata, number) for number in range(metadata.num_row_groups)]
        return [unit for unit in groups if self._in_reach(unit)]

    def _in_reach(self, unit: _Unit) -> bool:
        statistics = _statistics(unit, TS)
        if statistics is None or not statistics.has_min_max:
            return True
        first, last = self._bounds
        return (last is None or statistics.min <= last) and (first is None or statistics.max >= first)

    def _select(self) -> tuple[IntArray, IntArray, IntArray]:
        """Find the rows that count; their entities, event times, and from when they are known."""
        found = in_threads(self._threads, self._select_of, self._units)
        number = 0
        for unit in self._units:
            unit.start = number
            number += unit.kept
        key_id, ts_us, known_us = (
            np.concatenate([np.zeros(0, np.int64), *parts])
            for parts in (zip(*found, strict=True) if found else ((),) * 3)
        )
        return key_id, ts_us, known_us if self._known else ts_us

    def _select_of(self, unit: _Unit) -> tuple[IntArray, IntArray, IntArray]:
        times = [TS, KNOWN_AT] if self._known else [TS]
        table = self._read(unit, [*self._join_keys, *times])
        key_id = self._keys.of([table.column(name) for name in self._join_keys])
        ts_us = _ints(table.column(TS))
        known_us = _ints(table.column(KNOWN_AT)) if self._known else np.zeros(0, np.int64)
        keep = key_id >= 0
        first, last = self._bounds
        if first is not None:
            keep &= ts_us >= first
        if last is not None:
            keep &= ts_us <= last
        unit.kept = int(np.count_nonzero(keep))
        if unit.kept < len(keep):
            unit.keep = keep
            key_id, ts_us = key_id[keep], ts_us[keep]
            known_us = known_us[keep] if self._known else known_us
        return key_id, ts_us, known_us

    def _read(self, unit: _Unit, columns: Sequence[str]) -> pa.Table:
        held = unit.metadata.schema.to_arrow_schema().names
        strings = [name for name in columns if name in held and self._types.get(name) is DType.STRING]
        try:
            with pq.ParquetFile(unit.path, metadata=unit.metadata, read_dictionary=strings, memory_map=True) as file:
                table = file.read_row_group(
                    unit.row_group, [name for name in columns if name in held], use_threads=self._threads > 1
                )
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(unit.path, error) from error
        for name in columns:  # a file that was written before a column was declared lacks it
            if name not in held:
                rows = unit.metadata.row_group(unit.row_group).num_rows
                table = table.append_column(name, pa.nulls(rows, ARROW_TYPES[self._types[name]]))
        return table if unit.keep is None else table.filter(pa.array(unit.keep))

    def _unreadable(self, path: str, error: Exception) -> LogError:
        cure = "If the log was vacuumed since, take its newest version; else restore its folder from a copy."
        where = f"{self._snapshot.path} (version {self._snapshot.version})"
        return LogError(f"The log at {where} cannot be read: {path}: {str(error).splitlines()[0]}", cure=cure)


class DerivedEvents:
    """Events with the columns that a view derives from them.

    Args:
        logged: The events as they were logged.
        derive: Appends the derived columns to a table.
        match: What is asked of the view.
    """

    def __init__(self, logged: LogEvents, derive: Callable[[pa.Table], pa.Table], match: ViewMatch) -> None:
        self._logged = logged
        self.key_id, self.ts_us, self.known_us = logged.key_id, logged.ts_us, logged.known_us
        needed = list(match.columns)
        empty = pa.schema([(name, ARROW_TYPES[match.source.column(name).dtype]) for name in needed]).empty_table()
        tables = [derive(table).select(needed).cast(empty.schema) for table in logged.tables()]
        self._table = pa.concat_tables([empty, *tables]).combine_chunks()

    def cells(self, column: str) -> Cells:
        """A column's values."""
        data, valid = column_values(self._table.column(column))
        return Cells(data, None if valid.all() else valid)

    def valid(self, column: str) -> BoolArray | None:
        """Where a column is not null; None where it never is."""
        return _valid(self._table.column(column))

    def is_full(self, column: str) -> bool | None:
        """Whether a column is null nowhere."""
        return not self._table.column(column).null_count

    def position(self) -> IntArray:
        """Source positions as one number that orders like (partition, offset)."""
        return self._logged.position()

    def take(self, columns: Sequence[str], numbers: IntArray) -> pa.Table:
        """The values of some events, by number; null where the number is -1."""
        return self._table.select(list(columns)).take(pa.array(numbers, mask=numbers < 0))


def _plain(table: pa.Table) -> pa.Table:
    """A table whose dictionaries are values again."""
    for number, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(number, field.name, table.column(number).cast(field.type.value_type))
    return table


def _statistics(unit: _Unit, column: str) -> pq.Statistics | None:
    group = unit.metadata.row_group(unit.row_group)
    for number in range(group.num_columns):
        found = group.column(number)
        if found.path_in_schema == column:
            return found.statistics
    return None


def _null_count(unit: _Unit, column: str) -> int | None:
    """How many nulls a column has, as far as the file says."""
    statistics = _statistics(unit, column)
    return statistics.null_count if statistics is not None and statistics.has_null_count else None


def _valid(column: pa.ChunkedArray) -> BoolArray | None:
    if not column.null_count:
        return None
    valid: BoolArray = column.is_valid().to_numpy()
    return valid


def _ints(column: pa.ChunkedArray) -> IntArray:
    values: IntArray = column.to_numpy().astype(np.int64, copy=False)
    return values
