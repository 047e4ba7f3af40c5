"""The default of a model's field, where it is always the same: the value for events that do not have the field."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import SchemaError, SchemaValidator

from headrace.events.column_kinds import json_text
from headrace.plan import Column

__all__ = ["with_fill"]


def with_fill(model: type[BaseModel], column: Column) -> Column:
    """A column with its value for events that do not have the field.

    Args:
        model: The model.
        column: The column of one of its fields.

    Returns:
        The column. It has no such value where the field is required, or where its default is null, changes from call to
        call, or does not fit the column's type.
    """
    found = _default_of(model, column.name)
    if found is None or found != _default_of(model, column.name):
        return column
    from headrace.events.logged_columns import fill_scalar  # models are loaded without Arrow

    filled = column.model_copy(update={"fill": found})
    try:
        fill_scalar(filled)
    except (ValueError, TypeError, OverflowError):  # Arrow's errors are subclasses of these
        return column
    return filled


def _default_of(model: type[BaseModel], field: str) -> str | None:
    """A field's default as JSON."""
    info = model.model_fields[field]
    if info.is_required() or (info.default_factory is not None and info.default_factory_takes_validated_data):
        return None
    try:
        value = info.get_default(call_default_factory=True, validated_data={})
        if info.validate_default or (info.validate_default is None and model.model_config.get("validate_default")):
            value = _validated(model, field)
        if value is None:
            return None
        return json.dumps(value.isoformat()) if isinstance(value, datetime) else json_text(value)
    except Exception:  # noqa: BLE001 the author's code makes the default
        return None


def _validated(model: type[BaseModel], field: str) -> Any:
    """The default after the field's validators."""
    schema: Any = model.__pydantic_core_schema__
    definitions = None
    if schema["type"] == "definitions":
        definitions, schema = schema["definitions"], schema["schema"]
    while schema["type"] not in ("model-fields",):
        schema = schema["schema"]
    own: Any = schema["fields"][field]["schema"]
    if definitions is not None:
        own = {"type": "definitions", "schema": own, "definitions": definitions}
    try:
        found = SchemaValidator(own).get_default_value()
    except (SchemaError, ValidationError):
        return None
    return None if found is None else found.value
