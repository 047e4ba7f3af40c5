"""Whether an Arrow column that a user gives holds values of a type of the plan."""

from __future__ import annotations

import pyarrow as pa

from headrace.plan import DType

__all__ = ["holds_values_of", "plain_column"]


def plain_column(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """The values of a column without dictionary (pandas' and polars' categories) or extension type."""
    while pa.types.is_dictionary(column.type) or isinstance(column.type, pa.BaseExtensionType):
        inner = column.type.value_type if pa.types.is_dictionary(column.type) else column.type.storage_type
        column = column.cast(inner)
    return column


def holds_values_of(found: pa.DataType, wanted: DType) -> bool:
    """Whether values of an Arrow type mean the same as those of a type of the plan."""
    if wanted.element is not None:
        is_list = pa.types.is_list(found) or pa.types.is_large_list(found)
        inner_fits = is_list and (
            pa.types.is_null(found.value_type) or holds_values_of(found.value_type, wanted.element)
        )
        return bool(inner_fits)
    if wanted.scale is not None:
        return bool(pa.types.is_decimal(found))
    if wanted is DType.INT64:
        return bool(pa.types.is_integer(found))
    if wanted is DType.FLOAT64:
        return bool(pa.types.is_floating(found) or pa.types.is_integer(found))
    if wanted is DType.BOOL:
        return bool(pa.types.is_boolean(found))
    is_text = pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found)
    if wanted in (DType.STRING, DType.JSON):
        return bool(is_text)
    if wanted is DType.DATE:  # pandas has no dates: it uses midnights
        return bool(is_text or pa.types.is_date(found) or (pa.types.is_timestamp(found) and found.tz is None))
    return bool(pa.types.is_timestamp(found) and found.tz is not None)
