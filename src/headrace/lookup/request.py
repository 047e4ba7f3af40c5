"""Reading the rows of a lookup's request: from rows, columns or data frames to entity keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any, overload

import numpy as np

from headrace.errors import LookupRequestError
from headrace.plan import BatchView, Column, DType, View
from headrace.records.entity_keys import entity_keys
from headrace.times import as_stored, us_of

__all__ = ["AskedRows", "EntityRows", "asked_rows", "entity_columns", "time_us"]

AskedRows = Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]
"""One mapping per row, a mapping of columns, or a frame of pandas, polars or Arrow."""

_TYPES: dict[DType, type] = {
    DType.INT64: int,
    DType.STRING: str,
    DType.BOOL: bool,
    DType.TIMESTAMP: datetime,
    DType.DATE: date,
}

_HELD_AS_GIVEN = {dtype: {_TYPES[dtype]} for dtype in (DType.INT64, DType.STRING, DType.BOOL)}
"""Types whose values keys hold as they are given; of times they hold µs, of dates days."""

_SHAPES = 'Write a list of rows, [{"origin": "EWR"}], a mapping of columns, {"origin": ["EWR"]}, or a data frame.'

_OWN = frozenset({int, str, bool, float, type(None), datetime, date, bytes})
"""Python's own types, which `_plain` returns unchanged."""


class EntityRows(Sequence[dict[str, Any]]):
    """The rows of a request: mappings of names to values, made only when one is read.

    Args:
        columns: The values by name, one per row, if every row has the same names.
        rows: The rows, if they do not.
    """

    def __init__(
        self, columns: dict[str, list[Any]] | None = None, rows: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        self.has_same_names = columns is not None
        """Whether every row has the same names."""
        self._columns = columns
        self._rows = None if rows is None else [dict(row) for row in rows]
        self._length = len(self._rows) if self._rows is not None else len(next(iter((columns or {}).values()), ()))

    @property
    def columns(self) -> dict[str, list[Any]]:
        """The values of each name, one per row; None where a row lacks it. Do not change the lists."""
        if self._columns is None:
            rows = self._made()
            names = dict.fromkeys(name for row in rows for name in row)
            self._columns = {name: [row.get(name) for row in rows] for name in names}
        return self._columns

    def lacking(self, name: str) -> int | None:
        """The first row that has no value of a name, not even None; None if every row has one."""
        if self.has_same_names:
            return None if name in self.columns or not self._length else 0
        return next((number for number, row in enumerate(self._made()) if name not in row), None)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> dict[str, Any]: ...

    @overload
    def __getitem__(self, place: slice) -> list[dict[str, Any]]: ...

    def __getitem__(self, place: int | slice) -> dict[str, Any] | list[dict[str, Any]]:
        return self._made()[place]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self._made() == list(other)

    __hash__ = None  # type: ignore[assignment]  # like a list

    def __repr__(self) -> str:
        return repr(self._made())

    def _made(self) -> list[dict[str, Any]]:
        if self._rows is None:
            columns = self._columns or {}
            self._rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
        return self._rows


def time_us(at: datetime) -> int:
    """A time in µs UTC.

    Raises:
        LookupRequestError: It has no time zone.
    """
    if at.tzinfo is None:
        msg = f"at={at.isoformat()} has no time zone."
        raise LookupRequestError(msg, hint="Give one: at.replace(tzinfo=datetime.UTC).")
    return us_of(at)


def entity_columns(
    entity_rows: AskedRows, views: Iterable[View | BatchView]
) -> tuple[EntityRows, dict[str, list[bytes]]]:
    """The rows of a request, and each view's entity keys for them.

    Args:
        entity_rows: One mapping per row, a mapping of columns, or a frame of pandas, polars or Arrow.
        views: The views asked for.

    Returns:
        The rows, and by view's name the entity key of each row.

    Raises:
        LookupRequestError: A row leaves out a join key, or gives one that is null or of a wrong type; columns differ in
            length; `entity_rows` has another shape.
    """
    rows = asked_rows(entity_rows)
    return rows, {view.name: _keys(view, rows) for view in views}


def asked_rows(entity_rows: AskedRows) -> EntityRows:
    """The rows of a request.

    Args:
        entity_rows: One mapping per row, a mapping of columns, or a frame of pandas, polars or Arrow.

    Raises:
        LookupRequestError: `entity_rows` has another shape, or its columns differ in length.
    """
    if not isinstance(entity_rows, Mapping):
        columns_of_rows = _same_names(entity_rows)
        if columns_of_rows is not None:
            return EntityRows(columns_of_rows)
        columns = _frame_columns(entity_rows)
        if columns is not None:
            return asked_rows(columns)
        try:
            rows = [{name: _plain(value) for name, value in dict(row).items()} for row in entity_rows]
        except (TypeError, ValueError) as error:
            msg = "entity_rows has a row that is no mapping of join keys to values."
            raise LookupRequestError(msg, hint=_SHAPES) from error
        return EntityRows(rows=rows)
    lengths = {name: _length(name, column) for name, column in entity_rows.items()}
    if len(set(lengths.values())) > 1:
        msg = f"The columns of entity_rows differ in length: {lengths}."
        raise LookupRequestError(msg, hint="Give each join key one value per row.")
    if not any(lengths.values()):
        return EntityRows({})
    return EntityRows({name: _plain_column(column) for name, column in entity_rows.items()})


def _frame_columns(frame: Any) -> dict[str, Any] | None:
    """The columns of a frame of pandas, polars or Arrow; None if it is no frame."""
    if hasattr(frame, "iloc"):
        return {str(name): _pandas_values(frame[name]) for name in frame.columns}
    if not hasattr(frame, "__arrow_c_stream__") and not hasattr(frame, "__arrow_c_array__"):
        return None
    import pyarrow as pa

    table = pa.table(frame)
    return dict(zip(table.column_names, map(pa.ChunkedArray.to_pylist, table.columns), strict=True))


def _pandas_values(column: Any) -> list[Any]:
    """The values of a column of pandas; None where one is missing, as pandas' NaN and NaT mean it."""
    values: list[Any] = column.tolist()
    return (
        [None if is_na else value for value, is_na in zip(values, column.isna(), strict=True)]
        if column.hasnans
        else values
    )


def _same_names(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]] | None:
    """The columns of rows that are dicts with the same names and Python's own values; None of other rows."""
    if type(rows) is list and len(rows) == 1 and type(rows[0]) is dict and _OWN.issuperset(map(type, rows[0].values())):
        return {name: [value] for name, value in rows[0].items()} or None
    if type(rows) not in (list, tuple) or set(map(type, rows)) != {dict} or len(set(map(len, rows))) != 1:
        return None
    try:
        columns = {name: [row[name] for row in rows] for name in rows[0]}
    except KeyError:
        return None
    return columns if columns and all(_OWN.issuperset(map(type, column)) for column in columns.values()) else None


