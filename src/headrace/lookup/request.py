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

_TYPES: dict[DType, type] = {DType.INT64: int, DType.STRING: str, DType.BOOL: bool}


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
        LookupRequestError: A row leaves out a join key, or gives one that is null or of a wrong type; columns differ in length.
    """
    rows = _rows(entity_rows)
    return rows, {view.name: [_key(view, row, number) for number, row in enumerate(rows)] for view in views}


def _rows(entity_rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]]) -> list[dict[str, Any]]:
    if not isinstance(entity_rows, Mapping):
        return [dict(row) for row in entity_rows]
    lengths = {name: len(column) for name, column in entity_rows.items()}
    if len(set(lengths.values())) > 1:
        msg = f"The columns of entity_rows differ in length: {lengths}."
        raise LookupRequestError(msg, cure="Give each join key one value per row.")
    names = list(entity_rows)
    return [dict(zip(names, values, strict=True)) for values in zip(*entity_rows.values(), strict=True)]


def _key(view: View, row: Mapping[str, Any], number: int) -> bytes:
    return entity_key([_checked(view, entity, row, number) for entity in view.entities])


def _checked(view: View, entity: Column, row: Mapping[str, Any], number: int) -> object:
    value = row.get(entity.name)
    if value is None:
        msg = f"Row {number} of entity_rows has no {entity.name!r}, which the view {view.name!r} is keyed by."
        raise LookupRequestError(msg, cure=f"Give every row: {', '.join(view.join_keys)}.")
    if hasattr(value, "item"):  # a numpy scalar
        value = value.item()
    wanted = _TYPES[entity.dtype]
    if type(value) is not wanted and not (isinstance(value, wanted) and wanted is not int):
        msg = f"Row {number} of entity_rows has {entity.name}={value!r}; the view {view.name!r} is keyed by {entity.dtype} values."
        raise LookupRequestError(msg, cure=f"Pass {entity.name} as a Python {wanted.__name__}.")
    return wanted(value)
