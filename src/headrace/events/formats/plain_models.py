"""Which models of events are plain: Arrow can parse their records, without a Python object per event.

A model's core schema says what pydantic does with it. A model is plain where the schema has only fields of the column
types, optional or not, whose constraints can be checked by the field's validator on the column's least and greatest
values, or on its distinct values. Anything that is not listed here makes a model not plain. pydantic reads the events
of such a model, and unusual events of a plain one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic_core import SchemaValidator

from headrace.plan import Column, DType

__all__ = ["PlainField", "PlainModel", "plain_model"]

_Schema = Mapping[str, Any]

_NO_MATTER = {"type", "metadata", "ref", "serialization"}
"""Keys of a schema that do not matter for validation."""

_KEYS: dict[str, set[str]] = {
    "int": {"gt", "ge", "lt", "le"},
    "float": {"gt", "ge", "lt", "le", "allow_inf_nan"},
    "bool": set(),
    "str": {"min_length", "max_length", "pattern", "strip_whitespace", "to_lower", "to_upper"},
    "literal": {"expected"},
    "enum": {"cls", "members", "sub_type"},
    "datetime": {"microseconds_precision", "tz_constraint"},
}
"""By type, the keys that the schema of a plain field may have."""

_DTYPES: dict[str, DType] = {
    "int": DType.INT64,
    "float": DType.FLOAT64,
    "bool": DType.BOOL,
    "str": DType.STRING,
    "literal": DType.STRING,
    "enum": DType.STRING,
    "datetime": DType.TIMESTAMP,
}

_PYTHON: dict[DType, type] = {DType.INT64: int, DType.FLOAT64: float, DType.BOOL: bool, DType.STRING: str}
"""The Python type that a default must have. (pydantic does not check defaults; they can be anything.)"""


@dataclass(frozen=True)
class PlainField:
    """A field of a plain model.

    Attributes:
        name: Its name.
        dtype: The type of its column.
        nullable: Whether null is a valid value.
        takes_null: Whether null and a field that is left out both mean null.
        default: The value of a field that is left out; None where the field is required, or `takes_null`.
        extremes: The validator for the least and the greatest value; None where every value is valid.
        lengths: The least and the greatest length of a text, in characters; None where every length is valid.
        members: The validator for each distinct text, which must not change it; None where every text is valid.
    """

    name: str
    dtype: DType
    nullable: bool
    takes_null: bool
    default: int | float | bool | str | None
    extremes: SchemaValidator | None
    lengths: tuple[int | None, int | None] | None
    members: SchemaValidator | None


@dataclass(frozen=True)
class PlainModel:
    """A plain model.

    Attributes:
        fields: Its fields, in the order of the source's columns.
        forbids_more: Whether an event with other fields is refused.
        reads_back: Whether an event that was written and validated again is the same: no serializers, and no text that
            is checked and then changed.
    """

    fields: tuple[PlainField, ...]
    forbids_more: bool
    reads_back: bool


def plain_model(model: type[BaseModel], columns: Sequence[Column]) -> PlainModel | None:
    """What Arrow's reader needs to know about a model.

    Args:
        model: The model.
        columns: The columns that its source declares.

    Returns:
        None where the model is not plain, or its fields are not those columns.
    """
    schema = model.__pydantic_core_schema__
    # Another validator than pydantic's own (of a plugin, for example) must see each event.
    if type(model.__pydantic_validator__) is not SchemaValidator or not _is_plain_model(schema):
        return None
    fields: _Schema = schema["schema"]["fields"]
    if set(fields) != {column.name for column in columns}:
        return None
    found: list[PlainField] = []
    for column in columns:
        field = _plain_field(column, fields[column.name])
        if field is None:
            return None
        found.append(field)
    forbids_more = schema.get("config", {}).get("extra_fields_behavior") == "forbid"
    return PlainModel(tuple(found), forbids_more, _reads_back(schema))


def _is_plain_model(schema: object) -> bool:
    if not isinstance(schema, Mapping) or schema.get("type") != "model":
        return False
    config, fields = schema.get("config", {}), schema["schema"]
    return (
        _says_only(schema, {"cls", "schema", "config", "custom_init", "root_model", "post_init", "frozen"})
        and not (schema.get("custom_init") or schema.get("root_model") or schema.get("post_init"))
        and set(config) <= {"title", "extra_fields_behavior"}
        and config.get("extra_fields_behavior", "ignore") in ("ignore", "forbid")
        and fields["type"] == "model-fields"
        and _says_only(fields, {"fields", "model_name", "computed_fields"})
        and not fields.get("computed_fields")
    )


def _plain_field(column: Column, field: _Schema) -> PlainField | None:
    if not _says_only(field, {"schema", "frozen", "serialization_exclude", "serialization_alias"}):
        return None
    schema, takes_null, default = field["schema"], False, None
    if schema["type"] == "default":
        if not _says_only(schema, {"schema", "default"}):
            return None
        takes_null = schema.get("default", ...) is None
        default = schema["default"] if type(schema.get("default")) is _PYTHON.get(column.dtype) else None
        schema = schema["schema"]
    is_nullable = schema["type"] == "nullable"
    if is_nullable:
        if not _says_only(schema, {"schema"}):
            return None
        schema = schema["schema"]
    kind = schema["type"]
    if _DTYPES.get(kind) is not column.dtype or not _says_only(schema, _KEYS[kind]) or not _is_of_texts(schema):
        return None
    constraints = {name for name in schema if name not in _NO_MATTER}
    lengths = (schema.get("min_length"), schema.get("max_length"))
    by_length = kind == "str" and bool(constraints) and constraints <= {"min_length", "max_length"}
    by_member = column.dtype is DType.STRING and bool(constraints) and not by_length
    return PlainField(
        column.name,
        column.dtype,
        is_nullable and column.nullable,
        takes_null and is_nullable and column.nullable,
        default,
        SchemaValidator(schema) if kind in ("int", "float") and constraints else None,
        lengths if by_length else None,
        SchemaValidator(schema) if by_member else None,
    )


def _reads_back(schema: object) -> bool:
    """Whether the JSON that a plain schema writes is read back as the same value."""
    if isinstance(schema, Mapping):
        is_own = "serialization" not in schema and "serialization_alias" not in schema
        is_kept = not (schema.get("serialization_exclude") or schema.get("to_lower") or schema.get("to_upper"))
        nested = [value for key, value in schema.items() if key not in ("metadata", "default", "cls", "members")]
        return is_own and is_kept and all(_reads_back(value) for value in nested)
    return True


def _is_of_texts(schema: _Schema) -> bool:
    """Whether a literal or an enum has only texts; True for other types."""
    if schema["type"] == "literal":
        return all(type(member) is str for member in schema["expected"])
    return schema["type"] != "enum" or schema.get("sub_type") == "str"


def _says_only(schema: _Schema, keys: set[str]) -> bool:
    return set(schema) <= keys | _NO_MATTER
