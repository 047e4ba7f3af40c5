"""A table's commits and checkpoints: how many are kept, and which versions stay readable.

A worker commits about once a second. Delta Lake lists the folder of commits at every append, so thousands of them cost
more than the append itself. Commits are therefore removed once they are older than an hour and a quarter and a later
checkpoint has what they said, as Delta's own clean-up does. Unlike Delta's, ours keeps every checkpoint: a version that
has one can be read without commits, so a version that a dataset pins gets one.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from deltalake import DeltaTable

from headrace.log.location import Location

__all__ = ["LOG_FOLDER", "Commit", "commits_of", "keep_readable", "restore_archive", "trim_commits"]

logger = logging.getLogger(__name__)

LOG_FOLDER = "_delta_log"
"""Where a table's commits and checkpoints are."""

KEPT_S = 4500.0
_NAME = re.compile(r"^(\d{20})\.(json|checkpoint\b.*\.parquet)$")
_ARCHIVE = "_commits"


class Commit(NamedTuple):
    """A commit, or a checkpoint of all commits so far.

    Attributes:
        version: The version that it leads to.
        name: Its path below the table's place.
        changed_s: When it was written, in seconds since 1970.
        is_checkpoint: Whether it gives the version alone.
    """

    version: int
    name: str
    changed_s: float
    is_checkpoint: bool


def commits_of(location: Location) -> list[Commit]:
    """A table's commits and checkpoints, in order.

    Raises:
        OSError: They cannot be listed.
    """
    found = []
    for file in location.files(LOG_FOLDER):
        match = _NAME.match(file.name.removeprefix(f"{LOG_FOLDER}/"))
        if match:
            found.append(Commit(int(match[1]), file.name, file.changed_s, match[2] != "json"))
    return sorted(found)


def trim_commits(location: Location, *, kept_s: float = KEPT_S) -> int:
    """Remove old commits that a later checkpoint covers. Versions before it stay readable where they have a checkpoint.

    Args:
        location: The table's place.
        kept_s: The age from which a commit counts as old, in seconds.

    Returns:
        How many were removed.

    Raises:
        OSError: They cannot be listed or removed.
        DeltaError: The table cannot be read.
    """
    commits = commits_of(location)
    old = [one for one in commits if not one.is_checkpoint and one.changed_s < time.time() - kept_s]
    if not old:
        return 0
    newest = old[-1].version
    base = max((one.version for one in commits if one.is_checkpoint and one.version <= newest), default=None)
    if base is None:
        keep_readable(location, [newest])
        base = newest
    doomed = [one for one in old if one.version < base]
    for one in doomed:
        location.remove(one.name)
    return len(doomed)


def keep_readable(location: Location, versions: Iterable[int]) -> None:
    """Make versions readable for as long as the table's files are there, whatever happens to the commits.

    Args:
        location: The table's place.
        versions: The versions.

    Raises:
        DeltaError: One of them cannot be read.
        OSError: The table's place cannot be listed.
    """
    wanted = set(versions)
    if wanted:
        for version in sorted(wanted - {one.version for one in commits_of(location) if one.is_checkpoint}):
            DeltaTable(location.uri, version=version, storage_options=dict(location.options)).create_checkpoint()


def restore_archive(location: Location) -> None:
    """Put back the commits that the version before moved to a folder where other Delta readers did not find them.

    Raises:
        OSError: They cannot be moved.
    """
    archive = Path(location.uri) / _ARCHIVE / LOG_FOLDER
    if not location.is_local or not archive.is_dir():
        return
    moved = 0
    for file in sorted(archive.iterdir()):
        file.rename(location.path / LOG_FOLDER / file.name)
        moved += 1
    archive.rmdir()
    archive.parent.rmdir()
    logger.warning("%s: moved %s archived commits back to %s.", location, f"{moved:,}", LOG_FOLDER)
