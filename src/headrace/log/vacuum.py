"""Removing what neither a version within the retention nor a dataset needs: files, and commits of older versions.

Delta Lake's own vacuum removes the files. It gets the versions to keep. Each of those gets a checkpoint, by which
it can be read without the commits before it, and then these commits go.
"""

from __future__ import annotations

import math
import time
from collections.abc import Collection
from typing import NamedTuple

import pyarrow as pa
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from headrace.errors import LogError
from headrace.log.commits import commits_of, keep_readable
from headrace.log.delta import open_table, translated
from headrace.log.location import Location

__all__ = ["GRACE_S", "Vacuumed", "vacuum_table"]

GRACE_S = 3600.0
"""How long a file that no commit names may be that of an append about to be committed, in seconds."""


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
    location: Location, *, retention_s: float, pinned: Collection[int] = (), dry_run: bool = False
) -> Vacuumed:
    """Remove what is no longer needed.

    Args:
        location: The table's place.
        retention_s: How long a version can still be read after the next one was made, in seconds; Delta Lake rounds it
            up to hours.
        pinned: Versions that stay readable at any age.
        dry_run: Only say what would be removed.

    Returns:
        What was removed.

    Raises:
        LogError: The table is damaged.
        LogUnavailableError: It cannot be written.
    """
    delta = open_table(location)
    if delta is None:
        return Vacuumed(0, 0, 0, None, (), (), None)
    try:
        oldest = _oldest(location, delta.version(), time.time() - retention_s)
        kept, lost = _readable(location, {version for version in pinned if version < oldest})
        sizes = {file.name: file.size for file in location.files()}
        doomed = _vacuumed(delta, retention_s, [*kept, oldest], dry_run=dry_run)
        checkpoints = {*kept, oldest}
        commits = [
            one
            for one in commits_of(location)
            if one.version < oldest and not (one.is_checkpoint and one.version in checkpoints)
        ]
        if not dry_run:
            keep_readable(location, checkpoints)
            for one in commits:
                location.remove(one.name)
        freed = [sizes[name] for name in doomed if name in sizes]  # Delta names those that are gone already, too
        return Vacuumed(len(freed), sum(freed), len(commits), oldest, kept, lost, delta.version())
    except (DeltaError, OSError, pa.ArrowException) as error:
        raise translated(error, location, "written") from error


def _vacuumed(delta: DeltaTable, retention_s: float, keep: list[int], *, dry_run: bool) -> set[str]:
    """The files that Delta Lake removes: replaced ones, and an hour later those that no commit names."""
    hours, found = math.ceil(retention_s / 3600), set[str]()
    for is_full, age in ((False, hours), (True, hours + math.ceil(GRACE_S / 3600))):
        found |= set(
            delta.vacuum(age, dry_run=dry_run, enforce_retention_duration=False, full=is_full, keep_versions=keep)
        )
        delta.update_incremental()
    return found


def _oldest(location: Location, newest: int, since_s: float) -> int:
    """The version that was the newest at a time, or the first from which all can be read."""
    found = commits_of(location)
    commits = {one.version: one.changed_s for one in found if not one.is_checkpoint}
    checkpoints = {one.version for one in found if one.is_checkpoint}
    first = newest
    while first - 1 in commits:
        first -= 1
    if first and first not in checkpoints:  # its commit alone does not give the version
        first = min((version for version in checkpoints if version > first), default=newest)
    return max((version for version, at in commits.items() if version >= first and at <= since_s), default=first)


def _readable(location: Location, versions: Collection[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Those of the versions that can be read, and those that cannot."""
    kept: list[int] = []
    lost: list[int] = []
    for version in sorted(versions):
        try:
            is_there = open_table(location, version) is not None
        except LogError:
            is_there = False
        (kept if is_there else lost).append(version)
    return tuple(kept), tuple(lost)
