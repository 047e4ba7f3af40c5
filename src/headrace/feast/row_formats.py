"""How a row of Feast's is kept in the row store.

A view that headrace's plan has is kept as `headrace materialize` keeps it, so that every door reads the same rows. All
other rows are kept as Feast's own messages: those of repos without a plan, of types that the plan does not have, and of
other versions of a view.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from feast.infra.key_encoding_utils import serialize_entity_key
from feast.protos.feast.types.EntityKey_pb2 import EntityKey as EntityKeyProto
from feast.protos.feast.types.Value_pb2 import Map
from feast.protos.feast.types.Value_pb2 import Value as ValueProto
from feast.value_type import ValueType
from google.protobuf.message import DecodeError

from headrace.errors import FeastStoreError
from headrace.feast.value_protos import NO_VALUE, key_protos, python_value
from headrace.lookup.response import maker
from headrace.plan import BatchView, Column, DType
from headrace.records.entity_keys import entity_key
from headrace.rows import RowCodec
from headrace.times import as_stored, datetime_of

__all__ = ["FeastFormat", "PlanFormat", "RowFormat", "feast_rows_id", "lookup_values", "rows_name"]

_KEY_VERSION = 3


class RowFormat(Protocol):
    """A way to keep the rows of one view."""

    @property
    def rows_id(self) -> str:
        """What the row store names the view's rows."""
        ...

    @property
    def serves_future(self) -> bool:
        """Whether a row is served before its event time, as Feast does."""
        ...

    def entity(self, join_keys: Sequence[str], values: Sequence[ValueProto]) -> bytes:
        """The key of an entity; the order of the join keys makes no difference."""
        ...

    def encode(self, values: Mapping[str, ValueProto]) -> bytes:
        """The values of a row as bytes."""
        ...

    def decode(self, data: bytes) -> Mapping[str, ValueProto]:
        """The values of a row."""
        ...

    def plain(self, data: bytes) -> Mapping[str, Any] | None:
        """The values of a row as a lookup gives them; None where only Feast's messages are kept."""
        ...


class FeastFormat:
    """Rows as Feast's own messages.

    Args:
        project: Feast's project.
        name: The view's name, with its version (`rows_name`).
    """

    serves_future = True

    def __init__(self, project: str, name: str) -> None:
        self.rows_id = feast_rows_id(project, name)
        self._name = name

    def entity(self, join_keys: Sequence[str], values: Sequence[ValueProto]) -> bytes:
        """The key of an entity, as Feast serializes it."""
        key = EntityKeyProto(join_keys=join_keys, entity_values=values)
        return bytes(serialize_entity_key(key, entity_key_serialization_version=_KEY_VERSION))

    def encode(self, values: Mapping[str, ValueProto]) -> bytes:
        """A map of Feast's messages."""
        held = Map()
        for column, value in values.items():
            held.val[column].CopyFrom(value)
        return bytes(held.SerializeToString())

    def decode(self, data: bytes) -> Mapping[str, ValueProto]:
        """A map of Feast's messages.

        Raises:
            FeastStoreError: It cannot be read back.
        """
        try:
            found: Mapping[str, ValueProto] = Map.FromString(data).val
        except DecodeError as error:
            msg = f"A stored row of {self._name!r} cannot be read back: {error}."
            raise FeastStoreError(msg, hint=f"Materialize the view {self._name!r} again.") from error
        return found

    def plain(self, data: bytes) -> None:
        """Nothing: the messages are all that there is."""


class PlanFormat:
    """Rows as the plan's view has them.

    Args:
        view: The plan's view.
        kinds: By feature, its type in Feast.
    """

    serves_future = False

    def __init__(self, view: BatchView, kinds: Mapping[str, ValueType]) -> None:
        self.rows_id = view.rows_hash
        self._view = view
        self._kinds = kinds
        self._codec = RowCodec(view.columns)

    def entity(self, join_keys: Sequence[str], values: Sequence[ValueProto]) -> bytes:
        """The key of an entity, as lookups ask for it."""
        given = dict(zip(join_keys, values, strict=True))
        return entity_key([as_stored(python_value(given[one.name])) for one in self._view.entities])

    def encode(self, values: Mapping[str, ValueProto]) -> bytes:
        """The values in the order of the view's columns."""
        return self._codec.encode([_stored(values.get(column.name, NO_VALUE), column) for column in self._view.columns])

    def decode(self, data: bytes) -> Mapping[str, ValueProto]:
        """The values, as the types that Feast declares."""
        stored = self._codec.decode(data)
        return {
            column.name: _message(value, column.dtype, self._kinds[column.name])
            for column, value in zip(self._view.columns, stored, strict=True)
        }

    def plain(self, data: bytes) -> Mapping[str, Any]:
        """The values as a lookup gives them: times have their microseconds, which Feast's messages cut off."""
        stored = self._codec.decode(data)
        return {
            column.name: _made(value, column.dtype) for column, value in zip(self._view.columns, stored, strict=True)
        }


def rows_name(name: str, version: int | None, *, versioned: bool) -> str:
    """The name that the rows of a view's version go by, as Feast names its tables.

    Args:
        name: The view's name.
        version: The version; None is the view as it is.
        versioned: Whether feature_store.yaml keeps the versions of views apart.
    """
    return f"{name}_v{version}" if versioned and version else name


def feast_rows_id(project: str, name: str) -> str:
    """What the row store names rows in Feast's format: 16 hex digits."""
    return hashlib.sha256(f"feast\0{project}\0{name}".encode()).hexdigest()[:16]


def lookup_values(values: Iterable[ValueProto], column: Column) -> list[Any]:
    """Messages as values of the plan's type, as a lookup gives them.

    Args:
        values: Feast's messages.
        column: The plan's name and type of them.
    """
    return [_made(_stored(value, column), column.dtype) for value in values]


def _made(value: Any, dtype: DType) -> Any:
    """A value as rows keep it, as a lookup gives it."""
    made = maker(dtype)
    return value if made is None or value is None else made(value)


def _stored(value: ValueProto, column: Column) -> Any:
    """A value as the plan's rows keep it."""
    found = python_value(value)
    if found is None:
        return None
    if column.dtype is DType.JSON:
        return found if isinstance(found, str) else json.dumps(found)
    if isinstance(found, uuid.UUID):
        return str(found)
    return [as_stored(one) for one in found] if column.dtype.element is not None else as_stored(found)


def _message(value: Any, dtype: DType, kind: ValueType) -> ValueProto:
    """A value of the plan's rows as a message of the type that Feast declares."""
    if value is None:
        return NO_VALUE
    if dtype is DType.TIMESTAMP:
        value = datetime_of(value)
    elif dtype.element is DType.TIMESTAMP:
        value = [None if one is None else datetime_of(one) for one in value]
    elif dtype is DType.JSON and kind is not ValueType.STRING:
        value = json.loads(value)
    return key_protos([value], kind)[0]
