"""The column of a model's field, by its annotation, and how its values become values of that column."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin
from uuid import UUID

from pydantic import UUID1, UUID3, UUID4, UUID5, AwareDatetime, FutureDate, FutureDatetime, PastDate, PastDatetime
from pydantic.fields import FieldInfo
from pydantic_core import to_json

from headrace.plan import DType

__all__ = ["Kind", "json_text", "kind_of"]

_SCALARS: dict[Any, DType] = {
    int: DType.INT64,
    float: DType.FLOAT64,
    bool: DType.BOOL,
    str: DType.STRING,
    datetime: DType.TIMESTAMP,
    AwareDatetime: DType.TIMESTAMP,
    PastDatetime: DType.TIMESTAMP,
    FutureDatetime: DType.TIMESTAMP,
    date: DType.DATE,
    PastDate: DType.DATE,
    FutureDate: DType.DATE,
}

_WRITTEN = (UUID, UUID1, UUID3, UUID4, UUID5, IPv4Address, IPv6Address)
"""Types that are text outside of Python."""

_MOST_PLACES = 9


class Kind(NamedTuple):
    """The column of a field.

    Attributes:
        dtype: Its type.
        nullable: Whether it can be null.
        cell: Converts a value that is not null; None where values are stored unchanged.
    """

    dtype: DType
    nullable: bool
    cell: Callable[[Any], Any] | None = None


def kind_of(field: FieldInfo) -> Kind:
    """The column of a field.

    A field of any other type is kept as JSON text, which no aggregate reads. So is a decimal, unless the model says how
    many digits it has after the point.

    Args:
        field: The field.
    """
    annotation = field.annotation
    members = list(_members(annotation))
    nullable = any(member in (type(None), Any, object) for member in members)
    kinds = {_scalar(member) for member in members if member is not type(None)}
    if len(kinds) != 1:
        return Kind(DType.JSON, nullable, json_text)
    (kind,) = kinds
    places = _places(field) if Decimal in members else None
    if places is not None:
        return Kind(DType(f"decimal_{places}"), nullable)
    return Kind(kind[0], nullable, kind[1])


def json_text(value: Any) -> str:
    """A value as JSON: equal values give equal text.

    Args:
        value: The value. Bytes become base64; types that JSON does not have are written by `str`.
    """
    if isinstance(value, set | frozenset):
        return f"[{','.join(sorted(map(json_text, value)))}]"
    return to_json(value, inf_nan_mode="constants", bytes_mode="base64", fallback=str).decode()


def _places(field: FieldInfo) -> int | None:
    """How many digits a field of decimals has after the point; None where the model does not say, or says too many."""
    annotated = [field.metadata, *(get_args(one)[1:] for one in _annotated(field.annotation))]
    nested = [one for many in annotated for one in many]
    nested += [one for info in nested if isinstance(info, FieldInfo) for one in info.metadata]
    places = [one.decimal_places for one in nested if getattr(one, "decimal_places", None) is not None]
    return int(places[0]) if places and 0 <= places[0] <= _MOST_PLACES else None


def _annotated(annotation: Any) -> Iterator[Any]:
    """The annotated types in an annotation."""
    if get_origin(annotation) is Annotated:
        yield annotation
    if get_origin(annotation) in (Annotated, Union, types.UnionType):
        for member in get_args(annotation):
            yield from _annotated(member)


def _members(annotation: Any) -> Iterator[Any]:
    """The types that a value can have: the members of unions and literals, without aliases and Annotated."""
    origin = get_origin(annotation)
    if origin is Annotated and annotation not in (*_SCALARS, *_WRITTEN):
        yield from _members(get_args(annotation)[0])
    elif origin in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _members(member)
    elif origin is Literal:
        yield from dict.fromkeys(type(value) for value in get_args(annotation))
    elif hasattr(annotation, "__supertype__"):  # a NewType
        yield from _members(annotation.__supertype__)
    elif hasattr(annotation, "__value__"):  # a `type` alias
        yield from _members(annotation.__value__)
    else:
        yield annotation


def _scalar(kind: Any) -> tuple[DType, Callable[[Any], Any] | None]:
    """The column type of one member, and what converts its values."""
    if kind in _SCALARS:
        return _SCALARS[kind], None
    if kind in _WRITTEN:
        return DType.STRING, str
    if isinstance(kind, type) and issubclass(kind, Enum):
        of_members = {type(member.value) for member in kind}
        if of_members == {str}:
            return DType.STRING, (None if issubclass(kind, str) else _value_of)
        if of_members == {int}:
            return DType.INT64, _value_of
    return DType.JSON, json_text


def _value_of(member: Any) -> Any:
    return member.value if isinstance(member, Enum) else member
