"""Reading a lookup's request: rows of join keys, and a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from headrace.errors import LookupRequestError
from headrace.online.codec import entity_key
from headrace.plan import Column, DType, View
from headrace.times import us_of

__all__ = ["entity_columns", "time_us"]

_TYPES: dict[DType, type] = {DType.INT64: int, DType.STRING: str, DType.BOOL: bool, DType.TIMESTAMP: datetime}

_SHAPES = 'Write a list of rows, [{"origin": "EWR"}], or a mapping of columns, {"origin": ["EWR"]}.'


def time_us(at: datetime) -> int:
    """A time in µs UTC.

    Raises:
        LookupRequestError: It has no time zone.
    """
    if at.tzinfo is None:
        msg = f"at={at.isoformat()} has no time zone."
        raise LookupRequestError(msg, cure="Give one: at.replace(tzinfo=datetime.UTC).")
    return us_of(at)


def entity_columns(
    entity_rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]], views: Sequence[View]
) -> tuple[list[dict[str, Any]], dict[str, list[bytes]]]:
    """The rows of a request, and each view's entity keys for them.

    Args:
        entity_rows: One mapping per row, or a mapping of columns.
        views: The views asked for.

    Returns:
        The rows, and by view's name the entity key of each row.

    Raises:
        LookupRequestError: A row leaves out a join key, or gives one that is null or of a wrong type; columns differ in
            length; something is neither.
    """
    rows = _rows(entity_rows)
    return rows, {view.name: [_key(view, row, number) for number, row in enumerate(rows)] for view in views}


def _rows(entity_rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    if not isinstance(entity_rows, Mapping):
        try:
            return [{name: _plain(value) for name, value in dict(row).items()} for row in entity_rows]
        except (TypeError, ValueError) as error:
            msg = "entity_rows holds a row that is no mapping of join keys to values."
            raise LookupRequestError(msg, cure=_SHAPES) from error
    lengths = {name: _length(name, column) for name, column in entity_rows.items()}
    if len(set(lengths.values())) > 1:
        msg = f"The columns of entity_rows differ in length: {lengths}."
        raise LookupRequestError(msg, cure="Give each join key one value per row.")
    names = list(entity_rows)
    columns = ([_plain(value) for value in column] for column in entity_rows.values())
    return [dict(zip(names, values, strict=True)) for values in zip(*columns, strict=True)]


def _length(name: str, column: Any) -> int:
    # A text is a sequence too, of letters: {"origin": "EWR"} would ask for E, W and R.
    if isinstance(column, str | bytes | Mapping) or not hasattr(column, "__len__"):
        msg = f"entity_rows has {name}={column!r}, one value where a column of values stands."
        raise LookupRequestError(msg, cure=_SHAPES)
    return len(column)


def _plain(value: Any) -> Any:
    """The value as Python's own, where it is a scalar of numpy's (or of another library that follows it)."""
    return value.item() if hasattr(value, "item") and getattr(value, "ndim", 1) == 0 else value


def _key(view: View, row: Mapping[str, Any], number: int) -> bytes:
    return entity_key([_checked(view, entity, row, number) for entity in view.entities])


def _checked(view: View, entity: Column, row: Mapping[str, Any], number: int) -> object:
    """The value of a join key as records have it: times in µs."""
    value = row.get(entity.name)
    if value is None:
        msg = f"Row {number} of entity_rows has no {entity.name!r}, which the view {view.name!r} is keyed by."
        raise LookupRequestError(msg, cure=f"Give every row: {', '.join(view.join_keys)}.")
    wanted = _TYPES[entity.dtype]
    if type(value) is not wanted and not (isinstance(value, wanted) and wanted is not int):
        found = f"Row {number} of entity_rows has {entity.name}={value!r}"
        msg = f"{found}; the view {view.name!r} is keyed by {entity.dtype} values."
        raise LookupRequestError(msg, cure=f"Pass {entity.name} as a Python {wanted.__name__}.")
    if isinstance(value, datetime):
        if value.tzinfo is None:
            msg = f"Row {number} of entity_rows has {entity.name}={value.isoformat()}, which has no time zone."
            raise LookupRequestError(msg, cure="Give one: value.replace(tzinfo=datetime.UTC).")
        return us_of(value)
    return value  # not str(value): of an Enum that is a str, that is the name
