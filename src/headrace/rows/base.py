"""The port of the row store: a small interface, and a public contract suite for adapters (`headrace.testing.rows`).

**Which row wins.** A row with a newer event time replaces the one that is there. At an equal event time the one that
was created last wins, as in the join for training. A row that does not say when it was created is older than any that
does. If these are equal too, the later write wins. An older row never overwrites. The comparison and the write are one
step, so any number of processes may write.

**Chunks.** A write of many rows is made in chunks. A crash between two chunks leaves the first ones; writing the same
rows again completes them, and changes nothing in those that were there.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import TracebackType
from typing import NamedTuple, Self

__all__ = ["NO_TIME", "Row", "RowStore", "StoredRow", "Written", "age", "newest_rows"]

NO_TIME = -(2**63)
"""The time of creation, where a row does not say it."""


class Row(NamedTuple):
    """A row to be written.

    Attributes:
        entity: The entity's key (`headrace.records.entity_keys`).
        event_us: Its event time in µs.
        values: Its values (`RowCodec.encode`). A store never looks inside.
        created_us: When the source says that the row was created, in µs; None where it does not say.
    """

    entity: bytes
    event_us: int
    values: bytes
    created_us: int | None = None


class StoredRow(NamedTuple):
    """A row as the store has it.

    Attributes:
        event_us: Its event time in µs.
        created_us: When the source says that it was created, in µs; None where it does not say.
        sequence: The number of the write that brought it. A later write to the same store has a higher number.
        values: Its values.
    """

    event_us: int
    created_us: int | None
    sequence: int
    values: bytes


class Written(NamedTuple):
    """What a write did.

    Attributes:
        rows: How many rows were given.
        changed: How many of them the store took.
    """

    rows: int
    changed: int

    @property
    def older(self) -> int:
        """How many rows were left out, because the store or the same write has one that wins."""
        return self.rows - self.changed


class RowStore(ABC):
    """Where the newest rows live.

    A view is named by its `BatchView.rows_hash`: versions of a view whose rows differ are stored apart.

    Args:
        chunk_rows: How many rows are written at one moment, at most.
    """

    def __init__(self, chunk_rows: int) -> None:
        self._chunk_rows = chunk_rows

    def write(self, view: str, rows: Iterable[Row]) -> Written:
        """Write rows, each unless there is one that wins.

        Args:
            view: The view.
            rows: The rows, in the order in which they were made. Several may be of one entity.

        Returns:
            How many were written.

        Raises:
            StoreUnavailableError: The store is away. What was written before stays; writing again completes it.
        """
        given = changed = 0
        rest = iter(rows)
        while chunk := list(islice(rest, self._chunk_rows)):
            given += len(chunk)
            changed += self._write_chunk(view, newest_rows(chunk))
        return Written(given, changed)

    @abstractmethod
    def _write_chunk(self, view: str, rows: Sequence[Row]) -> int:
        """Write rows of different entities at one moment, each unless there is a newer one; how many were written."""

    @abstractmethod
    def read_views(self, wanted: Mapping[str, Sequence[bytes]]) -> dict[str, list[StoredRow | None]]:
        """The rows of entities, by view.

        Args:
            wanted: By view, the entities' keys.

        Returns:
            The rows in the order asked for, None where there is none.
        """

    def read(self, view: str, entities: Sequence[bytes]) -> list[StoredRow | None]:
        """The rows of entities, in the order asked for; None where there is none."""
        return self.read_views({view: entities})[view]

    @abstractmethod
    def views(self) -> set[str]:
        """The views that have rows. One whose rows were all deleted one by one may be among them."""

    @abstractmethod
    def entities(self, view: str) -> Iterator[bytes]:
        """The keys of the entities that have a row, each once, in no particular order."""

    @abstractmethod
    def delete(self, view: str, entities: Iterable[bytes]) -> int:
        """Remove the rows of entities; how many there were."""

    @abstractmethod
    def clear(self, view: str) -> None:
        """Remove all rows of a view."""

    @abstractmethod
    def close(self) -> None:
        """Close the store."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def age(row: Row | StoredRow) -> tuple[int, int]:
    """What decides between two rows of an entity: the event time, then the time of creation."""
    return row.event_us, NO_TIME if row.created_us is None else row.created_us


def newest_rows(rows: Sequence[Row]) -> list[Row]:
    """Of each entity's rows the one that wins; of equals the last given."""
    newest: dict[bytes, Row] = {}
    for row in rows:
        held = newest.get(row.entity)
        if held is None or age(held) <= age(row):
            newest[row.entity] = row
    return list(newest.values())
