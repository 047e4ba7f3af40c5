"""What a changed model would make of the events that were logged before: found before anything is changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from headrace.errors import LogError
from headrace.events.event_batch import ARROW_TYPES
from headrace.events.logged_columns import retyped
from headrace.log.delta import open_table
from headrace.log.file_errors import reading
from headrace.log.location import Location, Place
from headrace.log.snapshot import LogFile, file_columns, log_files
from headrace.plan import Column, DType, Source

__all__ = ["Misfit", "misfits"]


class Misfit(NamedTuple):
    """A field that logged events do not fit.

    Attributes:
        field: The field.
        what: What is wrong.
        instead: What to write instead.
    """

    field: str
    what: str
    instead: str


def misfits(
    root: Place, source: Source, before: Source | None, other_names: Mapping[str, Iterable[str]]
) -> list[Misfit]:
    """The fields of a source that changed such that its log cannot be read by them.

    Args:
        root: The place of all logs.
        source: The source as it would be.
        before: The source as it was applied last; None where that is not known.
        other_names: By field, what else the model calls it when it reads an event.

    Returns:
        What does not fit; nothing where there is no log yet.

    Raises:
        LogError: The log is damaged.
        LogUnavailableError: The log cannot be read just now.
    """
    was = {} if before is None else {column.name: column for column in before.columns}
    changed = [column for column in source.columns if was.get(column.name) != column]
    location = Location.of(root).below(source.topic)
    table = open_table(location) if changed else None
    if table is None:
        return []
    files = log_files(table, location)
    columns_of = file_columns(location, [file.path for file in files])
    declared = {column.name for column in source.columns}
    found = (
        _misfit(
            location, column, was.get(column.name), files, columns_of, set(other_names.get(column.name, ())) - declared
        )
        for column in changed
    )
    return [misfit for misfit in found if misfit is not None]


def _misfit(
    location: Location,
    column: Column,
    was: Column | None,
    files: Iterable[LogFile],
    columns_of: Mapping[str, Mapping[str, pa.DataType]],
    other_names: set[str],
) -> Misfit | None:
    name, wanted = column.name, ARROW_TYPES[column.dtype]
    having = [file for file in files if name in columns_of[file.path]]
    lacking = [file for file in files if name not in columns_of[file.path]]
    for file in having:
        kind = columns_of[file.path][name]
        if kind != wanted and not (kind == pa.int64() and column.dtype is DType.FLOAT64):
            what = f"is {column.dtype.value} now, and logged events hold {kind}"
            return Misfit(name, what, f"Leave {name} as it was, and give the new field a new name.")
        if kind != wanted:
            try:
                retyped(_column(location, file, name), column, f"the log's file {file.path}")
            except LogError as error:
                return Misfit(name, f"is a float now: {error.what}", f"Leave {name} an int.")
    renamed = sorted(other for other in other_names if any(other in columns_of[file.path] for file in lacking))
    if renamed:
        what = f"reads what logged events hold as {renamed[0]!r}"
        return Misfit(
            name, what, f"Keep the name {renamed[0]}: the log is read by the names of fields, not by aliases."
        )
    if column.nullable or column.fill is not None:
        return None
    if lacking:
        events = sum(file.rows for file in lacking)
        what = f"has no default that is the same each time, and {events:,} logged events are without it"
        return Misfit(name, what, f"Give {name} a constant default, or make it `| None`.")
    if was is None or was.nullable:
        nulls = sum(_column(location, file, name).null_count for file in having)
        if nulls:
            what = f"is not optional any more, and {nulls:,} logged events are without it"
            return Misfit(name, what, f"Leave {name} `| None`, or give it a constant default.")
    return None


def _column(location: Location, file: LogFile, name: str) -> pa.ChunkedArray:
    with reading(file.path):
        return pq.ParquetFile(file.path, filesystem=location.filesystem).read(columns=[name]).column(name)
