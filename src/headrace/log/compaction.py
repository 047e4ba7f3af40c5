"""Merging small files into larger ones, beside appends, readers and other merges.

A worker that appends every second leaves a file a second. Merging replaces files by one that has the same rows, in one
commit that says so (`dataChange` is false). Readers of older versions keep the files that were replaced until a vacuum
removes them.

No lock is needed. The commit is made for exactly the next version; where another process committed first, the table is
looked at again. Appends in between do not matter. Where one of the files is gone (another merge or an erasure replaced
it), the merged file is removed and nothing happens.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from typing import NamedTuple
from urllib.parse import unquote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError
from deltalake.transaction import AddAction

from headrace.errors import LogError, LogUnavailableError
from headrace.log.delta import open_table, set_append_only, translated
from headrace.log.file_errors import reading
from headrace.log.location import Location
from headrace.log.log_columns import DATE, FIRST_IMPORT, PARTITION
from headrace.log.parquet_files import MERGED, Layout, columns_mark, removal, write_files

__all__ = [
    "Compacted",
    "Upkeep",
    "TableFile",
    "are_live",
    "compact_table",
    "discard",
    "due",
    "is_small",
    "replace_files",
    "rows_of",
    "table_files",
]

_ATTEMPTS = 50
_MOST_ROWS = 2_000_000
"""Rows that are merged at a time, as they are sorted in memory."""
_WIDTH_BITS = 5
_OVERDUE = 4


@dataclass(frozen=True)
class Upkeep:
    """How an appending worker keeps the number of files bounded.

    Attributes:
        small_files: As many files of one date and about one size (a factor of 32) are merged into one; 0 leaves them
            alone.
        target_bytes: The size of file that merging aims at.
        at_once_s: How long an append may spend merging unless far too many files wait, in seconds.
    """

    small_files: int = 32
    target_bytes: int = 64 << 20
    at_once_s: float = 0.5


class TableFile(NamedTuple):
    """A file of a table's newest version.

    Attributes:
        path: Its path below the table's folder.
        of: The date of its rows.
        rows: How many.
        size: Its bytes.
        kind: Files of different kinds are never merged: those of Kafka's partitions and those of each import.
        columns: What its name says of its columns. Files of other columns are not merged with it, as a column that a
            file lacks is not null but what the model says of events without the field.
        first: Its first position, by which files are merged in order.
    """

    path: str
    of: date
    rows: int
    size: int
    kind: int
    columns: str
    first: int


class Compacted(NamedTuple):
    """What a compaction did.

    Attributes:
        before: How many files the table had.
        after: How many it has.
        rows: How many rows were written again.
        read_bytes: The bytes of the files replaced.
        written_bytes: The bytes of those that replace them.
        version: The table's version since; None where there is no table.
        is_short: Whether its time was over before all was merged.
    """

    before: int
    after: int
    rows: int
    read_bytes: int
    written_bytes: int
    version: int | None
    is_short: bool = False


def table_files(delta: DeltaTable) -> list[TableFile]:
    """The files of a table's version."""
    adds = pa.table(delta.get_add_actions(flatten=True))
    if not adds.num_rows:
        return []

    def column(name: str) -> list[int | None]:
        found = adds.column(name).to_pylist() if name in adds.column_names else [None] * adds.num_rows
        return list(found)

    low, high, first = column(f"min.{PARTITION}"), column(f"max.{PARTITION}"), column("min._offset")
    paths, dates = adds.column("path").to_pylist(), adds.column(f"partition.{DATE}").to_pylist()
    rows, sizes = adds.column("num_records").to_pylist(), adds.column("size_bytes").to_pylist()
    return [
        # What does not say how many rows it has was not written by headrace, and is left as it is.
        TableFile(
            unquote(path), of, _MOST_ROWS if n is None else n, size, _kind(least, greatest), columns_mark(path), at or 0
        )
        for path, of, n, size, least, greatest, at in zip(paths, dates, rows, sizes, low, high, first, strict=True)
    ]


