"""The names of a model's fields in JSON."""

from __future__ import annotations

from pydantic import AliasChoices, BaseModel

__all__ = ["all_names", "json_names"]


def json_names(model: type[BaseModel]) -> dict[str, str]:
    """By field, one name under which the model reads it.

    Args:
        model: The model.
    """
    if model.model_config.get("validate_by_alias") is False:
        return {field: field for field in model.model_fields}
    found: dict[str, str] = {}
    for field, info in model.model_fields.items():
        alias = info.validation_alias or info.alias
        if isinstance(alias, AliasChoices):
            alias = next((choice for choice in alias.choices if isinstance(choice, str)), None)
        found[field] = alias if isinstance(alias, str) else field
    return found


def all_names(model: type[BaseModel]) -> dict[str, set[str]]:
    """By field, every name under which the model reads it.

    Args:
        model: The model.
    """
    found: dict[str, set[str]] = {}
    for field, info in model.model_fields.items():
        alias = info.validation_alias or info.alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        found[field] = {field, *(choice for choice in choices if isinstance(choice, str))}
    return found
