"""What a function returned, as a column of the declared type. Nothing is converted in silence.

An integer is not made a float that has other digits, a float is not made an integer, a number is not made a text, and a
time needs a zone. What does not fit fails, with the type that was found and the type that was declared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa

from headrace.events.event_batch import ARROW_TYPES
from headrace.plan import Column, DType
from headrace.times import as_stored

__all__ = ["WrongResultError", "array_of_list", "array_of_series", "values_of_column"]

_EXACT_FLOATS = 2**53
"""Every integer up to this one is a float; past it only some are."""


class WrongResultError(Exception):
    """A function returned something else than its view declares."""


_PLAIN: dict[DType, type] = {
    DType.INT64: int,
    DType.FLOAT64: float,
    DType.BOOL: bool,
    DType.STRING: str,
    DType.DATE: date,
}
"""The types whose values are of one type of Python's own."""

_ARROW_KINDS: dict[DType, Callable[[pa.DataType], bool]] = {
    DType.INT64: pa.types.is_integer,
    DType.FLOAT64: lambda kind: pa.types.is_floating(kind) or pa.types.is_integer(kind),
    DType.BOOL: pa.types.is_boolean,
    DType.STRING: lambda kind: pa.types.is_string(kind) or pa.types.is_large_string(kind),
    DType.DATE: pa.types.is_date,
    DType.TIMESTAMP: lambda kind: pa.types.is_timestamp(kind) and kind.tz is not None,
}
"""The Arrow types that hold values of a type."""


def values_of_column(made: Mapping[str, Any], feature: Column, rows: int) -> Sequence[Any]:
    """The column of a feature in what a function of a dict of lists returned.

    Args:
        made: What it returned.
        feature: The feature.
        rows: How many rows it was given.

    Raises:
        WrongResultError: The feature is missing, or is no column of that many values.
    """
    if feature.name not in made:
        there = ", ".join(map(repr, made)) or "nothing"
        msg = f"returned no {feature.name!r} (it returned {there})"
        raise WrongResultError(msg)
    values = made[feature.name]
    if not isinstance(values, list | tuple):
        if isinstance(values, str | bytes) or not hasattr(values, "tolist"):
            what = f"{feature.name!r} as {_shown(values)}, and not as a list with a value per row"
            msg = f"returned {what}"
            raise WrongResultError(msg)
        listed = values.tolist()  # an array of numpy, a series of pandas
        values = listed if isinstance(listed, list) else [listed]
    if len(values) != rows:
        msg = f"returned {len(values)} values of {feature.name!r} for {rows} rows"
        raise WrongResultError(msg)
    found: Sequence[Any] = values
    return found


def array_of_list(values: Sequence[Any], feature: Column) -> pa.Array:
    """Python's own values (or numpy's scalars) as a feature's column.

    Args:
        values: One per row; None is null.
        feature: The feature.

    Raises:
        WrongResultError: A value is of another type than the feature's, or does not fit it.
    """
    dtype = feature.dtype
    if set(map(type, values)) - {type(None), _PLAIN.get(dtype)}:
        values = [_checked(value, dtype, feature) for value in values]
    try:
        return pa.array(values, ARROW_TYPES[dtype])
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        why = "it does not fit 64 bits" if isinstance(error, OverflowError) else error
        msg = f"returned a value of {feature.name!r} that {dtype} cannot hold: {why}"
        raise WrongResultError(msg) from error


def array_of_series(series: Any, feature: Column) -> pa.Array:
    """A column of a data frame as a feature's column. A float that is NaN is null, unless the column is Arrow's.

    Args:
        series: The column.
        feature: The feature.

    Raises:
        WrongResultError: It is of another type than the feature's, or a value does not fit it.
    """
    if series.dtype == object or feature.dtype not in _ARROW_KINDS:
        import pandas as pd

        def is_null(value: Any) -> bool:
            return value is None or (pd.api.types.is_scalar(value) and bool(pd.isna(value)))

        return array_of_list([None if is_null(one) else one for one in series.tolist()], feature)
    try:
        array = pa.array(series, from_pandas=True)
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        if pa.types.is_dictionary(array.type):
            array = array.cast(array.type.value_type)
        if not pa.types.is_null(array.type) and not _ARROW_KINDS[feature.dtype](array.type):
            msg = f"returned {feature.name!r} as {series.dtype}, and it is declared {feature.dtype}"
            raise WrongResultError(msg)
        return array.cast(ARROW_TYPES[feature.dtype])
    except (pa.ArrowException, OverflowError, TypeError, ValueError) as error:
        msg = f"returned a value of {feature.name!r} that {feature.dtype} cannot hold: {error}"
        raise WrongResultError(msg) from error


def _checked(value: Any, dtype: DType, feature: Column) -> Any:
    """A value as Arrow takes it; refused where it is of another type."""
    if value is None:
        return None
    if dtype.element is not None:
        listed = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(listed, list | tuple):
            return [_checked(one, dtype.element, feature) for one in listed]
        raise _wrong(value, dtype, feature)
    value = value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value
    kind = type(value)
    if dtype is DType.FLOAT64 and kind is int and abs(value) <= _EXACT_FLOATS:
        return float(value)
    if dtype is DType.TIMESTAMP and isinstance(value, datetime):
        if value.tzinfo is None:
            msg = f"returned {feature.name!r} as {value.isoformat()}, a time without a zone"
            raise WrongResultError(msg)
        return as_stored(value)
    if kind is not _PLAIN.get(dtype):
        raise _wrong(value, dtype, feature)
    return value


def _wrong(value: Any, dtype: DType, feature: Column) -> WrongResultError:
    declared = f"it is declared {dtype if feature.dtype is dtype else f'{feature.dtype} ({dtype} inside)'}"
    return WrongResultError(f"returned {feature.name!r} as {_shown(value)}, and {declared}")


def _shown(value: Any) -> str:
    text = repr(value)
    return f"{text if len(text) <= 40 else f'{text[:40]}…'} ({type(value).__name__})"
