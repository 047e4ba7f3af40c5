"""What keeps the number of a table's files bounded while it is appended to."""

from __future__ import annotations

import logging
from pathlib import Path

from deltalake import DeltaTable

from headrace.errors import HeadraceError, LogUnavailableError
from headrace.log.compact import Upkeep, compact_table, due, held_files
from headrace.log.files import Layout

__all__ = ["Keeper"]

logger = logging.getLogger(__name__)

_LOOK_EVERY = 8


class Keeper:
    """Merges the small files that appends leave, in the thread that appends; the stream goes on in its own meanwhile.

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

    def look(self, delta: DeltaTable) -> bool:
        """Merge, where enough files wait for it. To be called after an append, which is done whatever becomes of this.

        Args:
            delta: The table as it is now.

        Returns:
            Whether the table has changed.
        """
        self._until_look -= 1
        if self._until_look > 0 or not self._rule.small_files:
            return False
        self._until_look = _LOOK_EVERY
        if not due(held_files(delta), self._rule):
            return False
        try:
            done = compact_table(self._path, self._layout, self._rule, only_due=True, wait_s=0.0)
        except LogUnavailableError as error:
            logger.info("Small files wait to be merged. %s", error)
            return False
        except HeadraceError as error:
            logger.warning("The small files of %s were not merged. %s", self._path, error)
            return False
        if done.is_short:
            self._until_look = 1
        return done.rows > 0
