"""What keeps the number of a table's files bounded while it is appended to."""

from __future__ import annotations

import logging
from pathlib import Path

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from headrace.errors import HeadraceError, LogUnavailableError
from headrace.log.commit_archive import put_by, wants_putting_by
from headrace.log.compaction import Upkeep, compact_table, due, held_files
from headrace.log.parquet_files import Layout
from headrace.log.upkeep_lock import upkeep

__all__ = ["Keeper"]

logger = logging.getLogger(__name__)

_LOOK_EVERY = 8
_COUNT_EVERY = 100


class Keeper:
    """Merges the small files that appends leave and puts old commits by, in the thread that appends; the stream goes on in its own meanwhile.

    Args:
        path: The table's folder.
        layout: How its files are written.
        rule: When to merge.
    """

    def __init__(self, path: Path, layout: Layout, rule: Upkeep) -> None:
        self._path = path
        self._layout = layout
        self._rule = rule
        self._until_look = 1
        self._put_by_from = 0

    def look(self, delta: DeltaTable) -> bool:
        """Merge, where enough files wait for it. To be called after an append, which is done whatever becomes of this.

        Args:
            delta: The table as it is now.

        Returns:
            Whether the table has changed, so that it must be opened anew.
        """
        self._until_look -= 1
        if self._until_look > 0 or not self._rule.small_files:
            return False
        self._until_look = _LOOK_EVERY
        try:
            return self._merge(delta) | self._put_by(delta.version())
        except LogUnavailableError as error:
            logger.info("%s waits to be put in order. %s", self._path, error)
        except (HeadraceError, DeltaError, OSError) as error:
            logger.warning("%s was not put in order: its small files were not merged. %s", self._path, error)
        return False

    def _merge(self, delta: DeltaTable) -> bool:
        if not due(held_files(delta), self._rule):
            return False
        done = compact_table(self._path, self._layout, self._rule, only_due=True, wait_s=0.0)
        if done.is_short:
            self._until_look = 1
        return done.rows > 0

    def _put_by(self, version: int) -> bool:
        if version < self._put_by_from:
            return False
        self._put_by_from = version + _COUNT_EVERY
        if not wants_putting_by(self._path):
            return False
        with upkeep(self._path, wait_s=0.0):
            return put_by(self._path) > 0
