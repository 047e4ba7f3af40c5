"""The rows of an online request: join keys and request data, as Python values and as Feast's messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feast.errors import RequestDataNotFoundInEntityRowsException
from feast.feature_view import DUMMY_ENTITY_ID, DUMMY_ENTITY_VAL
from feast.protos.feast.types.Value_pb2 import RepeatedValue
from feast.protos.feast.types.Value_pb2 import Value as ValueProto

from headrace.errors import LookupRequestError
from headrace.feast.online_request import OnlineRequest
from headrace.feast.value_protos import key_protos, python_value

__all__ = ["AskedRows", "RequestRows", "request_rows"]

AskedRows = Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""Rows, or columns of Python values or of Feast's messages."""

_SHAPES = 'Write a list of rows, [{"driver_id": 1001}], or a mapping of columns, {"driver_id": [1001, 1002]}.'


@dataclass(frozen=True)
class RequestRows:
    """What the rows of a request hold.

    Attributes:
        count: How many rows there are.
        keys: By join key's column, Feast's messages.
        data: By field of request data, Feast's messages.
        given: By join key's column and by field of request data, the values as the request gave them.
    """

    count: int
    keys: dict[str, list[ValueProto]]
    data: dict[str, list[ValueProto]]
    given: dict[str, list[Any]]

    def python(self) -> dict[str, list[Any]]:
        """Join keys and request data as Python values."""
        columns = {name: values for name, values in self.keys.items() if name != DUMMY_ENTITY_ID} | self.data
        return {name: [python_value(value) for value in values] for name, values in columns.items()}


def request_rows(entity_rows: AskedRows, request: OnlineRequest) -> RequestRows:
    """Read the rows of a request. Columns that it does not need are ignored, as Feast does.

    Args:
        entity_rows: The rows.
        request: What is asked for.

    Raises:
        LookupRequestError: A row lacks a join key or has a null there, columns differ in length, a value has a wrong
            type, or the rows have another shape.
        RequestDataNotFoundInEntityRowsException: Request data is missing.
    """
    columns, count = _columns(entity_rows)
    columns = _by_join_key(columns, request)
    if not count:
        columns = {name: columns.get(name, []) for name in (*request.key_kinds, *request.request_kinds)}
    missing = [name for name in request.request_kinds if name not in columns]
    if missing:
        refused: Any = RequestDataNotFoundInEntityRowsException
        raise refused(feature_names=missing)
    keys: dict[str, list[ValueProto]] = {}
    for name in [*(name for name in columns if name in request.key_kinds), *request.key_kinds]:
        if name not in columns:
            msg = f"entity_rows has no {name!r}. It has: {', '.join(columns) or 'nothing'}."
            raise LookupRequestError(msg, hint=f"Give every row: {', '.join(request.key_kinds)}.")
        if name not in keys:
            keys[name] = _converted(name, columns[name], request.key_kinds[name])
            _refuse_nulls(name, keys[name])
    given = {name: columns[name] for name in (*keys, *request.request_kinds)}
    keys[DUMMY_ENTITY_ID] = [ValueProto(string_val=DUMMY_ENTITY_VAL)] * count
    data = {name: _converted(name, columns[name], kind) for name, kind in request.request_kinds.items()}
    return RequestRows(count, keys, data, given)


def _columns(entity_rows: AskedRows) -> tuple[dict[str, list[Any]], int]:
    if isinstance(entity_rows, Mapping):
        columns = {
            name: list(values.val if isinstance(values, RepeatedValue) else _sequence(name, values))
            for name, values in entity_rows.items()
        }
    else:
        if not all(isinstance(row, Mapping) for row in entity_rows):
            msg = "entity_rows has a row that is no mapping of join keys to values."
            raise LookupRequestError(msg, hint=_SHAPES)
        names = dict.fromkeys(name for row in entity_rows for name in row)
        columns = {name: [row.get(name) for row in entity_rows] for name in names}
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        msg = f"The columns of entity_rows differ in length: {lengths}."
        raise LookupRequestError(msg, hint="Give each column one value per row.")
    return columns, next(iter(lengths.values()), 0)


def _sequence(name: str, values: Any) -> Any:
    if isinstance(values, str | bytes | Mapping) or not hasattr(values, "__len__"):
        msg = f"entity_rows has {name}={values!r}, one value where a column of values is needed."
        raise LookupRequestError(msg, hint=_SHAPES)
    return values


def _by_join_key(columns: dict[str, list[Any]], request: OnlineRequest) -> dict[str, list[Any]]:
    """The columns by join key: a request may name an entity instead."""
    found: dict[str, list[Any]] = {}
    for name, values in columns.items():
        known = name in request.key_kinds or name in request.request_kinds
        join_key = name if known else request.entity_names.get(name, name)
        found.setdefault(join_key, values)
    return found


def _converted(name: str, values: list[Any], kind: Any) -> list[ValueProto]:
    try:
        return key_protos(values, kind)
    except (AssertionError, TypeError, ValueError, OverflowError) as error:
        shown = " ".join(str(error).split()) or type(error).__name__
        msg = f"entity_rows has a {name!r} that is no {kind.name}: {shown}"
        raise LookupRequestError(msg, hint=f"Pass {name} as {kind.name}.") from error


def _refuse_nulls(name: str, values: list[ValueProto]) -> None:
    for row, value in enumerate(values):
        if value.WhichOneof("val") is None:
            msg = f"Row {row} of entity_rows has no {name!r}."
            raise LookupRequestError(msg, hint="A join key cannot be null: leave the row out.")
