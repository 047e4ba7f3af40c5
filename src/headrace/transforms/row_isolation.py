"""Computing a column for many rows when some rows fail: the other rows keep their values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.events.columns import BoolArray
from headrace.events.event_batch import ARROW_TYPES, as_dates
from headrace.events.row_salvage import salvaged
from headrace.plan import Column, DType
from headrace.times import CALENDAR_DAYS, CALENDAR_US, OFF_CALENDAR

__all__ = ["Made", "array_of", "each", "fitted", "joined", "nothing"]


_CALENDAR = {DType.TIMESTAMP: CALENDAR_US, DType.DATE: CALENDAR_DAYS}
"""The first and the last value, as numbers, of types whose range is larger than Python's calendar."""


class Made(NamedTuple):
    """A column that a transform computed for some events.

    Attributes:
        array: Its values, shape (n,); null where it failed.
        failed: The events that failed; None if none did.
        error: The error of the first of them.
    """

    array: pa.Array
    failed: BoolArray | None = None
    error: Exception | None = None

    def after(self, before: Made) -> Made:
        """The same column, with the failures of the step before added."""
        if before.failed is None:
            return self
        failed = before.failed if self.failed is None else before.failed | self.failed
        return Made(self.array, failed, before.error or self.error)


def nothing(column: Column, rows: int, error: Exception) -> Made:
    """A column that failed on all events."""
    return Made(pa.nulls(rows, ARROW_TYPES[column.dtype]), np.ones(rows, np.bool_), error)


def array_of(values: Any, column: Column, *, is_pandas: bool = False) -> Made:
    """The result of a function as a column; a value of a wrong type fails alone.

    Args:
        values: A list, or anything that Arrow accepts as one.
        column: The column.
        is_pandas: Whether NaN means null, as in pandas.
    """
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return fitted(values, column)

    def attempt(start: int, stop: int) -> Made:
        part = values[start:stop]
        if column.dtype is DType.DATE and stop - start > 1 and not _are_of_one_kind(part):
            # In a list with dates Arrow also accepts numbers and times as dates, so a value would depend on other
            # events.
            msg = "the values are of several types"
            raise TypeError(msg)
        return fitted(pa.array(part, from_pandas=is_pandas), column)

    return each(attempt, len(values), column)


def _are_of_one_kind(values: Any) -> bool:
    """Whether all values but nulls have one Python type and, if they are times, one time zone."""
    if str(getattr(values, "dtype", "object")) != "object":
        return True
    there = (value for value in values if value is not None and value == value)
    return len({(type(value), getattr(value, "tzinfo", None)) for value in there}) < 2


def fitted(array: pa.Array | pa.ChunkedArray, column: Column) -> Made:
    """An Arrow array as a column of the plan's type; a value that does not fit the type fails alone."""
    wanted = ARROW_TYPES[column.dtype]
    whole = _plain(array)

    def attempt(start: int, stop: int) -> Made:
        part = whole[start:stop]
        if part.null_count == len(part):  # whatever its type
            return Made(pa.nulls(len(part), wanted))
        return Made(as_dates(part) if column.dtype is DType.DATE else part.cast(wanted))

    made = Made(whole) if whole.type == wanted else each(attempt, len(whole), column)
    return _on_calendar(made, *_CALENDAR[column.dtype]) if column.dtype in _CALENDAR else made


def _on_calendar(made: Made, first: int, last: int) -> Made:
    """Times and dates outside Python's calendar fail: Python has no value for them, so a lookup could not show them."""
    dates = made.array.cast(pa.int32()) if pa.types.is_date(made.array.type) else made.array
    numbers = dates.cast(pa.int64())
    extent = pc.min_max(numbers)
    low, high = extent["min"].as_py(), extent["max"].as_py()
    if low is None or (low >= first and high <= last):
        return made
    off = pc.fill_null(pc.or_(pc.less(numbers, first), pc.greater(numbers, last)), fill_value=False)
    array = pc.if_else(off, pa.scalar(None, made.array.type), made.array)
    return Made(array, off.to_numpy(zero_copy_only=False), ValueError(OFF_CALENDAR)).after(made)


def joined(parts: Iterable[Made], column: Column) -> Made:
    """A column's parts as one."""
    found = list(parts)
    if len(found) == 1:
        return found[0]
    array = _plain(pa.chunked_array([part.array for part in found], ARROW_TYPES[column.dtype]))
    failed = [np.zeros(len(part.array), np.bool_) if part.failed is None else part.failed for part in found]
    error = next((part.error for part in found if part.error is not None), None)
    return Made(array, np.concatenate(failed) if error is not None else None, error)


def each(attempt: Callable[[int, int], Made], rows: int, column: Column) -> Made:
    """A column from attempts at ranges of rows; a row that fails, fails alone."""
    parts = salvaged(attempt, 0, rows)
    return joined(
        (nothing(column, end - begin, part) if isinstance(part, Exception) else part for begin, end, part in parts),
        column,
    )


def _plain(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
