"""Running what an on-demand view's function needs of its module, which defines the function."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import ModuleType
from typing import Any

from headrace.errors import PlanError
from headrace.events.repo_modules import describe_import_failure, own_modules
from headrace.ondemand.function_source import FunctionSource

__all__ = ["load_function"]


def load_function(source: FunctionSource, repo: Path | None) -> Callable[[Any], Any]:
    """The function of a source. Its module is not imported: only what the function needs of it runs.

    Args:
        source: The function's source.
        repo: The feature repo's folder, whose modules it may import; None finds them on `sys.path`.

    Raises:
        PlanError: A statement fails.
    """
    module = ModuleType(f"headrace_on_demand_{source.code}")  # a name of its own: the real module may be loaded too
    module.__file__, module.__package__ = str(source.file), source.package
    program = compile(ast.Module(list(source.statements), []), str(source.file), "exec", dont_inherit=True)
    with nullcontext() if repo is None else own_modules(repo):
        sys.modules[module.__name__] = module  # dataclasses and pydantic look their module up
        try:
            exec(program, vars(module))  # noqa: S102 the project's own code, as an import would run it
        except Exception as error:
            del sys.modules[module.__name__]
            where, what = describe_import_failure(error, repo or source.file.parent)
            msg = f"{where}: the function {source.ref!r} of an on-demand view cannot be loaded: {what}"
            raise PlanError(msg, hint="Correct it there, and run `headrace apply`.") from error
    function: Callable[[Any], Any] = vars(module)[source.name]
    return function
