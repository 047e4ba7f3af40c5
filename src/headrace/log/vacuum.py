"""Removing what no version within the retention, and no dataset's version, needs: files, and the commits that led to older versions.

A version can be opened by its checkpoint alone. So every version that is to stay gets one, and the commits before the oldest of the others go:
opening a table costs the same however many commits it has had.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from headrace.errors import LogError
from headrace.log.commit_archive import CHECKPOINT, COMMIT, history_files
from headrace.log.delta import open_table, translated
from headrace.log.log_columns import DATE
from headrace.log.upkeep_lock import upkeep

__all__ = ["Vacuumed", "files_on_disk", "is_left_over", "named_files", "vacuum_table"]

GRACE_S = 3600.0
"""A file that no commit names may be that of an append about to be committed, for so long, in seconds."""


class Vacuumed(NamedTuple):
    """What a vacuum removed, or would remove.

    Attributes:
        files: How many files of rows.
        freed_bytes: Their bytes.
        commits: How many files of Delta's own log.
        oldest: From which version on every one can be read.
        kept: The versions before that can be read, as something pins them.
        lost: Versions that something pins and that could not be read before either.
        version: The table's version; None where there is no table.
    """

    files: int
    freed_bytes: int
    commits: int
    oldest: int | None
    kept: tuple[int, ...]
    lost: tuple[int, ...]
    version: int | None


def vacuum_table(
    path: Path, *, retention_s: float, pinned: Collection[int] = (), dry_run: bool = False, wait_s: float = 60.0
) -> Vacuumed:
    """Remove what is no longer needed.

    Args:
        path: The table's folder.
        retention_s: How long a version can still be read after the next one was made, in seconds.
        pinned: Versions that stay readable whatever their age.
        dry_run: Only say what would be removed.
        wait_s: How long to wait for another who puts the table in order, in seconds.

    Returns:
        What was removed.

    Raises:
        LogError: The table is damaged.
        LogUnavailableError: Another is at it, or the folder cannot be written.
    """
    delta = open_table(path)
    if delta is None:
        return Vacuumed(0, 0, 0, None, (), (), None)
    try:
        with upkeep(path, wait_s=wait_s):
            delta.update_incremental()
            now = time.time()
            oldest = _oldest(path, delta.version(), now - retention_s)
            # In this order: what is there and was named by then is needed by now, or is not needed any more.
            there = files_on_disk(path)
            named = named_files(path)
            kept, lost, needed = _pinned(path, {version for version in pinned if version < oldest})
            needed |= _files_of(_at(path, oldest)) | _added_after(path, oldest)
            doomed = [file for file in there if file not in needed and (file in named or is_left_over(path / file))]
            commits = [
                file for version, file in history_files(path) if version < oldest and not _keeps(file, version, kept)
            ]
            freed = sum(os.path.getsize(path / file) for file in doomed if (path / file).exists())
            if not dry_run:
                for version in (*kept, oldest):
                    _checkpoint(path, version)
                # The commits first: were this cut short between, what is left are files that nothing names.
                for file in commits:
                    file.unlink(missing_ok=True)
                for name in doomed:
                    (path / name).unlink(missing_ok=True)
            return Vacuumed(len(doomed), freed, len(commits), oldest, kept, lost, delta.version())
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise translated(error, path, "written") from error


def files_on_disk(path: Path) -> list[str]:
    """Every file of rows in a table's folder, whether or not a version has it: paths below the folder."""
    return sorted(str(file.relative_to(path)) for file in path.glob(f"{DATE}=*/*.parquet"))


def is_left_over(file: Path) -> bool:
    """Whether a file that no commit names is too old for an append that has yet to commit it."""
    try:
        return file.stat().st_mtime < time.time() - GRACE_S
    except FileNotFoundError:  # its append has just taken it back
        return False


def named_files(path: Path) -> set[str]:
    """Every file of rows that Delta's log, as far as it is kept, has ever had: paths below the table's folder."""
    named: set[str] = set()
    for _, file in history_files(path):
        named |= set(_names_in(file))
    return named


def _oldest(path: Path, newest: int, since: float) -> int:
    """The version that was the newest at a time, or the first there is."""
    readable = sorted({version for version, _ in history_files(path)} | {newest})
    first = _first_whole(path, readable)
    old = [
        version
        for version, file in history_files(path)
        if COMMIT.match(file.name) and version >= first and file.stat().st_mtime <= since
    ]
    return max(old, default=first)


def _first_whole(path: Path, versions: list[int]) -> int:
    """The version from which on all can be read: before it are only those that an earlier vacuum kept."""
    commits = {version for version, file in history_files(path) if COMMIT.match(file.name)}
    first = versions[-1]
    while first - 1 in commits:
        first -= 1
    if first and first not in {version for version, file in history_files(path) if CHECKPOINT.match(file.name)}:
        # Its commit alone does not give the version; the first checkpoint after it does.
        later = [version for version, file in history_files(path) if CHECKPOINT.match(file.name) and version > first]
        return min(later, default=versions[-1])
    return first


def _pinned(path: Path, versions: Collection[int]) -> tuple[tuple[int, ...], tuple[int, ...], set[str]]:
    kept: list[int] = []
    lost: list[int] = []
    needed: set[str] = set()
    for version in sorted(versions):
        try:
            needed |= _files_of(_at(path, version))
        except LogError:
            lost.append(version)
        else:
            kept.append(version)
    return tuple(kept), tuple(lost), needed


def _at(path: Path, version: int) -> DeltaTable:
    table = open_table(path, version)
    if table is None:
        msg = f"There is no log at {path}, so no version {version} of it."
        raise LogError(msg)
    return table


def _files_of(delta: DeltaTable) -> set[str]:
    adds = pa.table(delta.get_add_actions(flatten=True))
    return {unquote(name) for name in adds.column("path").to_pylist()} if adds.num_rows else set()


def _added_after(path: Path, version: int) -> set[str]:
    return {
        name
        for number, file in history_files(path)
        if number > version and COMMIT.match(file.name)
        for name in _names_in_commit(file, ("add",))
    }


def _keeps(file: Path, version: int, kept: Collection[int]) -> bool:
    return version in kept and CHECKPOINT.match(file.name) is not None


def _checkpoint(path: Path, version: int) -> None:
    if not any(number == version and CHECKPOINT.match(file.name) for number, file in history_files(path)):
        _at(path, version).create_checkpoint()


def _names_in(file: Path) -> Iterator[str]:
    if not CHECKPOINT.match(file.name):
        yield from _names_in_commit(file, ("add", "remove"))
        return
    for kind in ("add", "remove"):
        found = pq.ParquetFile(file).read(columns=[f"{kind}.path"]).column(kind).combine_chunks()
        yield from (unquote(name) for name in found.field("path").to_pylist() if name is not None)


def _names_in_commit(file: Path, kinds: Sequence[str]) -> Iterator[str]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            for kind in kinds:
                if line.startswith(f'{{"{kind}"'):
                    yield unquote(json.loads(line)[kind]["path"])
