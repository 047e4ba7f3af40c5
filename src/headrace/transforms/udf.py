"""A user's transform function: loading it, and detecting whether it changed."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headrace.errors import PlanError
from headrace.events.repo_modules import describe_import_failure, own_modules

__all__ = ["function_code", "load_function"]


def function_code(function: Callable[..., Any]) -> str:
    """A hash of a function's source text without its indentation: 16 hex digits.

    Raises:
        PlanError: The source cannot be found, as with a lambda typed at a prompt.
    """
    try:
        source = textwrap.dedent(inspect.getsource(function))
    except (OSError, TypeError) as error:
        msg = f"The source of the transform {function!r} cannot be read: {error}"
        raise PlanError(msg, hint="Write it as a function in a module of the feature repo.") from error
    return hashlib.sha256(source.encode()).hexdigest()[:16]


def load_function(ref: str, repo: Path | None) -> Callable[[Any], Any]:
    """Import a transform's function.

    Args:
        ref: ``module:name``, the module relative to the feature repo.
        repo: The feature repo's folder; None finds the module on `sys.path`.

    Returns:
        The function.

    Raises:
        PlanError: It does not exist, or its module cannot be imported.
    """
    module_name, _, name = ref.partition(":")
    try:
        if repo is None:
            found: Any = importlib.import_module(module_name)
        else:
            with own_modules(repo):
                found = importlib.import_module(module_name)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as error:
        where, what = describe_import_failure(error, repo or Path())
        msg = f"{where}: the transform {ref!r} cannot be loaded: {what}"
        raise PlanError(msg, hint="Put the function there, or run `headrace apply` again.") from error
    # Feast's decorators replace the function by a view, which keeps the function as `udf`.
    function: Callable[[Any], Any] = getattr(found, "udf", None) or found
    return function
