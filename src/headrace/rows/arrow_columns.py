"""Columns of Arrow as rows keep their values."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import RowsError
from headrace.events.columns import decimal_of
from headrace.events.event_batch import column_values
from headrace.plan import Column

__all__ = ["stored_column"]


def stored_column(column: pa.ChunkedArray, of: Column) -> list[Any]:
    """A column of Arrow as rows keep its values.

    Args:
        column: The column, of the type in `ARROW_TYPES`.
        of: The column it is.

    Raises:
        RowsError: A decimal does not fit into 64 bits.
    """
    kind = column.type
    if of.dtype.scale is not None:
        return _units(column, of)
    if pa.types.is_timestamp(kind):
        return list(column.cast(pa.int64()).to_pylist())
    if pa.types.is_date(kind):
        return list(column.cast(pa.int32()).to_pylist())
    if pa.types.is_list(kind) and pa.types.is_timestamp(kind.value_type):
        return list(column.cast(pa.list_(pa.int64())).to_pylist())
    if pa.types.is_list(kind) and pa.types.is_date(kind.value_type):
        return list(column.cast(pa.list_(pa.int32())).to_pylist())
    return list(column.to_pylist())


def _units(column: pa.ChunkedArray, of: Column) -> list[int | None]:
    scale = of.dtype.scale or 0
    ends = pc.min_max(column).as_py()
    for value in (ends["min"], ends["max"]):
        if value is not None and not decimal_of(-(2**63), scale) <= value <= decimal_of(2**63 - 1, scale):
            msg = f"The value {value} does not fit the column {of.name!r}: a decimal has 64 bits."
            raise RowsError(msg, hint="Declare the column with fewer digits after the point, or as Float64.")
    units, valid = column_values(column)
    return [one if known else None for one, known in zip(units.tolist(), valid.tolist(), strict=True)]
