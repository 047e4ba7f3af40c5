"""A spine's join keys and times, checked, and typed as the plan has them."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

from headrace.errors import SpineError
from headrace.events.arrow_types import holds_values_of, plain_column
from headrace.events.event_batch import ARROW_TYPES, as_dates
from headrace.plan import Column, DType

__all__ = ["T_US", "key_name", "spine_times_us", "read_spine"]

T_US = "t_us"

_PER_MICROSECOND = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NS_PER_US = 1_000


def key_name(join_key: str) -> str:
    """The name of a join key's column inside the join: no column of a spine can have it."""
    return f"key({join_key})"


def read_spine(spine: pa.Table, join_keys: Sequence[Column], time_column: str) -> pa.Table:
    """The columns of a spine that take part in the join.

    Args:
        spine: One row per row of the training set.
        join_keys: The join keys of the views asked for.
        time_column: The column of times.

    Returns:
        ``t_us`` (int64) and ``key(…)`` per join key, in the spine's order.

    Raises:
        SpineError: A column is missing, has a wrong type or contains a null; a time has no time zone.
    """
    needed = [time_column, *(key.name for key in join_keys)]
    for name in needed:
        if spine.column_names.count(name) != 1:
            what = "has no column" if name not in spine.column_names else "has more than one column"
            role = "the time of each row" if name == time_column else "a join key of the views asked for"
            msg = f"The spine {what} {name!r}, {role}. It has: {', '.join(spine.column_names) or 'no columns'}."
            hint = (
                "Name the column of times: `--time-column NAME`, or time_column= in Python."
                if name == time_column
                else f"Give the spine: {', '.join(needed)}."
            )
            raise SpineError(msg, hint=hint)
    columns: dict[str, pa.Array | pa.ChunkedArray] = {
        T_US: spine_times_us(spine.column(time_column), time_column),
    }
    for key in join_keys:
        columns[key_name(key.name)] = _keys(spine.column(key.name), key)
    return pa.table(columns)


def spine_times_us(column: pa.ChunkedArray, name: str) -> pa.Array:
    """A spine's times as int64 microseconds UTC, rounded down.

    Args:
        column: Timestamps of any unit, with a time zone.
        name: The column's name, for messages.

    Raises:
        SpineError: They are not timestamps, have no time zone, contain a null, or do not fit int64 microseconds.
    """
    column = plain_column(column)
    if not len(column):
        return pa.array([], pa.int64())  # the columns of an empty frame often have no type
    if not pa.types.is_timestamp(column.type):
        hint = "Make it a timestamp in UTC; in pandas: pd.to_datetime(df[name], utc=True)."
        msg = f"The spine's {name!r} is {column.type}, not a timestamp."
        raise SpineError(msg, hint=hint)
    if column.type.tz is None:
        hint = (
            f"If they are UTC, say so: in pandas df[{name!r}].dt.tz_localize('UTC'), "
            "in Arrow pyarrow.compute.assume_timezone(column, 'UTC'), in a CSV file with a Z after each."
        )
        msg = f"The times in the spine's {name!r} have no time zone ({column.type})."
        raise SpineError(msg, hint=hint)
    _refuse_nulls(column, name)
    ticks = column.combine_chunks().cast(pa.int64()).to_numpy()
    if column.type.unit == "ns":
        return pa.array(ticks // _NS_PER_US)  # rounded down: no event lies between the two
    factor = _PER_MICROSECOND[column.type.unit]
    if len(ticks) and max(abs(int(ticks.min())), abs(int(ticks.max()))) > (2**62) // factor:
        msg = f"The spine's {name!r} has a time that does not fit in 64 bits as microseconds since 1970."
        raise SpineError(msg)
    return pa.array(ticks * factor)


def _keys(column: pa.ChunkedArray, key: Column) -> pa.ChunkedArray:
    _refuse_nulls(column, key.name)
    wanted = ARROW_TYPES[key.dtype]
    if not len(column):
        return pa.chunked_array([], wanted)
    column = plain_column(column)
    try:
        if holds_values_of(column.type, key.dtype):
            return as_dates(column) if key.dtype is DType.DATE else column.cast(wanted)
    except pa.ArrowInvalid as error:
        msg = f"The spine's {key.name!r} has a value that {key.dtype} cannot hold: {error}"
        raise SpineError(msg) from error
    hint = f"Give it as {key.dtype}, as the events have it."
    msg = f"The spine's {key.name!r} is {column.type}, and the views asked for are keyed by {key.dtype}."
    raise SpineError(msg, hint=hint)


def _refuse_nulls(column: pa.ChunkedArray, name: str) -> None:
    if column.null_count:
        row = pc.index(column.is_null(), True).as_py()
        hint = "Leave such rows out of the spine, or fill them."
        msg = f"The spine's {name!r} is null in row {row} ({column.null_count} in all)."
        raise SpineError(msg, hint=hint)
