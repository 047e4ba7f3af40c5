"""The plan's types, and what Feast calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headrace.plan import DType

if TYPE_CHECKING:
    from feast import Entity, Field
    from feast.types import FeastType

__all__ = ["FEAST_NAMES", "FeastNames", "dtype_of_entity", "dtype_of_field", "feast_type", "said_as"]


class FeastNames(NamedTuple):
    """What Feast calls a type.

    Attributes:
        field: In feast.types, as ``Field(dtype=...)`` takes it.
        value_type: In ValueType, as ``Entity(value_type=...)`` takes it.
        ddl: In the Spark DDL of ``JsonFormat(schema_json=...)``.
    """

    field: str
    value_type: str
    ddl: str


FEAST_NAMES: dict[DType, FeastNames] = {
    DType.INT64: FeastNames("Int64", "INT64", "bigint"),
    DType.FLOAT64: FeastNames("Float64", "DOUBLE", "double"),
    DType.BOOL: FeastNames("Bool", "BOOL", "boolean"),
    DType.STRING: FeastNames("String", "STRING", "string"),
    DType.TIMESTAMP: FeastNames("UnixTimestamp", "UNIX_TIMESTAMP", "timestamp"),
    DType.DATE: FeastNames("String", "STRING", "date"),  # Feast has no dates
}

FEAST_NAMES |= {
    dtype.list_of: FeastNames(f"Array({names.field})", f"{names.value_type}_LIST", f"array<{names.ddl}>")
    for dtype, names in tuple(FEAST_NAMES.items())
}

FEAST_NAMES |= {
    dtype: FeastNames("Decimal", "DECIMAL", f"decimal(38,{dtype.scale})") for dtype in DType if dtype.scale is not None
}
FEAST_NAMES[DType.JSON] = FeastNames("String", "STRING", "string")

_OF_VALUE_TYPE = {
    names.value_type: dtype.value
    for dtype, names in FEAST_NAMES.items()
    if dtype not in (DType.JSON, DType.DATE, DType.DATE_LIST) and dtype.scale is None
}


def feast_type(dtype: DType) -> FeastType:
    """The type as a Feast field has it."""
    import feast.types

    if dtype.element is not None:
        return feast.types.Array(feast_type(dtype.element))
    found: FeastType = getattr(feast.types, FEAST_NAMES[dtype].field)
    return found


def said_as(dtype: DType) -> str:
    """What `dtype_of_field` gives for a field of the type: Feast has decimals without their digits, and no dates."""
    names = FEAST_NAMES[dtype]
    return _OF_VALUE_TYPE.get(names.value_type, names.value_type)


def dtype_of_field(field: Field) -> str:
    """The plan's name for the type of a Feast field; Feast's name where the plan has no such type."""
    name = field.dtype.to_value_type().name
    return _OF_VALUE_TYPE.get(name, name)


def dtype_of_entity(entity: Entity) -> str | None:
    """The plan's name for the type of a Feast entity, or Feast's name; None where the entity has no type."""
    name = entity.value_type.name
    return None if name == "UNKNOWN" else _OF_VALUE_TYPE.get(name, name)