def due(files: Iterable[TableFile], rule: Upkeep, *, overdue: bool = False) -> list[list[TableFile]]:
    """The files that a worker should merge, as groups that become one file each.

    Files are merged with others of about their size, so that each row is written again once or twice, not at every
    merge.

    Args:
        files: The table's files.
        rule: When.
        overdue: Only where far too many wait.
    """
    if not rule.small_files:
        return []
    classes: dict[tuple[date, int, str, int], list[TableFile]] = {}
    for file in files:
        if is_small(file, rule.target_bytes):
            classes.setdefault((file.of, file.kind, file.columns, file.size.bit_length() // _WIDTH_BITS), []).append(
                file
            )
    enough = rule.small_files * (_OVERDUE if overdue else 1)
    many = [found for found in classes.values() if len(found) >= enough]
    return [bin_ for found in sorted(many, key=len, reverse=True) for bin_ in _bins(found, rule.target_bytes)]


def compact_table(
    location: Location,
    layout: Layout,
    rule: Upkeep,
    *,
    only_due: bool = False,
    report: Callable[[int, int], None] = lambda done, total: None,
) -> Compacted:
    """Merge a table's small files.

    Args:
        location: The table's place.
        layout: How its files are written.
        rule: The size to aim at; with `only_due`, when to merge and for how long.
        only_due: Merge what an appending worker should; else whatever comes below the size.
        report: Gets how many of how many files were merged.

    Returns:
        What was done.

    Raises:
        LogError: The table is damaged.
        LogUnavailableError: The table cannot be written just now; what was merged before stays.
    """
    began = time.monotonic()
    delta = open_table(location)
    if delta is None:
        return Compacted(0, 0, 0, 0, 0, None)
    try:
        files = table_files(delta)
        bins = due(files, rule) if only_due else _all_bins(files, rule.target_bytes)
        total, done, merged = sum(map(len, bins)), 0, np.zeros(3, np.int64)
        for bin_ in bins:
            is_late = only_due and time.monotonic() - began > rule.at_once_s
            if is_late and not due(table_files(delta), rule, overdue=True):
                break
            try:
                merged += _merge(delta, location, bin_, layout)
            except LogError:
                if are_live(delta, bin_):
                    raise
                continue  # another merge or an erasure has replaced a file, and an erasure or a vacuum has removed it
            done += len(bin_)
            report(done, total)
        rows, read, written = merged.tolist()
        return Compacted(
            len(files), len(table_files(delta)), rows, read, written, delta.version(), is_short=done < total
        )
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise translated(error, location, "written") from error


def _kind(low: int | None, high: int | None) -> int:
    if low is None or high is None or high < FIRST_IMPORT:
        return -1
    return low if low == high else -2  # an erasure writes a date's rows to one file, whatever they are of


def is_small(file: TableFile, target: int) -> bool:
    """Whether a file would be merged with others of its date, where the size aimed at is this many bytes."""
    return file.size < target // 2 and file.rows < _MOST_ROWS // 2


def _all_bins(files: Iterable[TableFile], target: int) -> list[list[TableFile]]:
    groups: dict[tuple[date, int, str], list[TableFile]] = {}
    for file in files:
        if is_small(file, target):
            groups.setdefault((file.of, file.kind, file.columns), []).append(file)
    return [bin_ for key in sorted(groups) for bin_ in _bins(groups[key], target)]


def _bins(files: Sequence[TableFile], target: int) -> list[list[TableFile]]:
    """Neighbours that come to about the size together; those that stay alone are left out."""
    bins: list[list[TableFile]] = []
    size = rows = 0
    for file in sorted(files, key=lambda one: (one.first, one.path)):
        if not bins or size + file.size > target or rows + file.rows > _MOST_ROWS:
            bins.append([])
            size = rows = 0
        bins[-1].append(file)
        size, rows = size + file.size, rows + file.rows
    return [bin_ for bin_ in bins if len(bin_) > 1]


def _merge(delta: DeltaTable, location: Location, bin_: Sequence[TableFile], layout: Layout) -> tuple[int, int, int]:
    """Replace files by one; nothing is done where one of them is no longer there."""
    alike: dict[tuple[str, ...], list[pa.Table]] = {}
    for file in bin_:
        rows = rows_of(location, file)
        alike.setdefault(tuple(f"{field.name} {field.type}" for field in rows.schema), []).append(rows)
    order = [(name, "ascending") for name in layout.order]
    tables = [pa.concat_tables(tables).sort_by(order) for tables in alike.values()]
    added = replace_files(delta, location, bin_, tables, layout, data_change=False)
    if added is None:
        return 0, 0, 0
    return sum(file.rows for file in bin_), sum(file.size for file in bin_), sum(action.size or 0 for action in added)


def replace_files(
    delta: DeltaTable,
    location: Location,
    replaced: Sequence[TableFile],
    tables: Iterable[pa.Table],
    layout: Layout,
    *,
    data_change: bool,
) -> list[AddAction] | None:
    """Replace files by others in one commit. Appends at the same time do not matter.

    Args:
        delta: The table.
        location: Its place.
        replaced: The files to take out.
        tables: The rows of the files to bring in.
        layout: How to write them.
        data_change: Whether rows go; else all of them are kept.

    Returns:
        The files that were brought in; None where a file to take out is no longer there, so that nothing was done.

    Raises:
        LogUnavailableError: Others commit all the time.
    """
    removed = [removal(file.path, file.of, file.size, data_change=data_change) for file in replaced]
    if not are_live(delta, replaced):
        return None
    added: list[AddAction] = []
    try:
        for rows in tables:
            added += write_files(location, rows, layout, data_change=data_change, kind=MERGED)
        for _ in range(_ATTEMPTS):
            if data_change:
                set_append_only(delta, is_on=False)
            if not are_live(delta, replaced):
                discard(location, added)
                return None
            try:
                # Delta Lake lets two commits remove one file, which would double its rows. So the commit is made for
                # exactly the next version, after a look at all before it.
                once = CommitProperties(max_commit_retries=0)
                delta.create_write_transaction(
                    [*removed, *added], "append", delta.schema(), [DATE], commit_properties=once
                )
            except CommitFailedError:
                continue
            delta.update_incremental()
            return added
        msg = f"The table at {location} was committed by others {_ATTEMPTS} times in a row."
        raise LogUnavailableError(msg, hint="Try again.")
    except BaseException:
        discard(location, added)
        raise


def are_live(delta: DeltaTable, files: Iterable[TableFile]) -> bool:
    """Whether all of some files are part of the newest version, to which the table is brought."""
    delta.update_incremental()
    return {file.path for file in files} <= _paths(delta)


def discard(location: Location, added: Sequence[AddAction]) -> None:
    """Remove files that were written and did not become part of the table.

    Raises:
        LogError, LogUnavailableError: It is not known whether they did; they stay.
        OSError: They cannot be removed.
    """
    delta = open_table(location)
    live = set() if delta is None else _paths(delta)
    for action in added:
        if action.path not in live:
            location.remove(action.path)


def _paths(delta: DeltaTable) -> set[str]:
    return {unquote(name) for name in pa.table(delta.get_add_actions(flatten=True)).column("path").to_pylist()}


def rows_of(location: Location, file: TableFile) -> pa.Table:
    """A file's rows with the columns that it has, by name, and `_date`.

    Args:
        location: The table's place.
        file: The file.

    Raises:
        LogError: The file does not read, or has other rows than the table says.
    """
    path = location.file(file.path)
    with reading(path):
        rows = pq.ParquetFile(path, filesystem=location.filesystem).read()
    if rows.num_rows != file.rows:
        msg = f"The log's file {path} has {rows.num_rows:,} rows, and the table says {file.rows:,}."
        raise LogError(msg, hint="Restore the log's folder from a copy.")
    return rows.select(sorted(rows.column_names)).append_column(
        pa.field(DATE, pa.date32()), pa.repeat(pa.scalar(file.of, pa.date32()), rows.num_rows)
    )
