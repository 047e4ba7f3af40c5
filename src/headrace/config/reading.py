"""Reading headrace.toml and the environment; what is wrong is named by file, table and setting."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

from pydantic import ValidationError

from headrace.config.table import Table
from headrace.config.tables import Settings
from headrace.errors import ConfigError

__all__ = ["read_settings", "settings_of"]


def read_settings(path: Path) -> Settings:
    """Read a project's settings.

    Args:
        path: Its headrace.toml.

    Returns:
        The settings; those of the environment come first.

    Raises:
        ConfigError: The file cannot be read, or a value in it (or in an environment variable) is wrong.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        msg = f"{path} cannot be read: {error}."
        raise ConfigError(msg, hint="Fix the file; it is TOML.") from error
    _refuse_secrets(path, tables)
    return settings_of(tables, path)


def settings_of(tables: dict[str, Any], path: Path) -> Settings:
    """Settings as a headrace.toml gives them.

    Args:
        tables: What the file holds.
        path: The file, for messages.

    Returns:
        The settings; those of the environment come first.

    Raises:
        ConfigError: A value (or an environment variable) is wrong.
    """
    for names, model in _tables(Settings):
        _add_environment(tables, names, model)
    try:
        return Settings.model_validate(tables)
    except ValidationError as error:
        raise _wrong_setting(path, tables, error) from error


def _tables(model: type[Table], *names: str) -> Iterator[tuple[tuple[str, ...], type[Table]]]:
    """Every table of a file, with the names that lead to it; arrays of tables are left out."""
    for name in model.model_fields:
        inner = _inner_table(model, name)
        if inner is not None and not _is_array(model, name):
            yield (*names, name), inner
            yield from _tables(inner, *names, name)


def _inner_table(model: type[Table], name: str) -> type[Table] | None:
    """The model of a setting that is itself a table, or an array of tables; None of others."""
    field = model.model_fields.get(name)
    found = [] if field is None else [field.annotation, *get_args(field.annotation)]
    return next((one for one in found if isinstance(one, type) and issubclass(one, Table)), None)


def _is_array(model: type[Table], name: str) -> bool:
    return Ellipsis in get_args(model.model_fields[name].annotation)


def _add_environment(tables: dict[str, Any], names: tuple[str, ...], model: type[Table]) -> None:
    settings = [name for name in model.model_fields if _inner_table(model, name) is None]
    variables = {name: _variable(names, name) for name in settings}
    values = {name: os.environ[variable] for name, variable in variables.items() if variable in os.environ}
    table: Any = tables
    for name in names if values else ():
        table = table.setdefault(name, {})
        if not isinstance(table, dict):
            return  # the file has something else there, which is refused
    table |= values


def _wrong_setting(path: Path, tables: dict[str, Any], error: ValidationError) -> ConfigError:
    first = error.errors(include_url=False)[0]
    names, model, rest = _innermost(first["loc"], is_missing=first["type"] == "missing")
    table = ".".join(names)
    if not names:
        msg = f"{path}: headrace knows no table or value {rest[0]!r} at its top."
        return ConfigError(msg, hint=f"Tables are: {', '.join(f'[{name}]' for name in model.model_fields)}.")
    if not rest:
        found = f"is {tables[names[0]]!r}, and it " if len(names) == 1 else ""
        msg = f"{path}: `{table}` {found}should be a table."
        return ConfigError(msg, hint=f"Write the line [{table}], and the settings below it.")
    hint = f"Settings of [{table}] are: {', '.join(model.model_fields)}."
    if first["type"] == "extra_forbidden":
        return ConfigError(f"{path}: headrace knows no setting {rest[0]!r} in [{table}].", hint=hint)
    variable = _variable(names, rest[0])
    place = f"${variable}" if variable in os.environ else f"{path}, [{table}]"
    return ConfigError(f"{place}: `{rest[0]}` is wrong: {first['msg']}.", hint=hint)


def _innermost(location: tuple[int | str, ...], *, is_missing: bool) -> tuple[tuple[str, ...], type[Table], list[str]]:
    """The innermost table that a location lies in: the names that lead to it, its model, and the rest."""
    names: list[str] = []
    model: type[Table] = Settings
    rest = [str(part) for part in location if not isinstance(part, int)]
    while rest:
        inner = _inner_table(model, rest[0])
        if inner is None or (len(rest) == 1 and (is_missing or _is_array(model, rest[0]))):
            break
        names.append(rest.pop(0))
        model = inner
    return tuple(names), model, rest


def _refuse_secrets(path: Path, tables: dict[str, Any]) -> None:
    """Passwords do not belong in a file that people share."""
    for name in ("password", "key_password"):
        if isinstance(tables.get("kafka"), dict) and name in tables["kafka"]:
            msg = f"{path}, [kafka]: `{name}` is a secret and may not stand in this file."
            hint = f"Set ${_variable(('kafka',), name)}, or write the secret to a file and name that as `{name}_file`."
            raise ConfigError(msg, hint=hint)
    log = tables.get("log")
    options = log.get("options") if isinstance(log, dict) else None
    for name in options if isinstance(options, dict) else ():
        if any(word in name.lower() for word in ("secret", "token", "password", "account_key")):
            msg = f"{path}, [log.options]: `{name}` is a secret and may not stand in this file."
            raise ConfigError(msg, hint=f"Set ${name.upper()} in the environment; Delta Lake reads it there.")


def _variable(names: tuple[str, ...], name: str) -> str:
    table = () if names == ("headrace",) else names
    return "_".join(("HEADRACE", *table, name)).upper()
