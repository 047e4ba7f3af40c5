"""From a source's columns to the values that rows keep: SQL expressions that are exact, or fail.

Times become µs and dates days, as rows keep them (`headrace.rows.encoding`). A number that the declared type cannot
hold fails: it is never rounded.
"""

from __future__ import annotations

from typing import Any

from headrace.plan import DType

__all__ = ["cast_sql", "time_sql"]

_WHOLE = frozenset(f"{sign}{size}int" for sign in ("", "u") for size in ("tiny", "small", "big", "huge")) | {
    "integer",
    "uinteger",
}
_REAL = frozenset({"float", "double"})
_TEXT = frozenset({"varchar", "enum", "uuid"})
_TIMES = frozenset({"timestamp", "timestamp_s", "timestamp_ms", "date"})
_NANOSECONDS = frozenset({"timestamp_ns", "timestamptz_ns"})
_NESTED = frozenset({"struct", "map", "list", "array", "json"})


def time_sql(column: str, found: Any) -> str | None:
    """A time as µs; None where the column has no times. A time without a zone is UTC, and a date is its midnight."""
    kind = str(found.id)
    if kind in _NANOSECONDS:  # a cast would round; below a microsecond a time is rounded down, as in spines
        ns = f"epoch_ns({column})"
        return f"(({ns} - (({ns} % 1000) + 1000) % 1000) // 1000)"
    if kind == "timestamp with time zone":
        return f"epoch_us({column})"
    return f"epoch_us(CAST({column} AS TIMESTAMP))" if kind in _TIMES else None


def cast_sql(column: str, found: Any, wanted: DType) -> str | None:
    """An expression that gives a column's values as rows keep them; None where the types do not go together.

    Args:
        column: The column, as SQL.
        found: Its type in DuckDB.
        wanted: The declared type.
    """
    kind = str(found.id)
    if wanted.element is not None:
        if kind not in ("list", "array"):
            return None
        inner = cast_sql("one", dict(found.children)["child"], wanted.element)
        is_array = kind == "array"
        whole = f"CAST({column} AS {dict(found.children)['child']}[])" if is_array else column
        return None if inner is None else f"list_transform({whole}, lambda one: {inner})"
    if wanted is DType.INT64:
        return _whole_sql(column, kind)
    if wanted is DType.FLOAT64:
        return f"CAST({column} AS DOUBLE)" if kind in _WHOLE | _REAL | {"decimal"} else None
    if wanted is DType.BOOL:
        return column if kind == "boolean" else None
    if wanted is DType.STRING:
        return f"CAST({column} AS VARCHAR)" if kind in _TEXT | {"date"} else None
    if wanted is DType.JSON:
        if kind in _NESTED:
            return f"CAST(to_json({column}) AS VARCHAR)"
        return f"CAST({column} AS VARCHAR)" if kind in _TEXT else None
    if wanted is DType.TIMESTAMP:
        return time_sql(column, found)
    if wanted is DType.DATE:
        return f"CAST(date_diff('day', DATE '1970-01-01', {column}) AS BIGINT)" if kind == "date" else None
    return None


def _whole_sql(column: str, kind: str) -> str | None:
    if kind in _WHOLE:
        return f"CAST({column} AS BIGINT)"
    if kind in _REAL | {"decimal"}:  # pandas makes floats of integers with nulls
        wrong = f"error('the value ' || CAST({column} AS VARCHAR) || ' is not a whole number')"
        is_whole = f"{column} = trunc({column})" + (f" AND isfinite({column})" if kind in _REAL else "")
        return f"CASE WHEN {column} IS NULL THEN NULL WHEN {is_whole} THEN CAST({column} AS BIGINT) ELSE {wrong} END"
    return None
