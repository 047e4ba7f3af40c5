"""From validated rows to columns.

A model can accept what no column can keep: naive times, integers beyond 64 bits and the like.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from operator import itemgetter
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel

from headrace.events.column_kinds import kind_of
from headrace.events.columns import IntArray
from headrace.events.event_batch import ARROW_TYPES, column_values
from headrace.plan import DType, Source
from headrace.times import us_of

__all__ = ["FIRST_US", "LAST_US", "RowColumns", "shown"]

FIRST_US = us_of(datetime(1, 1, 1, tzinfo=UTC))
LAST_US = us_of(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
"""The first and the last moment of the calendar.

0001-01-01T00:00+14:00 is before it in UTC, and could not be shown again.
"""

_CANNOT: dict[DType, str] = {
    DType.INT64: "is no integer of 64 bits",
    DType.FLOAT64: "is no float",
    DType.BOOL: "is no bool",
    DType.STRING: "is no text in UTF-8",
    DType.TIMESTAMP: "is no time on the calendar in UTC",
    DType.DATE: "is no date",
    DType.JSON: "is no text in UTF-8",
} | {dtype: "is no decimal of 64 bits" for dtype in DType if dtype.scale is not None}

_WIDE = Context(prec=60)

Row = Mapping[str, Any]
"""The fields of a validated event."""


class RowColumns:
    """Makes columns of the validated rows of one source.

    Args:
        source: The source.
        model: Its pydantic model.
    """

    def __init__(self, source: Source, model: type[BaseModel]) -> None:
        self._columns = source.columns
        kinds = {name: kind_of(info) for name, info in model.model_fields.items()}
        self._cell_of = {name: kind.cell for name, kind in kinds.items() if kind.cell is not None}

    def table(self, rows: Sequence[Row]) -> pa.Table:
        """The columns of rows that fit them.

        Args:
            rows: The rows.
        """
        return pa.table(
            {
                column.name: pa.array(self._cells(column.name, rows), type=ARROW_TYPES[column.dtype])
                for column in self._columns
            }
        )

    def fitting(self, rows: Sequence[Row]) -> tuple[pa.Table, dict[int, tuple[str, str]]]:
        """The columns of the rows that fit them.

        Args:
            rows: The rows.

        Returns:
            The columns, and for each row that does not fit: why, and which column.
        """
        table = self._table_or_none(rows)
        if table is not None:
            return table, {}
        whys = {at: self._misfit(row) for at, row in enumerate(rows)}
        misfits = {at: why for at, why in whys.items() if why is not None}
        return self.table([row for at, row in enumerate(rows) if at not in misfits]), misfits

    def _table_or_none(self, rows: Sequence[Row]) -> pa.Table | None:
        """The columns; None where a row does not fit them."""
        try:
            table = self.table(rows)
        except Exception:  # noqa: BLE001 a user's validator can return anything; `_misfit` says what is wrong
            return None
        for column in self._columns:
            values = table.column(column.name)
            if values.null_count and not column.nullable:
                return None
            if column.dtype.scale is not None and not _in_64_bits(values):
                return None
            if column.dtype is DType.TIMESTAMP and not _are_times(column.name, values, rows):
                return None
        return table

    def _misfit(self, row: Row) -> tuple[str, str] | None:
        """Why a row does not fit, and which column; None where it fits."""
        for column in self._columns:
            value = row.get(column.name)
            if value is None:
                if column.name in row and column.nullable:
                    continue
                return "The model's validation left no value, and the field is not optional", column.name
            try:
                value = self._cell(column.name, value)
            except Exception as error:  # noqa: BLE001 a value can be of any class
                return f"{shown(value)} cannot be kept: {type(error).__name__}: {error}", column.name
            if column.dtype is DType.TIMESTAMP and getattr(value, "tzinfo", None) is None:
                return f"{shown(value)} has no time zone; send UTC, such as {shown(value)}Z", column.name
            if not _fits(value, column.dtype):
                return f"{shown(value)} {_CANNOT[column.dtype]}", column.name
        return None

    def _cells(self, name: str, rows: Sequence[Row]) -> list[Any]:
        """A field's values as its column has them."""
        values = list(map(itemgetter(name), rows))
        return [self._cell(name, value) for value in values] if name in self._cell_of else values

    def _cell(self, name: str, value: Any) -> Any:
        cell = self._cell_of.get(name)
        return value if cell is None or value is None else cell(value)


def shown(value: object) -> str:
    """A value for a message, cut where it is long."""
    try:
        text = value.isoformat() if isinstance(value, datetime) else repr(value)
    except Exception:  # noqa: BLE001 Python refuses ints of more than 4,300 digits; an author's class can do anything
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]}…"


def _are_times(name: str, values: pa.ChunkedArray, rows: Sequence[Row]) -> bool:
    """Whether all times have a zone (Arrow takes a naive one for UTC) and are on the calendar in UTC too."""
    us, valid = column_values(values)
    if not _on_calendar(us[valid]):
        return False
    return all((value := row[name]) is None or getattr(value, "tzinfo", None) is not None for row in rows)


def _fits(value: object, dtype: DType) -> bool:
    try:
        column = pa.chunked_array([pa.array([value], type=ARROW_TYPES[dtype])])
    except Exception:  # noqa: BLE001 Arrow raises many kinds
        return False
    if dtype.scale is not None:
        return _in_64_bits(column)
    return dtype is not DType.TIMESTAMP or _on_calendar(column_values(column).data)


def _in_64_bits(decimals: pa.ChunkedArray) -> bool:
    """Whether decimals fit 64 bits, in units of their last digit."""
    extremes = pc.min_max(decimals)
    found = [Decimal(0) if one is None else one for one in (extremes["min"].as_py(), extremes["max"].as_py())]
    units = [int(one.scaleb(decimals.type.scale, _WIDE)) for one in found]
    return units[0] >= -(2**63) and units[1] < 2**63


def _on_calendar(us: IntArray) -> bool:
    return not len(us) or (us.min() >= FIRST_US and us.max() <= LAST_US)
