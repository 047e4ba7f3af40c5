"""Erasing rows of a table, so that no file and no commit still holds them.

A `DELETE WHERE carrier = 'UA'` would write the very key into Delta's history. So each file that holds such rows is
replaced by one without them, and the history says only which files were. What is appended meanwhile is looked through
in turn. Then every file that holds such a row and is no longer part of the table is removed: those just replaced, those
that compactions left for older versions, and those of a compaction that was killed. A compaction that goes on meanwhile
cannot commit: a file that it merges is gone from the table.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeAlias
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from headrace.errors import LogError
from headrace.events.logged_columns import declared_column
from headrace.log.commits import commits_of
from headrace.log.compaction import TableFile, are_live, replace_files, rows_of, table_files
from headrace.log.delta import open_table, set_append_only, translated
from headrace.log.location import Location, StoredFile
from headrace.log.log_columns import DATE, PARTITION
from headrace.log.parquet_files import APPENDED, LOG_LAYOUT, Layout
from headrace.log.vacuum import GRACE_S
from headrace.plan import Source

__all__ = ["Erased", "HeldRows", "erase_rows", "held_rows", "leave_out_partition", "rows_equal_to", "stored_rows"]


Matches: TypeAlias = Callable[[pa.Table], pa.ChunkedArray]
"""Gives for each row whether it is to go."""


class Erased(NamedTuple):
    """What an erasure did to a table.

    Attributes:
        rows: How many rows were erased.
        version: The table's version since; None where there is no table.
    """

    rows: int
    version: int | None


class HeldRows(NamedTuple):
    """What a table holds of some rows.

    Attributes:
        rows: How many its newest version has.
        old_files: How many files of older versions hold any.
    """

    rows: int
    old_files: int


def rows_equal_to(values: Mapping[str, pa.Scalar], source: Source) -> Matches:
    """Matches the rows whose columns have these values, all of them, as the source declares them now."""

    def matches(rows: pa.Table) -> pa.ChunkedArray:
        found = pa.chunked_array([pa.repeat(True, rows.num_rows)])
        for name, value in values.items():
            found = pc.and_(
                found, pc.fill_null(pc.equal(declared_column(rows, source.column(name), "The log"), value), False)
            )
        return found

    return matches


def held_rows(location: Location, columns: Sequence[str], matches: Matches) -> HeldRows:
    """Count the rows that match, and change nothing.

    Args:
        location: The table's place.
        columns: The columns by which rows match.
        matches: Gives for each row of a table with those of these columns that a file has whether it is meant.

    Raises:
        LogError: The table is damaged.
        LogUnavailableError: It cannot be read just now.
    """
    delta = open_table(location)
    if delta is None:
        return HeldRows(0, 0)
    try:
        live = {file.path for file in table_files(delta)}
        rows = sum(_count(location, name, columns, matches) for name in live)
        old = sum(
            _may_hold(location, file.name, columns, matches, unread=False)
            for file in stored_rows(location)
            if file.name not in live
        )
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise translated(error, location, "read") from error
    return HeldRows(rows, old)


def erase_rows(
    location: Location,
    layout: Layout,
    columns: Sequence[str],
    matches: Matches,
    *,
    append_only: bool,
    alone: bool,
    keep_old: bool = False,
) -> Erased:
    """Erase the rows that match, in every file that any version of the table holds.

    Older versions can no longer be read where they held such rows, unless they are kept.

    Args:
        location: The table's place.
        layout: How its files are written.
        columns: The columns by which rows match.
        matches: Gives for each row of a table with those of these columns that a file has whether it is to go:
            booleans, without nulls.
        append_only: Whether the table refuses deletions otherwise.
        alone: Whether no other process writes the table now; only then are files removed that no commit speaks of,
            such as those of an append cut short.
        keep_old: Whether older versions keep the rows: only the newest is to be without them.

    Returns:
        How many rows, and the version.

    Raises:
        LogError: The table is damaged.
        LogUnavailableError: The table cannot be written just now; erasing again goes on where this ended.
    """
    delta = open_table(location)
    if delta is None:
        return Erased(0, None)
    try:
        try:
            rows = _replace_files(delta, location, layout, columns, matches)
        finally:
            if append_only:
                set_append_only(delta, is_on=True)
        if not keep_old:
            _remove_old(location, columns, matches, alone=alone)
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise translated(error, location, "written") from error
    return Erased(rows, delta.version())


def leave_out_partition(location: Location, partition: int) -> Erased:
    """Leave a source partition's events out of a log's newest version; older versions, which datasets pin, keep them.

    The log goes on standing for the partition's offsets, so nothing with these positions can be appended again.

    Args:
        location: The log's place.
        partition: The source partition.

    Returns:
        How many events, and the version.

    Raises:
        LogError: The log is damaged.
        LogUnavailableError: The log cannot be written just now; doing it again goes on where this ended.
    """

    def mine(rows: pa.Table) -> pa.ChunkedArray:
        return pc.equal(rows.column(PARTITION), partition)

    return erase_rows(location, LOG_LAYOUT, [PARTITION], mine, append_only=True, alone=False, keep_old=True)


def stored_rows(location: Location) -> list[StoredFile]:
    """Every file of rows, whether or not a version has it."""
    return [file for file in location.files() if file.name.startswith(f"{DATE}=") and file.name.endswith(".parquet")]


def _replace_files(
    delta: DeltaTable, location: Location, layout: Layout, columns: Sequence[str], matches: Matches
) -> int:
    """Replace every file that holds matching rows; how many rows these were."""
    looked_through: set[str] = set()
    erased = 0
    while fresh := [file for file in table_files(delta) if file.path not in looked_through]:
        for file in fresh:
            looked_through.add(file.path)
            try:
                if _count(location, file.path, columns, matches):
                    erased += _replace_file(delta, location, file, layout, matches)
            except (LogError, OSError):
                # Another erasure may have replaced and removed it; what replaced it is looked through next.
                if are_live(delta, [file]):
                    raise
        delta.update_incremental()
    return erased


def _replace_file(delta: DeltaTable, location: Location, file: TableFile, layout: Layout, matches: Matches) -> int:
    rows = rows_of(location, file)
    kept = rows.filter(pc.invert(matches(rows)))
    added = replace_files(delta, location, [file], [kept], layout, data_change=True)
    return 0 if added is None else int(rows.num_rows - kept.num_rows)


def _count(location: Location, name: str, columns: Sequence[str], matches: Matches) -> int:
    """How many rows of a file match."""
    with pq.ParquetFile(location.file(name), filesystem=location.filesystem) as file:
        # One column at least, for a table without any has no rows.
        present = [name for name in columns if name in file.schema_arrow.names] or file.schema_arrow.names[:1]
        return int(pc.sum(matches(file.read(columns=present))).as_py() or 0)


def _remove_old(location: Location, columns: Sequence[str], matches: Matches, *, alone: bool) -> None:
    """Remove the files with matching rows that are not part of the table; others may be those of pinned versions."""
    stored, young = stored_rows(location), time.time() - GRACE_S
    named = set[str]() if alone else _named_since(location, young)
    delta = open_table(location)
    live = set() if delta is None else {file.path for file in table_files(delta)}
    for file in stored:
        # An append may be about to commit it. Unlike a merged file, it does not need other files to be there.
        is_pending = not alone and file.changed_s > young and file.name not in named and f"/{APPENDED}-" in file.name
        if file.name not in live and not is_pending and _may_hold(location, file.name, columns, matches):
            location.remove(file.name)


def _named_since(location: Location, since_s: float) -> set[str]:
    """The files that commits since a time brought in."""
    named: set[str] = set()
    for commit in commits_of(location):
        if not commit.is_checkpoint and commit.changed_s >= since_s:
            with location.filesystem.open_input_stream(location.file(commit.name)) as file:
                actions = [json.loads(line) for line in file.read().splitlines() if line.startswith(b'{"add"')]
            named |= {unquote(action["add"]["path"]) for action in actions}
    return named


def _may_hold(location: Location, name: str, columns: Sequence[str], matches: Matches, *, unread: bool = True) -> bool:
    """Whether a file has matching rows; `unread` if it cannot be read."""
    try:
        return _count(location, name, columns, matches) > 0
    except (OSError, pa.ArrowException):
        return unread
