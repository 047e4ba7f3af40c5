"""Erasing rows of a table, so that no file and no commit still holds them.

A `DELETE WHERE carrier = 'UA'` would write the very key into Delta's history. So each file that holds such rows is replaced by one without them,
and the history says only which files were. What is appended meanwhile is looked through in turn. Then every file that holds such a row and is no
longer part of the table is removed from the disk: those just replaced, and those that compactions have left for older versions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from headrace.events.logged_columns import declared_column
from headrace.log.compaction import HeldFile, held_files, rows_of, swap_files
from headrace.log.delta import open_table, translated
from headrace.log.log_columns import PARTITION
from headrace.log.parquet_files import LOG_LAYOUT, Layout, removal, write_files
from headrace.log.upkeep_lock import Unfinished, upkeep
from headrace.log.vacuum import files_on_disk, is_left_over, named_files
from headrace.plan import Source

__all__ = ["Erased", "HeldRows", "erase_rows", "leave_out_partition", "held_rows", "rows_equal_to"]

_WAIT_S = 120.0
_APPEND_ONLY = "delta.appendOnly"

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


def held_rows(path: Path, columns: Sequence[str], matches: Matches) -> HeldRows:
    """Count the rows that match, and change nothing.

    Args:
        path: The table's folder.
        columns: The columns by which rows match.
        matches: Gives for each row of a table with those of these columns that a file has whether it is meant.

    Raises:
        LogError: The table is damaged.
        LogUnavailableError: It cannot be read just now.
    """
    delta = open_table(path)
    if delta is None:
        return HeldRows(0, 0)
    try:
        live = {file.path for file in held_files(delta)}
        rows = sum(_count(path / name, columns, matches) for name in live)
        old = sum(
            _may_hold(path / name, columns, matches, unread=False) for name in files_on_disk(path) if name not in live
        )
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise translated(error, path, "read") from error
    return HeldRows(rows, old)


def erase_rows(
    path: Path,
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
        path: The table's folder.
        layout: How its files are written.
        columns: The columns by which rows match.
        matches: Gives for each row of a table with those of these columns that a file has whether it is to go: booleans, without nulls.
        append_only: Whether the table refuses deletions otherwise.
        alone: Whether nobody else writes the table just now; only then are files removed that no commit speaks of,
            such as those of an append cut short.
        keep_old: Whether older versions keep the rows: only the newest is to be without them.

    Returns:
        How many rows, and the version.

    Raises:
        LogError: The table is damaged.
        LogUnavailableError: The table cannot be written just now; erasing again goes on where this ended.
    """
    if open_table(path) is None:
        return Erased(0, None)
    with upkeep(path, wait_s=_WAIT_S) as unfinished:
        return _erase(
            path, layout, columns, matches, unfinished, append_only=append_only, alone=alone, keep_old=keep_old
        )


def leave_out_partition(path: Path, partition: int) -> Erased:
    """Leave a source partition's events out of a log's newest version; older versions, which datasets pin, keep them.

    The log goes on standing for the partition's offsets, so nothing with these positions can be appended again.

    Args:
        path: The log's folder.
        partition: The source partition.

    Returns:
        How many events, and the version.

    Raises:
        LogError: The log is damaged.
        LogUnavailableError: The log cannot be written just now; doing it again goes on where this ended.
    """

    def mine(rows: pa.Table) -> pa.ChunkedArray:
        return pc.equal(rows.column(PARTITION), partition)

    return erase_rows(path, LOG_LAYOUT, [PARTITION], mine, append_only=True, alone=False, keep_old=True)


def _erase(
    path: Path,
    layout: Layout,
    columns: Sequence[str],
    matches: Matches,
    unfinished: Unfinished,
    *,
    append_only: bool,
    alone: bool,
    keep_old: bool,
) -> Erased:
    delta = open_table(path)
    if delta is None:
        return Erased(0, None)
    try:
        rows = 0
        if append_only:
            delta.alter.set_table_properties({_APPEND_ONLY: "false"})
        try:
            rows = _replace_files(delta, path, layout, columns, matches, unfinished)
        finally:
            if append_only:
                delta.update_incremental()
                delta.alter.set_table_properties({_APPEND_ONLY: "true"})
        if not keep_old:
            _remove_old(path, columns, matches, alone=alone)
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise translated(error, path, "written") from error
    return Erased(rows, delta.version())


def _replace_files(
    delta: DeltaTable,
    path: Path,
    layout: Layout,
    columns: Sequence[str],
    matches: Matches,
    unfinished: Unfinished,
) -> int:
    """Replace every file that holds matching rows; how many rows these were."""
    looked_through: set[str] = set()
    erased = 0
    while fresh := [file for file in held_files(delta) if file.path not in looked_through]:
        for file in fresh:
            looked_through.add(file.path)
            if _holds(path / file.path, columns, matches):
                erased += _replace_file(delta, path, file, layout, columns, matches, unfinished)
        delta.update_incremental()
    return erased


def _replace_file(
    delta: DeltaTable,
    path: Path,
    file: HeldFile,
    layout: Layout,
    columns: Sequence[str],
    matches: Matches,
    unfinished: Unfinished,
) -> int:
    rows = rows_of(path, file)
    kept = rows.filter(pc.invert(matches(rows)))
    added = write_files(path, kept, layout, about_to_write=unfinished.add)
    removed = removal(file.path, file.of, file.size, data_change=True)
    # Where it is no longer there, others rewrite the table without asking; what replaced it is looked through next.
    return int(rows.num_rows - kept.num_rows) if swap_files(delta, path, [removed, *added], unfinished) else 0


def _holds(file: Path, columns: Sequence[str], matches: Matches) -> bool:
    return _count(file, columns, matches) > 0


def _count(file: Path, columns: Sequence[str], matches: Matches) -> int:
    """How many rows of a file match."""
    held = pq.ParquetFile(file)
    # One column at least, for a table without any has no rows.
    present = [name for name in columns if name in held.schema_arrow.names] or held.schema_arrow.names[:1]
    return int(pc.sum(matches(held.read(columns=present))).as_py() or 0)


def _remove_old(path: Path, columns: Sequence[str], matches: Matches, *, alone: bool) -> None:
    """Remove the files that hold matching rows and are not part of the table; the others may be those of pinned versions."""
    there, named = files_on_disk(path), named_files(path)
    delta = open_table(path)
    live = set() if delta is None else {file.path for file in held_files(delta)}
    for name in there:
        file = path / name
        if name in live:
            continue
        if name not in named:
            # No commit speaks of it: of an append that was cut short, or of one about to be committed.
            if alone or is_left_over(file):
                file.unlink(missing_ok=True)
        elif _may_hold(file, columns, matches):
            file.unlink(missing_ok=True)


def _may_hold(file: Path, columns: Sequence[str], matches: Matches, *, unread: bool = True) -> bool:
    """Whether a file holds matching rows; `unread` where it does not read, as that cannot be said to be free of them."""
    try:
        return _holds(file, columns, matches)
    except (OSError, pa.ArrowException):
        return unread
