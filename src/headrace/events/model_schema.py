"""From a pydantic model of events to columns."""

from __future__ import annotations

import difflib
import importlib
from pathlib import Path
from types import ModuleType

from pydantic import BaseModel, RootModel
from pydantic.errors import PydanticUserError

from headrace.errors import EventError
from headrace.events.column_kinds import kind_of
from headrace.events.field_defaults import with_fill
from headrace.events.repo_modules import describe_import_failure, own_module_names, own_modules
from headrace.plan import Column

__all__ = ["columns_of", "load_model", "resolve_model"]


def columns_of(model: type[BaseModel]) -> tuple[Column, ...]:
    """The columns of a model's events.

    Args:
        model: The pydantic model.

    Returns:
        One column per field, in the model's order. A field of a type that no feature can use is kept as JSON text.

    Raises:
        EventError: The model cannot be a model of events.
    """
    name = model.__name__
    if issubclass(model, RootModel):
        msg = f"{name} is a RootModel, and an event is an object with named fields."
        raise EventError(msg, hint="Derive it from BaseModel.")
    try:
        model.model_rebuild()
    except (PydanticUserError, NameError) as error:
        msg = f"{name} is not fully defined: {error}"
        raise EventError(msg, hint="Define or import every type that its fields name.") from error
    if not model.model_fields:
        msg = f"{name} has no fields."
        raise EventError(msg, hint="Give it at least the event's time and the keys of its features.")
    columns: list[Column] = []
    for field, info in model.model_fields.items():
        kind = kind_of(info)
        columns.append(with_fill(model, Column(name=field, dtype=kind.dtype, nullable=kind.nullable)))
    _refuse_twins(name, columns)
    return tuple(columns)


def load_model(repo: Path, ref: str) -> type[BaseModel]:
    """Import a model of events from a feature repo.

    The repo's own modules come first; a model may also live in an installed package.

    Args:
        repo: The feature repo's folder.
        ref: ``module:Class``, the module relative to the repo.

    Returns:
        The model; the same class each time, within a process.

    Raises:
        EventError: The reference is malformed, or names something that is missing, broken or not a model.
    """
    if not repo.is_dir():
        msg = f"There is no feature repo at {repo}, where the model {ref!r} should be."
        raise EventError(msg, hint="Set `repo` in headrace.toml to the folder that holds it.")
    with own_modules(repo):
        return resolve_model(ref, repo)


def resolve_model(ref: str, repo: Path) -> type[BaseModel]:
    """`load_model` with the current `sys.path`, for a caller that has prepared it.

    Args:
        ref: ``module:Class``.
        repo: The feature repo's folder, for messages.

    Returns:
        The model.

    Raises:
        EventError: As `load_model`.
    """
    module_name, colon, class_name = ref.partition(":")
    parts = (*module_name.split("."), *class_name.split("."))
    if not colon or module_name.endswith(".py") or not all(part.isidentifier() for part in parts):
        msg = f"The model {ref!r} is not written as module:Class."
        raise EventError(msg, hint=f"Write it as {_likely_reference(ref)!r}, the module relative to the feature repo.")
    module = _import(module_name, ref, repo)
    found: object = module
    for part in class_name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        msg = f"The module {module_name!r} has no class {class_name!r} ({module.__file__})."
        raise EventError(msg, hint=_models_in(module, class_name))
    if not issubclass(found, BaseModel):
        msg = f"{ref} is not a pydantic model ({module.__file__})."
        raise EventError(msg, hint=f"Write `class {found.__name__}(BaseModel)`.")
    found.model_rebuild(raise_errors=False)  # now, while the names in its annotations can be found
    return found


def _refuse_twins(name: str, columns: list[Column]) -> None:
    """Refuse fields that differ in case alone."""
    seen: dict[str, str] = {}
    for column in columns:
        twin = seen.setdefault(column.name.lower(), column.name)
        if twin != column.name:
            msg = f"{name}.{twin} and {name}.{column.name} differ only in case."
            raise EventError(msg, hint="Rename one; SQL does not tell them apart.")


def _import(module_name: str, ref: str, repo: Path) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _broken(error, ref, repo) from error  # the module is there, but a module that it imports is not
        near = difflib.get_close_matches(module_name, own_module_names(repo), n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        file = f"{module_name.replace('.', '/')}.py"
        msg = f"The model {ref!r} is not found: there is no {file} in {repo}, and no installed package {module_name!r}."
        raise EventError(msg, hint=f"{hint}Put the model there, or name the module that it is in.") from None
    except (Exception, SystemExit) as error:
        raise _broken(error, ref, repo) from error


def _broken(error: BaseException, ref: str, repo: Path) -> EventError:
    where, what = describe_import_failure(error, repo)
    return EventError(f"{where}: the model {ref!r} cannot be imported: {what}", hint="Correct the module.")


def _likely_reference(ref: str) -> str:
    """A likely meaning of a malformed reference."""
    module, _, name = ref.replace(":", ".").replace("/", ".").replace(".py.", ".").rpartition(".")
    parts = [*module.split("."), name]
    return f"{module}:{name}" if all(part.isidentifier() for part in parts) else "events:Departure"


def _models_in(module: ModuleType, wanted: str) -> str:
    models = [
        name
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, BaseModel) and value is not BaseModel
    ]
    if not models:
        return "Write the model there, a subclass of pydantic's BaseModel."
    near = difflib.get_close_matches(wanted, models, n=1)
    return f"{f'Did you mean {near[0]!r}? ' if near else ''}It has: {', '.join(models)}."
