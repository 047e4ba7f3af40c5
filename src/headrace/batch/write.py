"""Rows that somebody hands over, written to the row store: pushed rows, and rows of a data frame."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import RowsError
from headrace.events.event_batch import ARROW_TYPES
from headrace.plan import BatchView, Column, DType
from headrace.records.entity_keys import entity_keys
from headrace.rows import Row, RowCodec, RowStore, Written
from headrace.rows.arrow_columns import stored_column

__all__ = ["push_rows", "rows_of"]

_PER_MICROSECOND = {"s": 1_000_000, "ms": 1_000, "us": 1}


def push_rows(rows: RowStore, view: BatchView, table: pa.Table) -> Written:
    """Write a table's rows to the row store.

    Args:
        rows: The row store, open to write.
        view: The view.
        table: As `rows_of` takes it.

    Raises:
        RowsError: As `rows_of`. Then nothing is written.
        StoreUnavailableError: The store is away.
    """
    return rows.write(view.rows_hash, rows_of(view, table))


def rows_of(view: BatchView, table: pa.Table) -> list[Row]:
    """A table's rows, encoded for the row store.

    Args:
        view: The view.
        table: The join keys, the features and the source's timestamp field, by the view's names or by the source's; a
            feature's column may be left out (it is null then), and so may the created field.

    Returns:
        The rows in the table's order; a later one of the same entity and time wins.

    Raises:
        RowsError: A column is missing, unknown or of a wrong type, a key or a time is null, or a time has no zone.
    """
    table = _named(view, table)
    times = _times(view, table, view.source.timestamp_field, required=True)
    created_field = view.source.created_field
    created: Sequence[int | None] = [None] * table.num_rows
    if created_field is not None and created_field in table.column_names:
        created = _times(view, table, created_field, required=False)
    keys = [stored_column(_typed(view, table, key, required=True), key) for key in view.entities]
    if not table.num_rows:
        return []
    typed = {column.name: _typed(view, table, column, required=False) for column in view.columns}
    values = RowCodec(view.columns).encode_table(pa.table(typed))
    rows = zip(entity_keys(keys), times, values, created, strict=True)
    return [Row(entity, int(event_us or 0), value, created_us) for entity, event_us, value, created_us in rows]


def _named(view: BatchView, table: pa.Table) -> pa.Table:
    """The table with the view's names; columns that the view does not know are refused."""
    source = view.source
    table = table.rename_columns([source.field_mapping.get(name, name) for name in table.column_names])
    known = {*view.join_keys, *(column.name for column in view.columns), source.timestamp_field}
    known |= {source.created_field} if source.created_field is not None else set()
    for name in table.column_names:
        if table.column_names.count(name) > 1:
            msg = f"The rows for {view.name!r} have more than one column {name!r}."
            raise RowsError(msg, hint="Rename or drop all but one.")
        if name not in known:
            msg = f"The rows for {view.name!r} have the column {name!r}, which the view does not."
            raise RowsError(msg, hint=f"It has: {', '.join(sorted(known))}.")
    return table


def _times(view: BatchView, table: pa.Table, name: str, *, required: bool) -> list[int | None]:
    if name not in table.column_names:
        msg = f"The rows for {view.name!r} have no column {name!r}, their event time."
        raise RowsError(msg, hint="Give each row a time with a time zone.")
    column = table.column(name)
    if pa.types.is_null(column.type):
        column = column.cast(pa.timestamp("us", "UTC"))
    if not pa.types.is_timestamp(column.type):
        msg = f"The rows for {view.name!r} have {name!r} as {column.type}, which is no timestamp."
        raise RowsError(msg, hint="In pandas: pd.to_datetime(df[name], utc=True).")
    if column.type.tz is None:
        msg = f"The times in {name!r} of the rows for {view.name!r} have no time zone."
        raise RowsError(msg, hint="If they are UTC, say so; in pandas: df[name].dt.tz_localize('UTC').")
    if required and column.null_count:
        msg = f"{name!r} is null in row {_first_null(column)} of the rows for {view.name!r}."
        raise RowsError(msg, hint="Give each row a time.")
    unit = column.type.unit
    return [_us(tick, unit) for tick in column.cast(pa.int64()).to_pylist()]


def _us(tick: int | None, unit: str) -> int | None:
    if tick is None:
        return None
    return tick // 1_000 if unit == "ns" else tick * _PER_MICROSECOND[unit]


def _typed(view: BatchView, table: pa.Table, column: Column, *, required: bool) -> pa.ChunkedArray:
    """A column in the plan's type."""
    wanted = ARROW_TYPES[column.dtype]
    if column.name not in table.column_names:
        if required:
            msg = f"The rows for {view.name!r} have no column {column.name!r}, which the view is keyed by."
            raise RowsError(msg, hint=f"Give each row: {', '.join(view.join_keys)}.")
        return pa.chunked_array([pa.nulls(table.num_rows, wanted)])
    found = table.column(column.name)
    if required and found.null_count:
        msg = f"The key {column.name!r} is null in row {_first_null(found)} of the rows for {view.name!r}."
        raise RowsError(msg, hint="Leave such rows out: nobody can look them up.")
    while pa.types.is_dictionary(found.type):
        found = found.cast(found.type.value_type)
    if not _goes(found.type, column.dtype):
        msg = f"The rows for {view.name!r} have {column.name!r} as {found.type}, and the view as {column.dtype.value}."
        raise RowsError(msg, hint="Give the values in the view's type.")
    try:
        return found.cast(wanted)
    except pa.ArrowException as error:
        msg = (
            f"The rows for {view.name!r} have a value of {column.name!r} that {column.dtype.value} cannot hold: {error}"
        )
        raise RowsError(msg) from error


def _goes(found: pa.DataType, wanted: DType) -> bool:
    """Whether a type can be cast to the plan's without changing what a value means."""
    if pa.types.is_null(found):
        return True
    is_list = pa.types.is_list(found) or pa.types.is_large_list(found) or pa.types.is_fixed_size_list(found)
    if wanted.element is not None:
        return bool(is_list and _goes(found.value_type, wanted.element))
    if wanted is DType.INT64:
        return bool(pa.types.is_integer(found) or pa.types.is_floating(found))  # a float that is not whole is refused
    if wanted is DType.FLOAT64:
        return bool(pa.types.is_integer(found) or pa.types.is_floating(found))
    if wanted is DType.BOOL:
        return bool(pa.types.is_boolean(found))
    if wanted in (DType.STRING, DType.JSON):
        return bool(pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found))
    if wanted is DType.TIMESTAMP:
        return bool(pa.types.is_timestamp(found) and found.tz is not None)
    if wanted is DType.DATE:
        return bool(pa.types.is_date(found))
    return bool(pa.types.is_decimal(found) or pa.types.is_integer(found))


def _first_null(column: Any) -> int:
    return int(pc.index(column.is_null(), True).as_py())
