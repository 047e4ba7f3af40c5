"""The commits of a table, newest ones in it and older ones put by.

Delta Lake lists all commits whenever it opens a table, and with each commit. A worker makes one a second, so after a day an append would spend more
time on that than on writing. So older commits are moved to a folder of their own in the table's, where those who open an old version find them.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from deltalake import DeltaTable

__all__ = ["CHECKPOINT", "COMMIT", "LOG_FOLDER", "history_files", "older_folder", "put_by", "wants_putting_by"]

LOG_FOLDER = "_delta_log"
"""Where a table's commits and checkpoints lie, below its folder."""

COMMIT = re.compile(r"^(\d{20})\.json$")
CHECKPOINT = re.compile(r"^(\d{20})\.checkpoint.*\.parquet$")

_KEPT = 500


def older_folder(path: Path) -> Path:
    """Where a table's older commits are put by, as Delta Lake would have them: below it is a folder of its own log.

    Args:
        path: The table's folder.
    """
    return path / "_commits"


def history_files(path: Path, *, older: bool = True) -> list[tuple[int, Path]]:
    """A table's commits and checkpoints, by version.

    Args:
        path: The table's folder.
        older: Whether those put by are asked for too.
    """
    found = []
    for folder in (path, older_folder(path)) if older else (path,):
        try:
            names = os.listdir(folder / LOG_FOLDER)
        except FileNotFoundError:
            continue
        for name in names:
            match = COMMIT.match(name) or CHECKPOINT.match(name)
            if match:
                found.append((int(match[1]), folder / LOG_FOLDER / name))
    return found


def wants_putting_by(path: Path) -> bool:
    """Whether a table has so many commits that the older ones should be put by."""
    return len(os.listdir(path / LOG_FOLDER)) > 2 * _KEPT


def put_by(path: Path) -> int:
    """Put a table's older commits by, up to a checkpoint that leaves a few hundred. To be called by the only one who puts the table in order.

    Args:
        path: The table's folder.

    Returns:
        How many files were moved.

    Raises:
        OSError: They cannot be moved.
        DeltaError: The table does not read.
    """
    files = history_files(path, older=False)
    newest = max(version for version, _ in files)
    until = newest - _KEPT
    base = max((version for version, file in files if CHECKPOINT.match(file.name) and version <= until), default=-1)
    if until - base > _KEPT:
        DeltaTable(path, version=until).create_checkpoint()
        base = until
    if base < 1:
        return 0
    folder = older_folder(path) / LOG_FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    old = [file for version, file in sorted(files) if version < base]
    for file in old:
        file.rename(folder / file.name)
    return len(old)
