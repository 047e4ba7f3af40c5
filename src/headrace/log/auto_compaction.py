"""What keeps the number of a table's files and commits bounded while it is appended to."""

from __future__ import annotations

import logging

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from headrace.errors import HeadraceError
from headrace.log.commits import trim_commits
from headrace.log.compaction import Upkeep, compact_table, due, table_files
from headrace.log.location import Location
from headrace.log.parquet_files import Layout

__all__ = ["Keeper"]

logger = logging.getLogger(__name__)

_LOOK_EVERY = 8
_TRIM_EVERY = 100


class Keeper:
    """Merges the small files that appends leave, and removes old commits, in the thread that appends.

    The stream continues in its own thread.

    Args:
        location: The table's place.
        layout: How its files are written.
        rule: When to merge.
    """

    def __init__(self, location: Location, layout: Layout, rule: Upkeep) -> None:
        self._location = location
        self._layout = layout
        self._rule = rule
        self._until_look = 1
        self._trim_from = 0

    def look(self, delta: DeltaTable) -> bool:
        """Merge, where enough files wait for it. Call it after an append. If this fails, the append is still done.

        Args:
            delta: The table as it is now.

        Returns:
            Whether the table has changed, so that it must be opened again.
        """
        self._until_look -= 1
        if self._until_look > 0 or not self._rule.small_files:
            return False
        self._until_look = _LOOK_EVERY
        try:
            return self._merge(delta) | self._trim(delta.version())
        except (HeadraceError, DeltaError, OSError) as error:
            logger.warning("%s was not put in order: its small files were not merged. %s", self._location, error)
        return False

    def _merge(self, delta: DeltaTable) -> bool:
        if not due(table_files(delta), self._rule):
            return False
        done = compact_table(self._location, self._layout, self._rule, only_due=True)
        if done.is_short:
            self._until_look = 1
        return done.rows > 0

    def _trim(self, version: int) -> bool:
        if version < self._trim_from:
            return False
        self._trim_from = version + _TRIM_EVERY
        return trim_commits(self._location) > 0
