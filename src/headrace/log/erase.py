"""Erasing rows of a table, so that no file and no commit still holds them.

A `DELETE WHERE carrier = 'UA'` would write the very key into Delta's history. So the files of each date that holds such rows are replaced
by files without them, and the history says only which dates were rewritten. Then every file that holds such a row and is no longer part of
the table is removed from the disk: those just replaced, and those that compactions have left for older versions.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import CommitProperties, DeltaTable, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError

from headrace.errors import LogUnavailableError
from headrace.log.compact import held_files
from headrace.log.delta import arrow_schema, open_table, translated
from headrace.log.schema import DATE
from headrace.log.upkeep import upkeep
from headrace.log.vacuum import GRACE_S, files_on_disk, named_files

__all__ = ["Erased", "erase_rows"]

_ATTEMPTS = 20
_WAIT_S = 120.0
_APPEND_ONLY = "delta.appendOnly"
_WRITER = WriterProperties(compression="ZSTD")


class Erased(NamedTuple):
    """What an erasure did to a table.

    Attributes:
        rows: How many rows were erased.
        version: The table's version since; None where there is no table.
    """

    rows: int
    version: int | None


def erase_rows(
    path: Path,
    columns: Sequence[str],
    matches: Callable[[pa.Table], pa.ChunkedArray],
    *,
    append_only: bool,
    alone: bool,
) -> Erased:
    """Erase the rows that match, in every file that any version of the table holds.

    Older versions can no longer be read where they held such rows.

    Args:
        path: The table's folder.
        columns: The columns by which rows match; where the table lacks one, nothing does.
        matches: Gives for each row of a table with these columns whether it is to go: booleans, without nulls.
        append_only: Whether the table refuses deletions otherwise.
        alone: Whether nobody else writes the table just now; only then are files removed that no commit speaks of,
            such as those of an append cut short.

    Returns:
        How many rows, and the version.

    Raises:
        LogError: The table is damaged.
        LogUnavailableError: The table cannot be written just now; erasing again goes on where this ended.
    """
    if open_table(path) is None:
        return Erased(0, None)
    with upkeep(path, wait_s=_WAIT_S):
        return _erase(path, columns, matches, append_only=append_only, alone=alone)


def _erase(
    path: Path,
    columns: Sequence[str],
    matches: Callable[[pa.Table], pa.ChunkedArray],
    *,
    append_only: bool,
    alone: bool,
) -> Erased:
    delta = open_table(path)
    if delta is None:
        return Erased(0, None)
    try:
        rows = 0
        if set(columns) <= set(arrow_schema(delta).names):
            if append_only:
                delta.alter.set_table_properties({_APPEND_ONLY: "false"})
            try:
                dates = {found for found in _dates(delta) if _held(delta, found, columns, matches)}
                rows = sum(_erase_date(delta, found, columns, matches) for found in sorted(dates))
            finally:
                if append_only:
                    delta.update_incremental()
                    delta.alter.set_table_properties({_APPEND_ONLY: "true"})
        _remove_old(path, columns, matches, alone=alone)
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise translated(error, path, "written") from error
    return Erased(rows, delta.version())


def _remove_old(
    path: Path, columns: Sequence[str], matches: Callable[[pa.Table], pa.ChunkedArray], *, alone: bool
) -> None:
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
            if alone or file.stat().st_mtime < time.time() - GRACE_S:
                file.unlink(missing_ok=True)
        elif _may_hold(file, columns, matches):
            file.unlink(missing_ok=True)


def _may_hold(file: Path, columns: Sequence[str], matches: Callable[[pa.Table], pa.ChunkedArray]) -> bool:
    try:
        held = pq.ParquetFile(file)
        if not set(columns) <= set(held.schema_arrow.names):
            return False
        return bool(pc.any(matches(held.read(columns=list(columns))), min_count=0).as_py())
    except (OSError, pa.ArrowException):
        return True  # what cannot be read cannot be said to be free of it


def _dates(delta: DeltaTable) -> set[date]:
    adds = pa.table(delta.get_add_actions(flatten=True))
    return set(adds.column(f"partition.{DATE}").to_pylist()) if adds.num_rows else set()


def _rows_of(delta: DeltaTable, of: date, columns: Sequence[str] | None = None) -> pa.Table:
    chosen = ds.field(DATE) == pa.scalar(of, pa.date32())
    return delta.to_pyarrow_dataset().to_table(columns=None if columns is None else list(columns), filter=chosen)


def _held(delta: DeltaTable, of: date, columns: Sequence[str], matches: Callable[[pa.Table], pa.ChunkedArray]) -> bool:
    return bool(pc.any(matches(_rows_of(delta, of, columns)), min_count=0).as_py())


def _erase_date(
    delta: DeltaTable, of: date, columns: Sequence[str], matches: Callable[[pa.Table], pa.ChunkedArray]
) -> int:
    for _ in range(_ATTEMPTS):
        delta.update_incremental()
        rows = _rows_of(delta, of)
        kept = rows.filter(pc.invert(matches(rows.select(list(columns)))))
        predicate, once = f"{DATE} = '{of.isoformat()}'", CommitProperties(max_commit_retries=0)
        try:
            if kept.num_rows:
                table = kept.cast(arrow_schema(delta))
                write_deltalake(
                    delta,
                    table,
                    mode="overwrite",
                    predicate=predicate,
                    writer_properties=_WRITER,
                    commit_properties=once,
                )
            else:
                delta.delete(predicate, commit_properties=once)
        except CommitFailedError:
            continue  # someone appended meanwhile: read again, with what they appended
        return int(rows.num_rows - kept.num_rows)
    msg = f"The table at {delta.table_uri} was committed by others {_ATTEMPTS} times in a row."
    raise LogUnavailableError(msg, cure="Stop its writers for a moment, and erase again.")
