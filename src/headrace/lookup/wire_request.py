"""The request of a lookup as JSON, and back: features, rows and time.

    {"features": "desk", "entities": {"shop": ["a", "b"]}, "at": "2026-01-01T00:00:00Z"}

`features` is a service or a list of `view:feature`, `view:*` and services. `entities` has the rows as columns;
`entity_rows` has them as a list of objects. Without `at` the time is now.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import InvalidOperation
from typing import Any

from headrace.errors import LookupRequestError
from headrace.lookup.request import EntityRows
from headrace.lookup.wire_values import (
    EXACT,
    from_json_of,
    plain_type,
    shortened,
    to_json_of,
    typed_from_json,
    typed_to_json,
)
from headrace.plan import BatchView, DType, View
from headrace.times import as_stored, iso_time

__all__ = ["at_from_json", "key_types", "request_to_json", "rows_from_answer", "rows_from_json", "rows_to_json"]

_NUMBERS = frozenset({int, bool, type(None)})
_JSON_OWN = frozenset({str, *_NUMBERS})
"""Python types that JSON has, exactly."""

_UNCHANGED = {
    None: _JSON_OWN,
    DType.STRING: _JSON_OWN,
    DType.BOOL: _JSON_OWN,
    DType.INT64: _NUMBERS,
    DType.FLOAT64: frozenset({float, type(None)}),
}
"""By a column's type, the types of JSON values that are Python values already. Of other columns it is only null."""

_ONLY_NULL = frozenset({type(None)})

_WHOLE = re.compile(r"-?[0-9]{16,19}")

_SHAPES = 'Write {"entities": {"shop": ["a", "b"]}} or {"entity_rows": [{"shop": "a"}, {"shop": "b"}]}.'
_TIME = 'Write ISO 8601 with a zone: "2026-01-01T00:00:00Z".'
_HINTS = {DType.TIMESTAMP: _TIME, DType.DATE: 'Write ISO 8601: "2026-01-01".'}


def request_to_json(features: str | Sequence[str], rows: EntityRows, at_us: int | None) -> dict[str, Any]:
    """The body of a request.

    Args:
        features: A service, or the names of features, views and services.
        rows: The rows.
        at_us: The time to answer for, in µs; None is now.

    Raises:
        LookupRequestError: A value cannot be sent.
    """
    body: dict[str, Any] = {"features": features}
    if rows.has_same_names:
        body["entities"] = {
            name: values if _JSON_OWN.issuperset(map(type, values)) else [typed_to_json(name, one) for one in values]
            for name, values in rows.columns.items()
        }
    else:
        body["entity_rows"] = _objects(rows)
    if at_us is not None:
        body["at"] = iso_time(at_us)
    return body


def key_types(views: Iterable[View | BatchView]) -> dict[str, DType]:
    """The types of views' join keys, by name."""
    return {entity.name: entity.dtype for view in views for entity in view.entities}


def at_from_json(at: Any) -> datetime | None:
    """The time that a request asks for; None is now.

    Args:
        at: The request's `at`.

    Raises:
        LookupRequestError: It is no time in ISO 8601.
    """
    if at is None:
        return None
    try:
        return datetime.fromisoformat(at)
    except (TypeError, ValueError) as error:
        msg = f"The request has at={shortened(at)}, which is no time."
        raise LookupRequestError(msg, hint=_TIME) from error


