"""Rows that Feast writes to the online store: of ordinary, push, label and stored on-demand views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from headrace.errors import FeastStoreError
from headrace.rows import Row
from headrace.times import us_of

if TYPE_CHECKING:
    from headrace.feast.row_formats import RowFormat
    from headrace.rows import RowStore

__all__ = ["FeastRow", "write_rows"]

FeastRow = tuple[EntityKeyProto, dict[str, ValueProto], datetime, datetime | None]
"""A row as Feast gives it: key, values, event time, and when it was created."""


def write_rows(
    store: RowStore,
    formats: Sequence[RowFormat],
    name: str,
    rows: Sequence[FeastRow],
    progress: Callable[[int], Any] | None,
) -> None:
    """Write rows: a newer event time wins, at an equal one the later write. An older row never overwrites.

    Args:
        store: The row store.
        formats: How the view's rows are kept; each gets all rows.
        name: The view's name, for messages.
        rows: The rows; times without a zone are UTC, as in Feast.
        progress: Called with the number of rows once they are written.

    Raises:
        FeastStoreError: A row has no event time or no key.
        RowsError: A value does not fit the view.
    """
    times = [_event_us(name, number, row) for number, row in enumerate(rows)]
    for one in formats:
        made = (
            Row(one.entity(row[0].join_keys, row[0].entity_values), event_us, one.encode(row[1]), _us(row[3]))
            for row, event_us in zip(rows, times, strict=True)
        )
        store.write(one.rows_id, made)
    if progress is not None:
        progress(len(rows))


def _event_us(name: str, number: int, row: FeastRow) -> int:
    key, _, event_time, _ = row
    event_us = _us(event_time)
    if event_us is None:
        msg = f"Row {number} of the rows for {name!r} has no event time."
        raise FeastStoreError(msg, hint="Fill the timestamp column, or leave the row out.")
    for join_key, value in zip(key.join_keys, key.entity_values, strict=True):
        if value.WhichOneof("val") is None:
            msg = f"Row {number} of the rows for {name!r} has no {join_key!r}."
            raise FeastStoreError(msg, hint="A join key cannot be null: fill it, or leave the row out.")
    return event_us


def _us(moment: datetime | None) -> int | None:
    """A time in µs, rounded down; None where there is none."""
    if moment is None or moment != moment:  # pandas' NaT differs from itself
        return None
    return int(us_of(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)))
