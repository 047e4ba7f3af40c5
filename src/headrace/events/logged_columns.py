"""Columns of logged events as the source declares them now.

The model may have been another one when the events were logged.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal

import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import LogError
from headrace.events.event_batch import ARROW_TYPES
from headrace.plan import Column, DType

__all__ = ["EXACT", "as_declared", "declared_column", "fill_scalar", "retyped"]

EXACT = 2**53
"""Up to this number, every integer can be stored as a float."""


def fill_scalar(column: Column) -> pa.Scalar | None:
    """A column's value for events that were logged before the field existed; None for null.

    Args:
        column: The column.
    """
    if column.fill is None:
        return None
    kind = ARROW_TYPES[column.dtype]
    if column.dtype is DType.JSON:
        return pa.scalar(column.fill, kind)
    value = json.loads(column.fill)
    if column.dtype is DType.TIMESTAMP:
        value = datetime.fromisoformat(value)
    if column.dtype is DType.DATE:
        value = date.fromisoformat(value)
    if column.dtype.scale is not None:
        value = Decimal(value)
    return pa.scalar(value, kind)


def as_declared(rows: pa.Table, columns: Iterable[Column], others: pa.Schema, where: str) -> pa.Table:
    """The rows of a file as the source declares them now.

    Args:
        rows: The rows as they are in the file.
        columns: The columns that the source declares.
        others: More columns to take from the file.
        where: The file, for messages.

    Raises:
        LogError: A value does not fit the type that is declared now.
    """
    declared = {column.name: declared_column(rows, column, where) for column in columns}
    return pa.table(declared | {field.name: rows.column(field.name).cast(field.type) for field in others})


def declared_column(rows: pa.Table, column: Column, where: str) -> pa.ChunkedArray:
    """One column of logged events as the source declares it now.

    A file from before the field existed gives the model's default. A null gives the default too where the field is not
    optional.

    Args:
        rows: The rows as they are in the file.
        column: The column.
        where: The file, for messages.

    Raises:
        LogError: A value does not fit the type that is declared now.
    """
    fill = fill_scalar(column)
    if column.name not in rows.column_names:
        kind = ARROW_TYPES[column.dtype]
        return pa.chunked_array([pa.nulls(rows.num_rows, kind) if fill is None else pa.repeat(fill, rows.num_rows)])
    found = rows.column(column.name)
    logged_type = found.type.value_type if pa.types.is_dictionary(found.type) else found.type
    if logged_type != ARROW_TYPES[column.dtype]:
        found = retyped(found, column, where)
    if fill is not None and not column.nullable and found.null_count:
        found = found.cast(logged_type) if pa.types.is_dictionary(found.type) else found
        found = found.fill_null(fill)
    return found


def retyped(found: pa.ChunkedArray, column: Column, where: str) -> pa.ChunkedArray:
    """A column whose type has changed since its values were logged.

    Integers become floats where that is exact. An older version of a view that reads integers gets null for a float
    that is no integer.

    Args:
        found: The values.
        column: The column with the wanted type.
        where: Where the values are, for messages.

    Raises:
        LogError: A value does not fit.
    """
    kind = ARROW_TYPES[column.dtype]
    if pa.types.is_integer(found.type) and column.dtype is DType.FLOAT64:
        extremes = pc.min_max(found)
        if found.null_count < len(found) and max(-extremes["min"].as_py(), extremes["max"].as_py()) > EXACT:
            msg = f"{where} has integers in {column.name!r} that a float cannot store exactly: they are beyond 2^53."
            raise LogError(msg, hint="Make the field an int again, and run `headrace apply`.")
        return found.cast(kind)
    if pa.types.is_floating(found.type) and column.dtype is DType.INT64:
        is_whole = pc.and_(pc.equal(found, pc.trunc(found)), pc.less_equal(pc.abs(found), float(EXACT)))
        return pc.if_else(is_whole, found, pa.scalar(None, found.type)).cast(kind)
    try:
        return found.cast(kind)
    except pa.ArrowException as error:
        msg = f"{where} has {column.name!r} as {found.type}, and the source declares {kind}: {error}"
        raise LogError(msg, hint="Give the field the type it had, or a new name, and run `headrace apply`.") from error