def rows_from_json(
    types: Mapping[str, DType], *, entities: Any = None, entity_rows: Any = None
) -> dict[str, Any] | list[dict[str, Any]]:
    """The rows of a request, as `FeatureClient.get_online_features` takes them.

    Values of a wrong type stay as they are: the lookup refuses them, with the same message as in process.

    Args:
        types: The types of the join keys (and of other columns that are read), by name.
        entities: The request's `entities`.
        entity_rows: The request's `entity_rows`.

    Raises:
        LookupRequestError: There are both or none, they have another shape, or a text is no value of its type.
    """
    if (entities is None) == (entity_rows is None):
        found = "neither entities nor" if entities is None else "both entities and"
        msg = f"The request has {found} entity_rows."
        raise LookupRequestError(msg, hint=_SHAPES)
    if entities is not None:
        if not isinstance(entities, dict) or not all(isinstance(column, list) for column in entities.values()):
            msg = "The request's entities are no object of arrays."
            raise LookupRequestError(msg, hint=_SHAPES)
        return {name: _column(name, column, types.get(name)) for name, column in entities.items()}
    if not isinstance(entity_rows, list) or not all(isinstance(row, dict) for row in entity_rows):
        msg = "The request's entity_rows are no array of objects."
        raise LookupRequestError(msg, hint=_SHAPES)
    return [{name: _value(name, value, types.get(name)) for name, value in row.items()} for row in entity_rows]


def rows_to_json(rows: EntityRows) -> dict[str, Any]:
    """The rows of an answer: as columns with their types, or as a list if they differ in their names.

    Args:
        rows: The rows.

    Raises:
        LookupRequestError: A value cannot be sent.
    """
    if not rows.has_same_names:
        return {"entity_rows": _objects(rows)}
    columns: dict[str, list[Any]] = {}
    types: dict[str, str] = {}
    for name, values in rows.columns.items():
        dtype = plain_type(values)
        if dtype is None:
            types[name], columns[name] = "any", [typed_to_json(name, one) for one in values]
        else:
            types[name] = dtype.value
            one = to_json_of(dtype)
            columns[name] = (
                values if one is None else [None if value is None else one(as_stored(value)) for value in values]
            )
    return {"entities": columns, "entity_types": types}


def rows_from_answer(answer: Mapping[str, Any]) -> EntityRows:
    """The rows that `rows_to_json` wrote into an answer."""
    if "entity_rows" in answer:
        rows = answer["entity_rows"]
        return EntityRows(rows=[{name: typed_from_json(name, one) for name, one in row.items()} for row in rows])
    types = answer["entity_types"]
    return EntityRows({name: _answered(name, types[name], column) for name, column in answer["entities"].items()})


def _objects(rows: EntityRows) -> list[dict[str, Any]]:
    return [{name: typed_to_json(name, one) for name, one in row.items()} for row in rows]


def _answered(name: str, kind: str, values: list[Any]) -> list[Any]:
    if kind == "any":
        return [typed_from_json(name, value) for value in values]
    one = from_json_of(DType(kind))
    return values if one is None else [None if value is None else one(value) for value in values]


def _column(name: str, values: list[Any], dtype: DType | None) -> list[Any]:
    if _UNCHANGED.get(dtype, _ONLY_NULL).issuperset(map(type, values)):
        return values
    return [_value(name, value, dtype) for value in values]


def _value(name: str, value: Any, dtype: DType | None) -> Any:
    """A Python value of a request's value: a text is read by its column's type, and an object by the type it names."""
    if dtype is not None and dtype.element is not None and isinstance(value, list):
        return [_value(name, one, dtype.element) for one in value]
    if dtype is DType.FLOAT64 and type(value) is int:
        return float(value)  # JavaScript writes 1.0 as 1
    if not isinstance(value, str) or dtype is None or dtype.element is not None:
        return typed_from_json(name, value)
    if dtype is DType.INT64:
        # 7 is written as a number. Only what JavaScript's numbers cannot hold is written as text.
        number = int(value) if _WHOLE.fullmatch(value) else 0
        return number if abs(number) > EXACT else value
    one = from_json_of(dtype)
    try:
        return value if one is None else one(value)
    except (ValueError, InvalidOperation) as error:
        msg = f"The request has {name}={shortened(value)}, which is no {dtype}."
        raise LookupRequestError(msg, hint=_HINTS.get(dtype)) from error
