"""What a test bed is made of: a plan, and the pydantic model of each source."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

from headrace.errors import ConfigError
from headrace.events.model_schema import load_model
from headrace.plan import Plan

__all__ = ["Definitions", "definitions_of"]


@dataclass(frozen=True)
class Definitions:
    """A plan and the models of its events.

    Attributes:
        plan: The plan.
        models: By source's name, its model.
        repo: The feature repo's folder; the current one where there is none.
    """

    plan: Plan
    models: Mapping[str, type[BaseModel]]
    repo: Path


def definitions_of(
    given: Plan | ModuleType | str | os.PathLike[str] | Iterable[Any], models: Mapping[str, type[BaseModel]] | None
) -> Definitions:
    """Compile what a test bed was given.

    Args:
        given: Feast objects, a module that holds them, a feature repo's folder, or a plan.
        models: With a plan: by source's name, the model of its events.

    Returns:
        The plan and models.

    Raises:
        ConfigError: A plan came without a model of one of its sources; the folder is no feature repo.
        DefinitionError: The definitions cannot work.
    """
    if isinstance(given, Plan):
        missing = [name for name in given.sources if name not in (models or {})]
        if missing:
            msg = f"The plan's source {missing[0]!r} has no model."
            raise ConfigError(msg, hint=f"Write Testbed(plan, models={{{missing[0]!r}: TheModel, ...}}).")
        return Definitions(given, dict(models or {}), Path.cwd())
    if isinstance(given, str | os.PathLike):
        from headrace.declare import compile_repo

        repo = Path(given)
        plan = compile_repo(repo)
        return Definitions(plan, {name: load_model(repo, one.model) for name, one in plan.sources.items()}, repo)
    from headrace.declare.in_memory import compile_objects

    objects = list(vars(given).values()) if isinstance(given, ModuleType) else list(given)
    plan, found = compile_objects(objects)
    return Definitions(plan, found, Path.cwd())
