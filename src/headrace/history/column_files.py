"""The row groups of a log's files, read by column."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.errors import LogError
from headrace.events.event_batch import ARROW_TYPES
from headrace.events.logged_columns import declared_column
from headrace.history.join_plan import TimeBounds
from headrace.log import LogSnapshot
from headrace.log.log_columns import KNOWN_AT, OFFSET, PARTITION, TS
from headrace.plan import DType, Source

__all__ = ["LogFiles", "Unit", "in_threads", "plain"]

_T = TypeVar("_T")
_R = TypeVar("_R")


def in_threads(threads: int, function: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
    """Call a function for each item, several at a time; the function must let other threads run."""
    if threads <= 1 or len(items) <= 1:
        return [function(item) for item in items]
    with ThreadPoolExecutor(min(threads, len(items))) as pool:
        return list(pool.map(function, items))


@dataclass(frozen=True)
class Unit:
    """A row group of a file."""

    path: str
    metadata: pq.FileMetaData
    row_group: int

    @property
    def rows(self) -> int:
        """How many rows it has."""
        rows: int = self.metadata.row_group(self.row_group).num_rows
        return rows

    def nulls(self, column: str) -> int | None:
        """How many nulls a column has; None where the file does not say."""
        statistics = self.statistics(column)
        return statistics.null_count if statistics is not None and statistics.has_null_count else None

    def statistics(self, column: str) -> pq.Statistics | None:
        """What the file says about a column."""
        group = self.metadata.row_group(self.row_group)
        for number in range(group.num_columns):
            found = group.column(number)
            if found.path_in_schema == column:
                return found.statistics
        return None


class LogFiles:
    """The row groups of a log that can hold events of a span of time.

    Args:
        snapshot: The version of the log.
        source: What its columns are.
        bounds: The event times that can matter.
        threads: How many row groups to read at a time.

    Attributes:
        source: What its columns are.
        bounds: The event times that can matter.
        threads: How many row groups to read at a time.
        units: The row groups.

    Raises:
        LogError: A file is missing or does not read.
    """

    def __init__(self, snapshot: LogSnapshot, source: Source, bounds: TimeBounds, threads: int) -> None:
        self._filesystem = snapshot.filesystem
        self._where = f"{snapshot.path} (version {snapshot.version})"
        self._declared = {column.name: column for column in source.columns}
        self.source, self.bounds, self.threads = source, bounds, threads
        paths = snapshot.between(bounds.from_us, bounds.until_us)
        self.units = [unit for units in in_threads(threads, self._units_of, paths) for unit in units]

    @property
    def rows(self) -> int:
        """How many rows the row groups have."""
        return sum(unit.rows for unit in self.units)

    @property
    def every_column(self) -> list[str]:
        """The names of all columns: position, times, and the source's own."""
        return list(dict.fromkeys([TS, KNOWN_AT, PARTITION, OFFSET, *self._declared]))

    def type_of(self, column: str) -> pa.DataType:
        """The type of one of the source's columns."""
        return ARROW_TYPES[self._declared[column].dtype]

    def read(self, unit: Unit, columns: Sequence[str]) -> pa.Table:
        """Some columns of a row group, strings as dictionaries.

        Args:
            unit: The row group.
            columns: The columns; they are read as the source declares them now.

        Raises:
            LogError: The file does not read.
        """
        in_file = unit.metadata.schema.to_arrow_schema().names
        strings = [
            name
            for name in columns
            if name in in_file and name in self._declared and self._declared[name].dtype in (DType.STRING, DType.JSON)
        ]
        try:
            with pq.ParquetFile(
                unit.path, metadata=unit.metadata, read_dictionary=strings, filesystem=self._filesystem
            ) as file:
                present = [name for name in columns if name in in_file]
                table = file.read_row_group(unit.row_group, present, use_threads=self.threads > 1)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(unit.path, error) from error
        return pa.table(
            {
                name: declared_column(table, self._declared[name], f"The log's file {unit.path}")
                if name in self._declared
                else table.column(name)
                for name in columns
            }
        )

    def _units_of(self, path: str) -> list[Unit]:
        try:
            metadata = pq.read_metadata(path, filesystem=self._filesystem)
        except (pa.ArrowException, OSError) as error:
            raise self._unreadable(path, error) from error
        units = [Unit(path, metadata, number) for number in range(metadata.num_row_groups)]
        return [unit for unit in units if self._in_reach(unit)]

    def _in_reach(self, unit: Unit) -> bool:
        statistics = unit.statistics(TS)
        if statistics is None or not statistics.has_min_max:
            return True
        first, last = self.bounds.from_us, self.bounds.until_us
        return (last is None or statistics.min <= last) and (first is None or statistics.max >= first)

    def _unreadable(self, path: str, error: Exception) -> LogError:
        hint = "If the log was vacuumed since, take its newest version; else restore its folder from a copy."
        return LogError(f"The log at {self._where} cannot be read: {path}: {str(error).splitlines()[0]}", hint=hint)


def plain(table: pa.Table) -> pa.Table:
    """A table with plain columns in place of dictionaries."""
    for number, field in enumerate(table.schema):
        if pa.types.is_dictionary(field.type):
            table = table.set_column(number, field.name, table.column(number).cast(field.type.value_type))
    return table
