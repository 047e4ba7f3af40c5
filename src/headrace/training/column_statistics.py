"""Statistics of a table's columns, for a manifest: what a reader checks before training on it."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["column_statistics"]


def column_statistics(table: pa.Table) -> dict[str, dict[str, Any]]:
    """Per column its type and nulls, and least, greatest and mean where they mean something.

    Args:
        table: The table.

    Returns:
        JSON-ready: times are ISO 8601; infinities and NaN are text.
    """
    return {name: _of(table.column(name)) for name in table.column_names}


def _of(column: pa.ChunkedArray) -> dict[str, Any]:
    kind = column.type
    found: dict[str, Any] = {"type": str(kind), "nulls": column.null_count}
    if pa.types.is_string(kind):
        found["distinct"] = pc.count_distinct(column).as_py()
    elif pa.types.is_boolean(kind):
        found["true"] = pc.sum(column).as_py() or 0
    elif pa.types.is_duration(kind):
        extent = pc.min_max(column.cast(pa.int64())).as_py()
        found |= {name: None if ticks is None else f"{ticks} {kind.unit}" for name, ticks in extent.items()}
    elif pa.types.is_float16(kind):
        found |= {name: value for name, value in _of(column.cast(pa.float32())).items() if name != "type"}
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or _is_time(kind):
        extent = pc.min_max(column).as_py()
        found |= {"min": _plain(extent["min"]), "max": _plain(extent["max"])}
        if not _is_time(kind):
            found["mean"] = _plain(pc.mean(column).as_py())
    return found


def _is_time(kind: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_time(kind))


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value
