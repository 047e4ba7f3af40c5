"""From a pydantic model of events to columns."""

from __future__ import annotations

import difflib
import importlib
import types
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import AwareDatetime, BaseModel, FutureDatetime, NaiveDatetime, PastDatetime, RootModel
from pydantic.errors import PydanticUserError

from headrace.errors import EventError
from headrace.events.fills import with_fill
from headrace.events.modules import describe_import_failure, own_module_names, own_modules
from headrace.plan import Column, DType

__all__ = ["columns_of", "load_model", "resolve_model"]

_SCALARS: dict[Any, DType] = {
    int: DType.INT64,
    float: DType.FLOAT64,
    bool: DType.BOOL,
    str: DType.STRING,
    datetime: DType.TIMESTAMP,
    AwareDatetime: DType.TIMESTAMP,
    PastDatetime: DType.TIMESTAMP,
    FutureDatetime: DType.TIMESTAMP,
}

_INSTEAD: dict[Any, str] = {
    Decimal: "an int of minor units (price_cents: int), or a float",
    NaiveDatetime: "AwareDatetime, as events are in UTC",
    date: "AwareDatetime, or a str where it is only a label",
    time: "an int (minutes of the day), or a str",
    timedelta: "an int of a unit that the name tells (wait_ms: int), or a float",
    bytes: "a str",
    complex: "two floats",
    list: "one field per value, or send one event per element",
    tuple: "one field per value",
    set: "one field per value, or send one event per element",
    frozenset: "one field per value, or send one event per element",
    dict: "one field per key",
    Any: "the type it has",
    object: "the type it has",
    type(None): "the type it has when it is there, `| None`",
}

_TYPES = (
    "Columns are int, float, bool, str, Literal or enum of str, and AwareDatetime; `| None` where they can be missing."
)


class _Instead(NamedTuple):
    """What to write instead of a type that has no column."""

    advice: str


def columns_of(model: type[BaseModel]) -> tuple[Column, ...]:
    """The columns that events of a model have.

    Args:
        model: The pydantic model.

    Returns:
        One column per field, in the model's order. Constraints do not matter: the model checks them.

    Raises:
        EventError: A field's type has no column; the message names the class, each such field and what to write.
    """
    name = model.__name__
    if issubclass(model, RootModel):
        msg = f"{name} is a RootModel, and an event is an object with named fields."
        raise EventError(msg, cure="Derive it from BaseModel.")
    try:
        model.model_rebuild()
    except (PydanticUserError, NameError) as error:
        msg = f"{name} is not fully defined: {error}"
        raise EventError(msg, cure="Define or import every type that its fields name.") from error
    if not model.model_fields:
        msg = f"{name} has no fields."
        raise EventError(msg, cure="Give it at least the event's time and what its features are keyed by.")
    columns: list[Column] = []
    failures: list[str] = []
    for field, info in model.model_fields.items():
        found, nullable = _column_type(info.annotation)
        if isinstance(found, _Instead):
            failures.append(f"{name}.{field} is {_shown(info.annotation)}, which has no column: write {found.advice}.")
        else:
            columns.append(with_fill(model, Column(name=field, dtype=found, nullable=nullable)))
    if failures:
        raise EventError("\n".join(failures), cure=_TYPES)
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
        raise EventError(msg, cure="Set `repo` in headrace.toml to the folder that holds it.")
    with own_modules(repo):
        return resolve_model(ref, repo)


def resolve_model(ref: str, repo: Path) -> type[BaseModel]:
    """`load_model` by way of `sys.path` as it stands, for a caller that has prepared it.

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
        raise EventError(msg, cure=f"Write it as {_likely_reference(ref)!r}, the module relative to the feature repo.")
    module = _import(module_name, ref, repo)
    found: object = module
    for part in class_name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, type):
        msg = f"The module {module_name!r} has no class {class_name!r} ({module.__file__})."
        raise EventError(msg, cure=_models_in(module, class_name))
    if not issubclass(found, BaseModel):
        msg = f"{ref} is not a pydantic model ({module.__file__})."
        raise EventError(msg, cure=f"Write `class {found.__name__}(BaseModel)`.")
    found.model_rebuild(raise_errors=False)  # while the names that its annotations use can still be found
    return found


def _column_type(annotation: Any) -> tuple[DType | _Instead, bool]:
    """The type, or what to write instead, and whether it is nullable."""
    members = list(_members(annotation))
    nullable = type(None) in members
    kinds = [_scalar(member) for member in members if member is not type(None)]
    for kind in kinds:
        if isinstance(kind, _Instead):
            return kind, nullable
    if not kinds:
        return _Instead(_INSTEAD[type(None)]), nullable
    if len(set(kinds)) > 1:
        return _Instead("one of its types, or a field for each"), nullable
    return kinds[0], nullable


def _members(annotation: Any) -> Iterator[Any]:
    """What a value may be: unions and literals taken apart, aliases and Annotated seen through."""
    origin = get_origin(annotation)
    if origin is Annotated:
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


def _scalar(kind: Any) -> DType | _Instead:
    """The column type of one member, or what to write instead."""
    if kind in _SCALARS:
        return _SCALARS[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return DType.STRING if issubclass(kind, str) else _Instead("a StrEnum, or the type that its values have")
    plain = get_origin(kind) or kind
    if plain in _INSTEAD:
        return _Instead(_INSTEAD[plain])
    if isinstance(plain, type) and issubclass(plain, BaseModel):
        return _Instead(f"the fields of {plain.__name__} as fields of the event")
    return _Instead("a str")


def _shown(annotation: Any) -> str:
    if isinstance(annotation, type) and not get_args(annotation):
        return annotation.__name__
    return str(annotation).replace("typing.", "")


def _refuse_twins(name: str, columns: list[Column]) -> None:
    """Refuse fields that differ in case alone."""
    seen: dict[str, str] = {}
    for column in columns:
        twin = seen.setdefault(column.name.lower(), column.name)
        if twin != column.name:
            msg = f"{name}.{twin} and {name}.{column.name} differ only in case."
            raise EventError(msg, cure="Rename one; SQL takes them for the same.")


def _import(module_name: str, ref: str, repo: Path) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _broken(error, ref, repo) from error  # the module is there, but not what it imports
        near = difflib.get_close_matches(module_name, own_module_names(repo), n=1)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        file = f"{module_name.replace('.', '/')}.py"
        msg = f"The model {ref!r} is nowhere: there is no {file} in {repo}, and no installed package {module_name!r}."
        raise EventError(msg, cure=f"{hint}Put the model there, or name the module that it is in.") from None
    except (Exception, SystemExit) as error:
        raise _broken(error, ref, repo) from error


def _broken(error: BaseException, ref: str, repo: Path) -> EventError:
    where, what = describe_import_failure(error, repo)
    return EventError(f"{where}: the model {ref!r} cannot be imported: {what}", cure="Mend the module.")


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
