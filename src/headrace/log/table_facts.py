"""What there is to know about a table's files without reading them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from deltalake.exceptions import DeltaError

from headrace.log.commit_archive import COMMIT, history_files
from headrace.log.compaction import Upkeep, held_files, is_small
from headrace.log.delta import open_table, translated
from headrace.log.vacuum import files_on_disk

__all__ = ["TableFacts", "table_facts"]


class TableFacts(NamedTuple):
    """How a table lies on the disk.

    Attributes:
        path: Its folder.
        version: Its version; None where there is no table.
        rows: Its rows.
        dates: How many dates they are of.
        files: The files of the newest version.
        small_files: Those that a compaction would merge.
        size_bytes: The bytes of the newest version.
        old_files: Files that only older versions have.
        old_bytes: Their bytes; a vacuum frees what nothing needs of them.
        commits: Commits that Delta's own log holds, with those put by.
    """

    path: str
    version: int | None
    rows: int
    dates: int
    files: int
    small_files: int
    size_bytes: int
    old_files: int
    old_bytes: int
    commits: int


def table_facts(path: Path, rule: Upkeep) -> TableFacts:
    """Look at a table.

    Args:
        path: Its folder.
        rule: What counts as small.

    Raises:
        LogError: It is damaged.
        LogUnavailableError: It cannot be read.
    """
    delta = open_table(path)
    if delta is None:
        return TableFacts(str(path), None, 0, 0, 0, 0, 0, 0, 0, 0)
    try:
        held = held_files(delta)
        live = {file.path for file in held}
        old = [name for name in files_on_disk(path) if name not in live]
        return TableFacts(
            path=str(path),
            version=delta.version(),
            rows=sum(file.rows for file in held),
            dates=len({file.of for file in held}),
            files=len(held),
            small_files=sum(is_small(file, rule.target_bytes) for file in held),
            size_bytes=sum(file.size for file in held),
            old_files=len(old),
            old_bytes=sum(os.path.getsize(path / name) for name in old if (path / name).is_file()),
            commits=sum(1 for _, file in history_files(path) if COMMIT.match(file.name)),
        )
    except (DeltaError, OSError) as error:
        raise translated(error, path, "read") from error
