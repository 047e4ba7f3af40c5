"""The fields of a request that on-demand views read, from the rows of a lookup and from those of a spine."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import LookupRequestError, SpineError
from headrace.events.arrow_types import holds_values_of, plain_column
from headrace.events.event_batch import ARROW_TYPES, as_dates
from headrace.plan import Column, DType, OnDemandView
from headrace.times import CALENDAR_US, datetime_of, us_of

__all__ = ["field_of_record", "field_of_rows", "field_of_spine"]

_TYPES: dict[DType, type] = {
    DType.INT64: int,
    DType.FLOAT64: float,
    DType.BOOL: bool,
    DType.STRING: str,
    DType.TIMESTAMP: datetime,
    DType.DATE: date,
}
_INT64 = range(-(2**63), 2**63)
_EXACT_FLOATS = 2**53


def field_of_rows(view: OnDemandView, field: Column, values: Sequence[Any] | None, lacking: int | None) -> list[Any]:
    """A field's values in the rows of a lookup, as Python's own; None where a row gives null.

    Args:
        view: The view that reads it.
        field: The field.
        values: The rows' values of its name; None if no row has it.
        lacking: The first row that does not have it.

    Raises:
        LookupRequestError: A row leaves it out, or gives a value of another type.
    """
    if lacking is not None:
        msg = f"Row {lacking} of entity_rows has no {field.name!r}, which the on-demand view {view.name!r} reads."
        needed = ", ".join(f"{one.name} ({one.dtype})" for one in view.request)
        raise LookupRequestError(msg, hint=f"Give every row, beside its join keys: {needed}. None is null.")
    values = values or ()
    if set(map(type, values)) <= {_TYPES.get(field.dtype), type(None)} and field.dtype not in _CHECKED_BY_VALUE:
        return list(values)
    found = []
    for row, value in enumerate(values):
        try:
            found.append(_checked(value, field.dtype))
        except (TypeError, ValueError, OverflowError) as error:
            what = f"Row {row} of entity_rows has {field.name}={value!r}"
            msg = f"{what}; the on-demand view {view.name!r} reads it as {field.dtype}{_because(error)}."
            raise LookupRequestError(msg, hint=f"Pass {field.name} as {_python_type(field.dtype)}.") from None
    return found


_CHECKED_BY_VALUE = (DType.INT64, DType.TIMESTAMP)
"""Types that do not hold every value of their Python type: integers past 64 bits, times without a zone."""


def _checked(value: Any, dtype: DType) -> Any:
    """A value as the plan's type has it; TypeError or ValueError where it is of another type."""
    if value is None:
        return None
    if dtype.element is not None:
        if not isinstance(value, list | tuple):
            raise TypeError
        return [_checked(one, dtype.element) for one in value]
    kind = type(value)
    if dtype is DType.FLOAT64 and kind is int and abs(value) <= _EXACT_FLOATS:
        return float(value)  # JSON writes 5.0 as 5
    if dtype is DType.TIMESTAMP and isinstance(value, datetime):
        if value.tzinfo is None:
            msg = "and it has no time zone"
            raise ValueError(msg)
        return datetime_of(us_of(value))
    if dtype.scale is not None and isinstance(value, Decimal):
        return value
    if kind is not _TYPES.get(dtype):
        raise TypeError
    if dtype is DType.INT64 and value not in _INT64:
        msg = "and it does not fit 64 bits"
        raise ValueError(msg)
    return value


def field_of_spine(view: OnDemandView, field: Column, spine: pa.Table) -> pa.ChunkedArray:
    """A field's values in the rows of a spine, as Arrow.

    Args:
        view: The view that reads it.
        field: The field.
        spine: The spine.

    Raises:
        SpineError: It has no such column, or one of another type.
    """
    if spine.column_names.count(field.name) != 1:
        there = "no column" if field.name not in spine.column_names else "more than one column"
        msg = f"The spine has {there} {field.name!r}, which the on-demand view {view.name!r} reads."
        needed = ", ".join(f"{one.name} ({one.dtype})" for one in view.request)
        raise SpineError(msg, hint=f"Give the spine the fields of the request as columns: {needed}.")
    column = plain_column(spine.column(field.name))
    wanted = ARROW_TYPES[field.dtype]
    if pa.types.is_null(column.type) or not len(column):
        return pa.chunked_array([pa.nulls(len(column), wanted)])
    if not holds_values_of(column.type, field.dtype):
        what = f"The spine's {field.name!r} is {column.type}"
        msg = f"{what}, and the on-demand view {view.name!r} reads it as {field.dtype}."
        raise SpineError(msg, hint=f"Give it as {field.dtype}, as a lookup does.")
    try:
        found = as_dates(column) if field.dtype is DType.DATE else column.cast(wanted)
    except pa.ArrowInvalid as error:
        msg = f"The spine's {field.name!r} has a value that {field.dtype} cannot hold: {error}"
        raise SpineError(msg) from error
    if field.dtype is DType.TIMESTAMP:
        extent = pc.min_max(found.cast(pa.int64())).as_py()
        if extent["min"] is not None and not CALENDAR_US[0] <= extent["min"] <= extent["max"] <= CALENDAR_US[1]:
            msg = f"The spine's {field.name!r} has a time that is not on the calendar (years 1 to 9999)."
            raise SpineError(msg, hint="Leave such rows out of the spine, or make the time null.")
    return found if isinstance(found, pa.ChunkedArray) else pa.chunked_array([found])


def field_of_record(value: Any, dtype: DType) -> Any:
    """A field's value in a recorded lookup, as the lookup had it.

    Args:
        value: The value as JSON, or as Python's own.
        dtype: The field's type.

    Raises:
        ValueError, TypeError: It is no value of that type.
    """
    if value is None:
        return None
    if dtype.element is not None:
        return [field_of_record(one, dtype.element) for one in value]
    if dtype is DType.FLOAT64:
        return float(value)  # JSON has no NaN and no infinities: they were recorded as text
    if isinstance(value, str) and dtype is DType.TIMESTAMP:
        return datetime.fromisoformat(value)
    if isinstance(value, str) and dtype is DType.DATE:
        return date.fromisoformat(value)
    return Decimal(value) if isinstance(value, str) and dtype.scale is not None else value


def _because(error: Exception) -> str:
    return f" {error}" if str(error) else ""


def _python_type(dtype: DType) -> str:
    if dtype.element is not None:
        return f"a list of {_python_type(dtype.element).removeprefix('a Python ')}"
    if dtype.scale is not None:
        return "a decimal.Decimal"
    if dtype is DType.TIMESTAMP:
        return "a datetime with a time zone"
    return f"a Python {_TYPES[dtype].__name__}"
