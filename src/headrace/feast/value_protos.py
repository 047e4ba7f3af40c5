"""Feast's value messages: of features that headrace computes, and of keys that a request gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Any

from feast.protos.feast.serving.ServingService_pb2 import FieldStatus
from feast.protos.feast.types import Value_pb2 as protos
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.type_map import feast_value_type_to_python_type, python_values_to_proto_values
from feast.value_type import ValueType

from headrace.lookup.response import Status
from headrace.plan import DType
from headrace.times import us_of

__all__ = ["NO_VALUE", "cell_status", "key_protos", "proto_of", "protos_of", "python_value"]

NO_VALUE = ValueProto()
"""A null."""

_SECOND_US = 1_000_000

_SCALARS = {
    DType.INT64: "int64_val",
    DType.FLOAT64: "double_val",
    DType.BOOL: "bool_val",
    DType.STRING: "string_val",
    DType.JSON: "string_val",
    DType.TIMESTAMP: "unix_timestamp_val",
    DType.DATE: "string_val",
}
_LISTS: dict[DType, tuple[str, Callable[..., Any]]] = {
    DType.INT64: ("int64_list_val", protos.Int64List),
    DType.FLOAT64: ("double_list_val", protos.DoubleList),
    DType.BOOL: ("bool_list_val", protos.BoolList),
    DType.STRING: ("string_list_val", protos.StringList),
    DType.TIMESTAMP: ("unix_timestamp_list_val", protos.Int64List),
    DType.DATE: ("string_list_val", protos.StringList),
}


def protos_of(values: Iterable[Any], dtype: DType) -> list[ValueProto]:
    """Values of a feature as Feast's messages.

    Feast's times are whole seconds: the part below a second is cut off. Feast has no dates: a date is its ISO text.

    Args:
        values: Python values as a lookup gives them, None where null.
        dtype: The feature's type.
    """
    return [NO_VALUE if value is None else proto_of(value, dtype) for value in values]


def proto_of(value: Any, dtype: DType) -> ValueProto:
    """One value, not null, as Feast's message."""
    if dtype.scale is not None:
        return ValueProto(decimal_val=str(value))
    element = dtype.element
    if element is None:
        return ValueProto(**{_SCALARS[dtype]: _plain(value)})
    field, kind = _LISTS[element]
    return ValueProto(**{field: kind(val=[_plain(one) for one in value])})


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return us_of(value) // _SECOND_US
    return value.isoformat() if isinstance(value, date) else value


def key_protos(values: Sequence[Any], kind: ValueType) -> list[ValueProto]:
    """Values of a join key or of request data as Feast's messages, converted as Feast converts them.

    Args:
        values: Python values or Feast's messages.
        kind: The declared type; `UNKNOWN` takes it from the values.
    """
    if all(isinstance(value, ValueProto) for value in values):
        return list(values)
    return list(python_values_to_proto_values(list(values), kind))


def python_value(value: ValueProto) -> Any:
    """The Python value of a message; None for a null."""
    return feast_value_type_to_python_type(value)


def cell_status(status: Status, *, is_null: bool) -> FieldStatus.ValueType:
    """Feast's status of a cell, whose view has the status of headrace.

    A value is `PRESENT` whatever is known of its entity: a count of 0 is a value, and Feast's clients drop values that
    are not present.
    """
    if not is_null:
        return FieldStatus.PRESENT
    if status is Status.UNKNOWN_KEY:
        return FieldStatus.NOT_FOUND
    return FieldStatus.OUTSIDE_MAX_AGE if status is Status.EXPIRED else FieldStatus.NULL_VALUE
