"""The files of a feature repo that statements import, and whether Feast is among what they import."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

from headrace.errors import PlanError
from headrace.events.repo_modules import own_modules

__all__ = ["imported_files", "module_file", "refuse_feast"]

_FEAST = "feast"


def module_file(module: str, repo: Path | None) -> Path | None:
    """The file of a module, without importing it; None where there is none.

    Args:
        module: Its dotted name.
        repo: The feature repo's folder, which is searched first; None is only `sys.path`.
    """
    own = None if repo is None else _own_file(module, repo)
    if own is not None:
        return own
    try:
        with nullcontext() if repo is None else own_modules(repo):
            spec = importlib.util.find_spec(module)
    except (ImportError, ValueError, AttributeError):  # ValueError: a module that is no file, such as __main__
        return None
    return Path(spec.origin) if spec is not None and spec.has_location and spec.origin is not None else None


def imported_files(statements: Iterable[ast.stmt], module: str, file: Path, repo: Path | None) -> list[Path]:
    """The files of the feature repo that statements import, and those that these import, sorted.

    Args:
        statements: The statements.
        module: The dotted name of the module that they are from.
        file: Its file.
        repo: The feature repo's folder; None has no files.

    Raises:
        PlanError: A file does not parse.
    """
    if repo is None:
        return []
    found: set[Path] = set()
    waiting = [(one, module, file) for one in statements]
    while waiting:
        statement, of, at = waiting.pop()
        for name in _imported_modules(statement, of if at.name == "__init__.py" else of.rpartition(".")[0]):
            own = _own_file(name, repo)
            if own is not None and own not in found and own != file:
                found.add(own)
                waiting += [(one, name, own) for one in _parsed(own)]
    return sorted(found)


def refuse_feast(ref: str, file: Path, statements: Iterable[ast.stmt], imported: Sequence[Path]) -> None:
    """Refuse a function that needs Feast when it runs.

    Args:
        ref: The function.
        file: Its file.
        statements: What it needs of it.
        imported: The files of the feature repo that it imports.

    Raises:
        PlanError: It imports Feast itself, or a file that it needs does.
    """
    everything = [(file, statements), *((one, _parsed(one)) for one in imported)]
    for at, body in everything:
        for statement in body:
            for line, name in _imports(statement, inside_functions=at == file):
                if name.partition(".")[0] == _FEAST:
                    where = f"{at.name}:{line}"
                    msg = f"The function {ref!r} of an on-demand view needs Feast, which {where} imports."
                    hint = (
                        "Lookups do not import Feast, because that takes seconds. Move what the function uses into a "
                        "module that does not import it."
                    )
                    raise PlanError(msg, hint=hint)


def _own_file(module: str, repo: Path) -> Path | None:
    base = repo.joinpath(*module.split("."))
    candidates = (base.parent / f"{base.name}.py", base / "__init__.py")
    return next((one.resolve() for one in candidates if one.is_file()), None)


def _parsed(file: Path) -> list[ast.stmt]:
    try:
        return ast.parse(file.read_bytes(), str(file)).body
    except (OSError, SyntaxError, ValueError) as error:
        msg = f"{file.name}, which an on-demand view imports, cannot be read: {type(error).__name__}: {error}"
        raise PlanError(msg, hint="Correct the file.") from error


def _imported_modules(statement: ast.stmt, package: str) -> Iterator[str]:
    """The dotted names of all modules that a statement may import, packages included."""
    for _, name in _imports(statement, package=package):
        parts = name.split(".")
        yield from (".".join(parts[: count + 1]) for count in range(len(parts)))


def _imports(node: ast.AST, *, package: str = "", inside_functions: bool = True) -> Iterator[tuple[int, str]]:
    """The imports in a statement: line, and module or name in a module, as dotted names.

    Args:
        node: The statement.
        package: The package that relative imports start from.
        inside_functions: Whether those count that run only when a function is called.
    """
    if isinstance(node, ast.Import):
        yield from ((node.lineno, alias.name) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
        module = ".".join(part for part in (*above, node.module or "") if part)
        yield from ((node.lineno, f"{module}.{alias.name}" if module else alias.name) for alias in node.names)
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) and not inside_functions:
        return
    for child in ast.iter_child_nodes(node):
        yield from _imports(child, package=package, inside_functions=inside_functions)
