"""Values as JSON has them, and back, equal to the bit.

A feature's values are written by its type:

| type | in JSON |
|---|---|
| `int64` | a number; as text beyond ±(2^53 - 1), which JavaScript's numbers cannot hold |
| `float64` | a number; `"NaN"`, `"Infinity"`, `"-Infinity"` as text, and `"NaN:"` with the bits in hex for other NaNs |
| `bool` | `true` and `false` |
| `string`, `json` | text |
| `timestamp` | text in ISO 8601, in UTC |
| `date` | text in ISO 8601 |
| decimals | text with all digits |
| lists | arrays of these |

A value of a request has no known type before the server looks it up. If JSON has no such value, it is written with its
type: `{"timestamp": "2026-01-01T00:00:00+00:00"}`.
"""

from __future__ import annotations

import math
import struct
from base64 import b64decode, b64encode
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from functools import cache, partial
from typing import Any

import numpy as np

from headrace.errors import LookupRequestError
from headrace.events.columns import Array, Values, decimal_of
from headrace.plan import DType
from headrace.times import as_stored, date_of, iso_time

__all__ = [
    "EXACT",
    "computed_values",
    "from_json",
    "from_json_of",
    "natural_type",
    "plain_type",
    "shortened",
    "to_json",
    "to_json_of",
    "typed_from_json",
    "typed_to_json",
]

EXACT = 2**53 - 1
"""The greatest whole number up to which JavaScript's numbers are exact."""

_NAN_BITS = struct.pack(">d", math.nan).hex()

One = Callable[[Any], Any]


def natural_type(data: Array) -> DType | None:
    """The type whose values an array's are in JSON as they are; None if some must be converted.

    Args:
        data: Computed values (see `Values`), also undefined ones.
    """
    if data.dtype.kind == "f":
        return DType.FLOAT64 if np.isfinite(data).all() else None
    return DType.INT64 if data.dtype.kind == "i" and _is_exact(data) else None


def to_json(dtype: DType, values: list[Any]) -> list[Any]:
    """A column of computed values (see `Values`) for JSON.

    Args:
        dtype: The type.
        values: The values, None where null.
    """
    one = to_json_of(dtype)
    return values if one is None else [None if value is None else one(value) for value in values]


def from_json(dtype: DType, values: list[Any]) -> list[Any]:
    """A column of JSON as Python values, None where null."""
    natural = _NATURAL.get(dtype)
    if natural is not None and natural.issuperset(map(type, values)):
        return values
    one = from_json_of(dtype)
    return values if one is None else [None if value is None else one(value) for value in values]


@cache
def to_json_of(dtype: DType) -> One | None:
    """What makes JSON of one computed value; None if it stays as it is."""
    if dtype.scale is not None:
        return partial(_decimal_text, dtype.scale)
    return _each(_TO_JSON[dtype.element]) if dtype.element is not None else _TO_JSON[dtype]


@cache
def from_json_of(dtype: DType) -> One | None:
    """What makes a Python value of one JSON value; None if it stays as it is."""
    if dtype.scale is not None:
        return Decimal
    return _each(_FROM_JSON[dtype.element]) if dtype.element is not None else _FROM_JSON[dtype]


def computed_values(dtype: DType, values: list[Any]) -> Values:
    """Python values as aggregates compute them: times in µs, dates in days, decimals in units of their last digit.

    Args:
        dtype: Their type.
        values: The values, None where null.
    """
    valid = np.array([value is not None for value in values], np.bool_)
    if dtype.element is not None or dtype in (DType.STRING, DType.JSON):
        data = np.empty(len(values), object)
        for row, value in enumerate(values):
            data[row] = list(map(as_stored, value)) if isinstance(value, list) else value
        return Values(data, valid)
    kind = np.float64 if dtype is DType.FLOAT64 else np.int64
    scale = dtype.scale
    stored = as_stored if scale is None else partial(_units, scale)
    return Values(np.array([0 if value is None else stored(value) for value in values], kind), valid)


def plain_type(values: list[Any]) -> DType | None:
    """The type by which a request's column can be written like a feature's; None if its values must be written with it.

    A column of nulls is a column of texts.
    """
    kinds = set(map(type, values)) - {type(None)}
    if not kinds:
        return DType.STRING
    dtype = _PLAIN.get(kinds.pop())
    if kinds or dtype is None:
        return None
    if dtype is DType.INT64:
        return dtype if all(value is None or -(2**63) <= value < 2**63 for value in values) else None
    if dtype is DType.TIMESTAMP:
        return dtype if all(value is None or value.tzinfo is UTC for value in values) else None
    return dtype


