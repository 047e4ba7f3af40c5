"""One version of a log table, as readers see it: a list of Parquet files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq
from deltalake import DeltaTable

from headrace.errors import LogError
from headrace.log.file_errors import reading
from headrace.log.location import Location
from headrace.log.log_columns import FIRST_IMPORT, KNOWN_AT, OFFSET, PARTITION, TS
from headrace.log.parquet_files import columns_mark

__all__ = ["LogFile", "LogSnapshot", "file_columns", "log_files"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class LogFile:
    """A Parquet file of the log.

    Attributes:
        path: Its path in the snapshot's file system.
        date: The UTC date of every event in it.
        rows: How many events it holds.
        partitions: The least and greatest source partition in it.
        offsets: The least and greatest offset in it, over all its partitions.
        first_us: The least event time in it, in µs; None where the table does not say.
        known_us: When the first of its events became known, in µs; None where the table does not say.
    """

    path: str
    date: date
    rows: int
    partitions: tuple[int, int]
    offsets: tuple[int, int]
    first_us: int | None = None
    known_us: int | None = None


@dataclass(frozen=True)
class LogSnapshot:
    """One version of a topic's log. A topic without a log yet has a snapshot without files.

    Attributes:
        topic: The topic.
        location: The table's place.
        version: The Delta version; None where there is no table yet.
        schema: The table's columns.
        files: Its Parquet files, by date and path.
    """

    topic: str
    location: Location
    version: int | None
    schema: pa.Schema
    files: tuple[LogFile, ...]

    @property
    def path(self) -> str:
        """The table's path or URI."""
        return str(self.location)

    @property
    def filesystem(self) -> pafs.FileSystem:
        """What opens the files."""
        return self.location.filesystem

    @property
    def rows(self) -> int:
        """How many events it holds."""
        return sum(file.rows for file in self.files)

    def partitions(self) -> list[int]:
        """The source partitions that can have events here, ascending: Kafka's up to its greatest, and those of imports.

        Raises:
            LogError: A file does not read.
        """
        found: set[int] = set()
        for file in self.files:
            low, high = file.partitions
            # Only a file that an erasure rewrote has both kinds: the numbers between them are nobody's.
            found.update(
                range(low, high + 1) if high < FIRST_IMPORT or low == high else _partitions_in(self.location, file)
            )
        kafka = max((number for number in found if number < FIRST_IMPORT), default=-1)
        return sorted({*range(kafka + 1), *found})

    def between(self, from_us: int | None, until_us: int | None) -> list[str]:
        """The paths of the files that can hold events of a stretch of time.

        Args:
            from_us: The first event time of interest, in µs; None is the beginning.
            until_us: The last event time of interest, in µs; None is the end.

        Returns:
            The paths, by date.
        """
        first, last = _date_of(from_us, date.min), _date_of(until_us, date.max)
        return [file.path for file in self.files if first <= file.date <= last]


def log_files(table: DeltaTable, location: Location) -> tuple[LogFile, ...]:
    """The files of a Delta table's version.

    Args:
        table: The table, at the version.
        location: Its place.

    Raises:
        LogError: It is not a log.
    """
    adds = pa.table(table.get_add_actions(flatten=True))
    names = [
        "path",
        "partition._date",
        "num_records",
        f"min.{PARTITION}",
        f"max.{PARTITION}",
        f"min.{OFFSET}",
        f"max.{OFFSET}",
    ]
    absent = [name for name in names if name not in adds.column_names]
    if absent and adds.num_rows:
        msg = f"The Delta table at {location} is not a headrace log: its files lack {absent[0]}."
        raise LogError(msg, hint="Move it away, or set `state` in headrace.toml to another folder.")
    rows = zip(*(_column(adds, name) for name in (*names, f"min.{TS}", f"min.{KNOWN_AT}")), strict=True)
    files = [
        LogFile(location.file(unquote(name)), date, n, (low_p, high_p), (low_o, high_o), first, known)
        for name, date, n, low_p, high_p, low_o, high_o, first, known in rows
    ]
    return tuple(sorted(files, key=lambda file: (file.date, file.path)))


def _column(adds: pa.Table, name: str) -> list[Any]:
    found: list[Any] = adds.column(name).to_pylist() if name in adds.column_names else [None] * adds.num_rows
    return found


def file_columns(location: Location, paths: Sequence[str]) -> dict[str, dict[str, pa.DataType]]:
    """The columns that files have, by path and name. Files whose names say that they are alike are read once.

    Args:
        location: The table's place.
        paths: The files.

    Raises:
        LogError: A file is missing or does not read.
    """
    known: dict[str, dict[str, pa.DataType]] = {}
    found: dict[str, dict[str, pa.DataType]] = {}
    for path in paths:
        mark = columns_mark(path) or path
        if mark not in known:
            with reading(path):
                schema = pq.read_schema(path, filesystem=location.filesystem)
            known[mark] = {field.name: field.type for field in schema}
        found[path] = known[mark]
    return found


def _partitions_in(location: Location, file: LogFile) -> list[int]:
    with reading(file.path):
        column = pq.ParquetFile(file.path, filesystem=location.filesystem).read(columns=[PARTITION]).column(PARTITION)
    partitions: list[int] = column.unique().to_pylist()
    return partitions


def _date_of(us: int | None, otherwise: date) -> date:
    if us is None:
        return otherwise
    try:
        return (_EPOCH + timedelta(microseconds=us)).date()
    except OverflowError:  # no calendar has it: before or after every date
        return date.min if us < 0 else date.max
