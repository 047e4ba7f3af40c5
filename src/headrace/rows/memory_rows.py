"""Rows in this process's memory, for tests of what is built on them."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

from headrace.rows.base import Row, RowStore, StoredRow, age

__all__ = ["MemoryRows"]


class MemoryRows(RowStore):
    """A row store that ends with this process.

    Args:
        chunk_rows: How many rows are written at one moment, at most.
    """

    def __init__(self, chunk_rows: int = 5_000) -> None:
        super().__init__(chunk_rows)
        self._rows: dict[str, dict[bytes, StoredRow]] = {}
        self._sequence = 0
        self._guard = threading.Lock()

    def _write_chunk(self, view: str, rows: Sequence[Row]) -> int:
        changed = 0
        with self._guard:
            self._sequence += 1
            held = self._rows.setdefault(view, {})
            for row in rows:
                there = held.get(row.entity)
                if there is None or age(there) <= age(row):
                    held[row.entity] = StoredRow(row.event_us, row.created_us, self._sequence, row.values)
                    changed += 1
        return changed

    def read_views(self, wanted: Mapping[str, Sequence[bytes]]) -> dict[str, list[StoredRow | None]]:
        with self._guard:
            return {
                view: [self._rows.get(view, {}).get(entity) for entity in entities] for view, entities in wanted.items()
            }

    def views(self) -> set[str]:
        with self._guard:
            return {view for view, rows in self._rows.items() if rows}

    def entities(self, view: str) -> Iterator[bytes]:
        with self._guard:
            found = list(self._rows.get(view, ()))
        return iter(found)

    def delete(self, view: str, entities: Iterable[bytes]) -> int:
        with self._guard:
            rows = self._rows.get(view, {})
            return sum(rows.pop(entity, None) is not None for entity in set(entities))

    def clear(self, view: str) -> None:
        with self._guard:
            self._rows.pop(view, None)

    def close(self) -> None:
        """There is nothing to close."""