def typed_to_json(name: str, value: Any) -> Any:
    """A value of a request for JSON, with its type where JSON has no such value.

    Args:
        name: The column, for the error.
        value: The value.

    Raises:
        LookupRequestError: No type has such values.
    """
    if value is None or type(value) in (bool, str):
        return value
    if isinstance(value, str):
        return str.__str__(value)  # not str(value): for an enum of texts that is its name
    if type(value) is int:
        return value if -EXACT <= value <= EXACT else {"int64": str(value)}
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else {"float64": _float_text(value)}
    if isinstance(value, datetime):
        return {"timestamp": value.isoformat()}
    if isinstance(value, date):
        return {"date": value.isoformat()}
    if isinstance(value, Decimal):
        return {"decimal": str(value)}
    if isinstance(value, bytes):
        return {"bytes": b64encode(value).decode()}
    if isinstance(value, list | tuple):
        return [typed_to_json(name, one) for one in value]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {"object": {key: typed_to_json(name, one) for key, one in value.items()}}
    msg = f"entity_rows has {name}={value!r}, a {type(value).__name__}, which cannot be sent."
    raise LookupRequestError(msg, hint="Send numbers, texts, booleans, times, dates, decimals, bytes or lists of them.")


def typed_from_json(name: str, value: Any) -> Any:
    """The Python value that `typed_to_json` wrote.

    Args:
        name: The column, for the error.
        value: The JSON.

    Raises:
        LookupRequestError: An object names no type, or has a value of another type.
    """
    if isinstance(value, list):
        return [typed_from_json(name, one) for one in value]
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items())) if len(value) == 1 else ("", None)
    if kind == "object" and isinstance(content, dict):
        return {key: typed_from_json(name, one) for key, one in content.items()}
    read = _TYPED.get(kind)
    if read is None or not isinstance(content, str):
        msg = f"The request has {name}={shortened(value)}, which is no value."
        raise LookupRequestError(msg, hint='Write plain values, or one type and its text: {"timestamp": "2026-…Z"}.')
    try:
        return read(content)
    except (ValueError, InvalidOperation) as error:
        msg = f"The request has {name}={shortened(value)}, which is no value of the type {kind}."
        raise LookupRequestError(msg) from error


def shortened(value: Any) -> str:
    """A value for a message, cut where it is long."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _is_exact(data: Array) -> bool:
    return not data.size or (int(data.max()) <= EXACT and int(data.min()) >= -EXACT)


def _whole(value: int) -> int | str:
    return value if -EXACT <= value <= EXACT else str(value)


def _number(value: float) -> float | str:
    return float(value) if math.isfinite(value) else _float_text(value)


def _float_text(value: float) -> str:
    if math.isinf(value):
        return "Infinity" if value > 0 else "-Infinity"
    bits = struct.pack(">d", value).hex()
    return "NaN" if bits == _NAN_BITS else f"NaN:{bits}"


def _float(value: float | str) -> float:
    if isinstance(value, str) and value.startswith("NaN:"):
        found: float = struct.unpack(">d", bytes.fromhex(value[4:]))[0]
        return found
    return float(value)


def _decimal_text(scale: int, units: int) -> str:
    return format(decimal_of(units, scale), "f")


def _units(scale: int, value: Decimal) -> int:
    sign, digits, exponent = value.as_tuple()
    units: int = int("".join(map(str, digits))) * 10 ** (int(exponent) + scale)
    return -units if sign else units


def _day_text(days: int) -> str:
    return date_of(days).isoformat()


def _each(one: One | None) -> One | None:
    """The same for each element of a list."""
    return None if one is None else lambda values: [None if value is None else one(value) for value in values]


_TO_JSON: dict[DType, One | None] = {
    DType.INT64: _whole,
    DType.FLOAT64: _number,
    DType.BOOL: bool,
    DType.STRING: None,
    DType.JSON: None,
    DType.TIMESTAMP: iso_time,
    DType.DATE: _day_text,
}

_FROM_JSON: dict[DType, One | None] = {
    DType.INT64: int,
    DType.FLOAT64: _float,
    DType.BOOL: None,
    DType.STRING: None,
    DType.JSON: None,
    DType.TIMESTAMP: datetime.fromisoformat,
    DType.DATE: date.fromisoformat,
}

_NATURAL = {
    DType.INT64: frozenset({int, type(None)}),
    DType.FLOAT64: frozenset({float, type(None)}),
}
"""The Python types of JSON values that need no conversion."""

_PLAIN = {
    int: DType.INT64,
    float: DType.FLOAT64,
    bool: DType.BOOL,
    str: DType.STRING,
    datetime: DType.TIMESTAMP,
    date: DType.DATE,
}

_TYPED: dict[str, One] = {
    "int64": int,
    "float64": _float,
    "timestamp": datetime.fromisoformat,
    "date": date.fromisoformat,
    "decimal": Decimal,
    "bytes": partial(b64decode, validate=True),
}
