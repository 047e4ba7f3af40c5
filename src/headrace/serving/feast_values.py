"""Values in Feast's JSON: how `feast serve` writes each type, and how its clients send them.

    type           in an answer                          also read from a request
    int64          1001, any 64-bit number               "1001", 1001.0 (pandas makes floats of integers with nulls)
    float64        0.5, "NaN", "Infinity", "-Infinity"   1
    bool           true                                  1, 0
    string         "EWR"                                 7 for "7"
    timestamp      1357041600, whole seconds             "2013-01-01T12:00:00Z", without a zone: UTC
    date           "2013-01-01"
    decimal        "1.50"                                1.5, 1
    json           "{}"
    list           a list of these

A null is `null`. Feast's timestamps have no microseconds, so an answer cuts them off; its own server does so too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache, partial
from typing import Any, NoReturn

from headrace.plan import Column, DType
from headrace.times import datetime_of, us_of

__all__ = ["NotOfTypeError", "feast_values", "read_time", "read_values"]

_WHOLE = re.compile(r"-?[0-9]{1,19}")
_INT64 = range(-(2**63), 2**63)
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_SECOND = 1_000_000


class NotOfTypeError(ValueError):
    """A value that is not of its column's type.

    Args:
        row: The number of its row, from 0.
        reason: What is wrong with it, for a message: `"x" is no int64`.
    """

    def __init__(self, row: int, reason: str) -> None:
        self.row, self.reason = row, reason
        super().__init__(f"row {row}: {reason}")


def feast_values(values: Sequence[Any], dtype: DType) -> Sequence[Any]:
    """Python values of a feature or a join key as Feast's JSON has them.

    Args:
        values: One per row, None where null; not changed.
        dtype: Their type.
    """
    if dtype is DType.FLOAT64:  # the common case: no copy unless one of them is NaN or infinite
        is_plain = all(one is None or one - one == 0.0 for one in values)
        return values if is_plain else [None if one is None else _float(one) for one in values]
    write = _writer(dtype)
    return values if write is None else [None if one is None else write(one) for one in values]


def read_values(values: Sequence[Any], column: Column, *, seconds: bool = True) -> list[Any]:
    """Values of a request as Python values of a column's type.

    Args:
        values: What the JSON had, one per row.
        column: The column.
        seconds: Whether a number is a time, in seconds since 1970.

    Raises:
        NotOfTypeError: A value has another type, does not fit, or is null where the column has no nulls.
    """
    read = _reader(column.dtype, seconds)
    found: list[Any] = []
    for row, value in enumerate(values):
        if value is None:
            if not column.nullable:
                raise NotOfTypeError(row, "it is null")
            found.append(None)
            continue
        try:
            found.append(read(value))
        except (ValueError, OverflowError, InvalidOperation) as error:
            raise NotOfTypeError(row, _said(value, column.dtype, error)) from None
    return found


def read_time(text: object) -> datetime:
    """A time of a request: ISO 8601; without a zone it is UTC, as Feast's clients mean it.

    Raises:
        ValueError: It is no time.
    """
    if not isinstance(text, str):
        _refuse("write times as ISO 8601, such as 2013-01-01T12:00:00Z")
    try:
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
        us_of(moment.astimezone(UTC))
    except (ValueError, OverflowError):
        _refuse("write times as ISO 8601, such as 2013-01-01T12:00:00Z")
    return moment


@cache
def _writer(dtype: DType) -> Callable[[Any], Any] | None:
    """What writes a value of the type; None if JSON has it as it is."""
    if dtype.element is not None:
        of_element = _float if dtype.element is DType.FLOAT64 else _writer(dtype.element)
        return None if of_element is None else partial(_each, of_element)
    if dtype.scale is not None:
        return str
    return _WRITERS.get(dtype)


def _each(one: Callable[[Any], Any], values: Sequence[Any]) -> list[Any]:
    return [None if value is None else one(value) for value in values]


def _float(value: float) -> float | str:
    if value - value == 0.0:
        return value
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


def _whole_seconds(moment: datetime) -> int:
    return int(moment.timestamp())  # by way of a float and cut towards 1970, as Feast does it


_WRITERS: dict[DType, Callable[[Any], Any]] = {
    DType.TIMESTAMP: _whole_seconds,
    DType.DATE: date.isoformat,
}


@cache
def _reader(dtype: DType, seconds: bool) -> Callable[[Any], Any]:
    if dtype.element is not None:
        return partial(_read_list, _reader(dtype.element, seconds))
    if dtype.scale is not None:
        return partial(_read_decimal, dtype.scale)
    if dtype is DType.TIMESTAMP and seconds:
        return _read_time_or_seconds
    return _READERS[dtype]


def _read_list(of_element: Callable[[Any], Any], values: Any) -> list[Any]:
    if not isinstance(values, list):
        _refuse()
    return _each(of_element, values)


def _read_int(value: Any) -> int:
    if isinstance(value, float) and value.is_integer() or isinstance(value, str) and _WHOLE.fullmatch(value):
        value = int(value)
    if type(value) is not int:
        _refuse()
    if value not in _INT64:
        _refuse("it does not fit in 64 bits")
    return value


def _read_float(value: Any) -> float:
    if isinstance(value, str) and value in _NOT_FINITE:
        return _NOT_FINITE[value]
    if type(value) not in (int, float):
        _refuse()
    if float(value) != value:
        _refuse("a float cannot hold it exactly")
    return float(value)


def _read_bool(value: Any) -> bool:
    if type(value) not in (bool, int) or value not in (0, 1):
        _refuse()
    return bool(value)


def _read_text(value: Any) -> str:
    if type(value) is int:
        return str(value)
    return value if isinstance(value, str) else _refuse()


def _read_json(value: Any) -> str:
    return value if isinstance(value, str) else _refuse("write it as text that holds JSON")


def _read_time_or_seconds(value: Any) -> datetime:
    if type(value) is int:
        try:
            return datetime_of(value * _SECOND)
        except OverflowError:
            _refuse("it is not on the calendar (years 1 to 9999)")
    return read_time(value)


def _read_date(value: Any) -> date:
    if not isinstance(value, str):
        _refuse("write dates as ISO 8601, such as 2013-01-01")
    try:
        return date.fromisoformat(value)
    except ValueError:
        _refuse("write dates as ISO 8601, such as 2013-01-01")


def _read_decimal(scale: int, value: Any) -> Decimal:
    if type(value) not in (int, float, str):
        _refuse()
    exact = Decimal(str(value))
    if not exact.is_finite():
        _refuse()
    digits = exact.quantize(Decimal((0, (1,), -scale)))
    if digits != exact:
        _refuse(f"it has more than {scale} digits after the point")
    if int(digits.scaleb(scale)) not in _INT64:
        _refuse("it does not fit in 64 bits")
    return digits


_READERS: dict[DType, Callable[[Any], Any]] = {
    DType.INT64: _read_int,
    DType.FLOAT64: _read_float,
    DType.BOOL: _read_bool,
    DType.STRING: _read_text,
    DType.TIMESTAMP: read_time,
    DType.DATE: _read_date,
    DType.JSON: _read_json,
}


def _refuse(why: str = "") -> NoReturn:
    raise ValueError(why)


def _said(value: object, dtype: DType, error: Exception) -> str:
    shown = repr(value)
    shown = shown if len(shown) <= 60 else f"{shown[:60]}…"
    why = str(error) if type(error) is ValueError and str(error) else ""
    return f"{shown} is no {dtype}" + (f": {why}" if why else "")
