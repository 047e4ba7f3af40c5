"""What there is to know about a table's files without reading them."""

from __future__ import annotations

from typing import NamedTuple

from deltalake.exceptions import DeltaError

from headrace.log.commits import commits_of
from headrace.log.compaction import Upkeep, is_small, table_files
from headrace.log.delta import open_table, translated
from headrace.log.location import Location
from headrace.log.row_erasure import stored_rows

__all__ = ["TableFacts", "table_facts"]


class TableFacts(NamedTuple):
    """How a table lies on the disk.

    Attributes:
        path: Its place.
        version: Its version; None where there is no table.
        rows: Its rows.
        dates: How many dates they are of.
        files: The files of the newest version.
        small_files: Those that a compaction would merge.
        size_bytes: The bytes of the newest version.
        old_files: Files that only older versions have.
        old_bytes: Their bytes; a vacuum frees what nothing needs of them.
        commits: Commits that Delta's own log has.
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


def table_facts(location: Location, rule: Upkeep) -> TableFacts:
    """Look at a table.

    Args:
        location: Its place.
        rule: What counts as small.

    Raises:
        LogError: It is damaged.
        LogUnavailableError: It cannot be read.
    """
    delta = open_table(location)
    if delta is None:
        return TableFacts(str(location), None, 0, 0, 0, 0, 0, 0, 0, 0)
    try:
        files = table_files(delta)
        live = {file.path for file in files}
        old = [file for file in stored_rows(location) if file.name not in live]
        return TableFacts(
            path=str(location),
            version=delta.version(),
            rows=sum(file.rows for file in files),
            dates=len({file.of for file in files}),
            files=len(files),
            small_files=sum(is_small(file, rule.target_bytes) for file in files),
            size_bytes=sum(file.size for file in files),
            old_files=len(old),
            old_bytes=sum(file.size for file in old),
            commits=sum(1 for one in commits_of(location) if not one.is_checkpoint),
        )
    except (DeltaError, OSError) as error:
        raise translated(error, location, "read") from error