def _plain_column(column: Any) -> list[Any]:
    if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype.kind in "biufU":
        values: list[Any] = column.tolist()  # the same values as `item` of each
        return values
    values = column.to_pylist() if hasattr(column, "to_pylist") else list(column)
    return values if _OWN.issuperset(map(type, values)) else [_plain(value) for value in values]


def _length(name: str, column: Any) -> int:
    # A text is a sequence of letters: {"origin": "EWR"} would ask for E, W and R.
    if isinstance(column, str | bytes | Mapping) or not hasattr(column, "__len__"):
        msg = f"entity_rows has {name}={column!r}, one value where a column of values is needed."
        raise LookupRequestError(msg, hint=_SHAPES)
    return len(column)


def _plain(value: Any) -> Any:
    """A scalar of numpy (or of a library like it) as a Python value; any other value unchanged."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def _keys(view: View | BatchView, rows: EntityRows) -> list[bytes]:
    columns: list[Sequence[Any]] = []
    for entity in view.entities:
        column = rows.columns.get(entity.name)
        if column is None or set(map(type, column)) != _HELD_AS_GIVEN.get(entity.dtype):
            return entity_keys(_checked_columns(view, rows))
        columns.append(column)
    return entity_keys(columns)


def _checked_columns(view: View | BatchView, rows: EntityRows) -> list[tuple[object, ...]]:
    """The join keys' columns as keys hold them, each value checked."""
    checked = [[_checked(view, entity, row, number) for entity in view.entities] for number, row in enumerate(rows)]
    return list(zip(*checked, strict=True))


def _checked(view: View | BatchView, entity: Column, row: Mapping[str, Any], number: int) -> object:
    """The value of a join key as entity keys have it: times in µs, dates in days."""
    value = row.get(entity.name)
    if value is None:
        msg = f"Row {number} of entity_rows has no {entity.name!r}, which the view {view.name!r} is keyed by."
        raise LookupRequestError(msg, hint=f"Give every row: {', '.join(view.join_keys)}.")
    wanted = _TYPES[entity.dtype]
    is_kind = isinstance(value, wanted) and wanted is not int and not (wanted is date and isinstance(value, datetime))
    if type(value) is not wanted and not is_kind:
        found = f"Row {number} of entity_rows has {entity.name}={value!r}"
        msg = f"{found}; the view {view.name!r} is keyed by {entity.dtype} values."
        raise LookupRequestError(msg, hint=f"Pass {entity.name} as a Python {wanted.__name__}.")
    if isinstance(value, datetime) and value.tzinfo is None:
        msg = f"Row {number} of entity_rows has {entity.name}={value.isoformat()}, which has no time zone."
        raise LookupRequestError(msg, hint="Give one: value.replace(tzinfo=datetime.UTC).")
    return as_stored(value)  # not str(value): for an enum of texts that is its name
