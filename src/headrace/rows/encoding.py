"""The values of a row as bytes, exact for every type of the plan.

    one bit per column: is it null   fixed columns, 8 bytes each   ends of the others, 4 bytes each   their bytes

A value is kept as keys and states keep it: times in µs, dates in days, decimals in units of their last digit. So a
float keeps its bits, and a decimal its digits. A list is its length, the bits of its nulls where it has any, and its
values.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from headrace.errors import RowsError
from headrace.plan import Column, DType

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["RowCodec"]

_TEXTS = frozenset({DType.STRING, DType.JSON})
_END = struct.Struct("<I")
_LIST = struct.Struct("<I?")


class RowCodec:
    """Encodes and decodes the values of one view's rows.

    Args:
        columns: The view's columns, in its order.
    """

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        self._mask_bytes = (len(columns) + 7) // 8
        self._fixed = [place for place, column in enumerate(columns) if _code(column.dtype) is not None]
        self._varying = [place for place in range(len(columns)) if place not in set(self._fixed)]
        codes = "".join(_code(columns[place].dtype) or "" for place in self._fixed)
        self._head = struct.Struct(f"<{self._mask_bytes}s{codes}{len(self._varying)}I")
        self._empty = tuple(_zero(columns[place].dtype) for place in self._fixed)
        order = [*self._fixed, *self._varying]
        self._places = [order.index(place) for place in range(len(columns))]
        self._no_nulls = bytes(self._mask_bytes)
        self._is_in_order = self._places == list(range(len(columns)))

    def encode(self, values: Sequence[Any]) -> bytes:
        """One row.

        Args:
            values: Per column its value, None for null: times in µs, dates in days, decimals in units of their last
                digit.

        Raises:
            RowsError: A value does not fit its column's type.
        """
        if len(values) != len(self.columns):
            msg = f"A row of {len(values)} values does not fit {len(self.columns)} columns."
            raise RowsError(msg)
        mask, ends, parts, end = 0, [], [], 0
        for place, value in enumerate(values):
            if value is None:
                mask |= 1 << place
        fixed = [values[place] for place in self._fixed]
        if mask:
            fixed = [zero if one is None else one for one, zero in zip(fixed, self._empty, strict=True)]
        try:
            for place in self._varying:
                value = values[place]
                if value is not None:
                    parts.append(_varying_bytes(value, self.columns[place].dtype))
                    end += len(parts[-1])
                ends.append(end)
            head = self._head.pack(mask.to_bytes(self._mask_bytes, "little"), *fixed, *ends)
        except (struct.error, TypeError, AttributeError, UnicodeEncodeError, OverflowError) as error:
            raise self._refused(values, error) from error
        return b"".join((head, *parts))

    def decode(self, data: bytes) -> list[Any]:
        """The values of a row, in the order and form that `encode` takes them.

        Raises:
            RowsError: The bytes are no row of these columns.
        """
        try:
            mask, *cells = self._head.unpack_from(data)
            start = self._head.size
            for at, place in enumerate(self._varying, len(self._fixed)):
                end = self._head.size + cells[at]
                cells[at] = _varying_value(data[start:end], self.columns[place].dtype)
                start = end
        except (struct.error, UnicodeDecodeError, IndexError) as error:
            msg = f"A stored row cannot be read as {', '.join(column.name for column in self.columns)}: {error}."
            raise RowsError(msg, hint="Run `headrace materialize`; it writes the rows again.") from error
        found = cells if self._is_in_order else [cells[at] for at in self._places]
        if mask != self._no_nulls:
            bits = int.from_bytes(mask, "little")
            found = [None if bits >> place & 1 else value for place, value in enumerate(found)]
        return found

    def encode_table(self, table: pa.Table) -> list[bytes]:
        """All rows of an Arrow table, whose columns have the types of `ARROW_TYPES`.

        Raises:
            RowsError: A value does not fit its column's type.
        """
        from headrace.rows.arrow_columns import stored_column  # late: a lookup decodes rows without Arrow

        lists = [stored_column(table.column(column.name), column) for column in self.columns]
        if not lists:
            return [self.encode(())] * int(table.num_rows)
        return [self.encode(values) for values in zip(*lists, strict=True)]

    def _refused(self, values: Sequence[Any], error: Exception) -> RowsError:
        for column, value in zip(self.columns, values, strict=False):
            if value is not None and not _fits(value, column.dtype):
                return RowsError(f"The value {value!r} does not fit the column {column.name!r}, {column.dtype.value}.")
        return RowsError(f"A row cannot be stored: {error}.")


def _code(dtype: DType) -> str | None:
    """The struct code of a type with a fixed size; None for the others."""
    if dtype in _TEXTS or dtype.element is not None:
        return None
    return "d" if dtype is DType.FLOAT64 else "?" if dtype is DType.BOOL else "q"


def _zero(dtype: DType) -> Any:
    return 0.0 if dtype is DType.FLOAT64 else False if dtype is DType.BOOL else 0


def _varying_bytes(value: Any, dtype: DType) -> bytes:
    element = dtype.element
    if element is None:
        return bytes(value.encode("utf-8"))
    count = len(value)
    mask = sum(1 << place for place, one in enumerate(value) if one is None)
    nulls = mask.to_bytes((count + 7) // 8, "little") if mask else b""
    head = _LIST.pack(count, bool(mask)) + nulls
    if element is DType.STRING:
        texts = [b"" if one is None else one.encode("utf-8") for one in value]
        return head + struct.pack(f"<{count}I", *map(len, texts)) + b"".join(texts)
    zero = _zero(element)
    return head + struct.pack(f"<{count}{_code(element)}", *(zero if one is None else one for one in value))


def _varying_value(data: bytes, dtype: DType) -> Any:
    element = dtype.element
    if element is None:
        return data.decode("utf-8")
    if not data:
        return None  # a null has no bytes, and an empty list has its length
    count, has_nulls = _LIST.unpack_from(data)
    start, mask = _LIST.size, 0
    if has_nulls:
        mask = int.from_bytes(data[start : start + (count + 7) // 8], "little")
        start += (count + 7) // 8
    found: list[Any]
    if element is DType.STRING:
        lengths = struct.unpack_from(f"<{count}I", data, start)
        start, found = start + 4 * count, []
        for length in lengths:
            found.append(data[start : start + length].decode("utf-8"))
            start += length
    else:
        found = list(struct.unpack_from(f"<{count}{_code(element)}", data, start))
    return [None if mask >> place & 1 else one for place, one in enumerate(found)] if mask else found


def _fits(value: Any, dtype: DType) -> bool:
    code = _code(dtype)
    try:
        if code is None:
            _varying_bytes(value, dtype)
        else:
            struct.pack(f"<{code}", value)
    except (struct.error, TypeError, AttributeError, UnicodeEncodeError, OverflowError):
        return False
    return True
