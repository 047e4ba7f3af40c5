"""The source of an on-demand view's function: what of its module it needs, found without running the module.

A view is declared with Feast, usually in the file that has its function, and importing Feast takes seconds. A model
server needs the function and not Feast. So the function's module is parsed instead of imported, and only the statements
that the function needs are kept, in their order: the function itself, without decorators and annotations, and the
imports, constants, helpers and classes that it uses, directly or through each other.

The same statements are what the plan pins: a change of any of them, or of a file of the feature repo that they import,
is a change of the view.
"""

from __future__ import annotations

import ast
import builtins
import copy
import hashlib
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from headrace.errors import PlanError
from headrace.ondemand.repo_imports import imported_files, module_file, refuse_feast

__all__ = ["FunctionSource", "read_function"]

_Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class FunctionSource:
    """What a function needs of its module.

    Attributes:
        ref: ``module:name``.
        file: The module's file.
        first_line: Where the function begins, its decorators included.
        statements: What to run, in order; running it defines the function.
        code: A hash of these statements, and of the files of the feature repo that they import: 16 hex digits.
    """

    ref: str
    file: Path
    first_line: int
    statements: tuple[ast.stmt, ...]
    code: str

    @property
    def name(self) -> str:
        """The function's name."""
        return self.ref.partition(":")[2]

    @property
    def package(self) -> str:
        """The package that the module's relative imports start from."""
        module = self.ref.partition(":")[0]
        return module if self.file.name == "__init__.py" else module.rpartition(".")[0]


def read_function(ref: str, repo: Path | None) -> FunctionSource:
    """Find a function in its module, and what it needs of it.

    Args:
        ref: ``module:name``, the module relative to the feature repo.
        repo: The feature repo's folder; None finds the module on `sys.path`.

    Returns:
        Its source.

    Raises:
        PlanError: There is no such function, its file does not parse, or it needs Feast.
    """
    module_name, _, name = ref.partition(":")
    file = module_file(module_name, repo)
    if file is None:
        msg = f"The function {ref!r} of an on-demand view cannot be found: there is no module {module_name!r}."
        raise PlanError(msg, hint="Put the file back into the feature repo, or run `headrace apply` again.")
    try:
        module = _Module(file.read_bytes().decode("utf-8-sig"), file)
    except (OSError, SyntaxError, ValueError) as error:
        msg = f"The function {ref!r} of an on-demand view cannot be read: {type(error).__name__}: {error}"
        raise PlanError(msg, hint="Correct the file.") from error
    place = module.place_of(name)
    if place is None:
        msg = f"The function {ref!r} of an on-demand view is not at the top level of {file.name}."
        raise PlanError(msg, hint="Write it as a def at the top level of a module.")
    kept = module.needed_by(place)
    statements = [module.statement(number, is_target=number == place) for number in kept]
    imported = imported_files(statements, module_name, file, repo)
    refuse_feast(ref, file, statements, imported)
    text = [module.text_of(number, is_target=number == place) for number in kept]
    text += [one.read_text(encoding="utf-8") for one in imported]
    code = hashlib.sha256("\n".join(text).encode()).hexdigest()[:16]
    return FunctionSource(ref, file, module.first_line(place), tuple(statements), code)


class _Module:
    """A module's statements, and which names each binds, uses and changes.

    Args:
        text: Its source.
        file: Its file.
    """

    def __init__(self, text: str, file: Path) -> None:
        self._text = text
        self._body = ast.parse(text, str(file)).body

    def place_of(self, name: str) -> int | None:
        """The number of the statement that defines a function; the last one, as Python would take."""
        places = [number for number, one in enumerate(self._body) if isinstance(one, _Function) and one.name == name]
        return places[-1] if places else None

    def first_line(self, number: int) -> int:
        """The first line of a function, with its decorators."""
        node = self._body[number]
        decorators = node.decorator_list if isinstance(node, _Function) else []
        return min([node.lineno, *(one.lineno for one in decorators)])

    def needed_by(self, target: int) -> list[int]:
        """The numbers of the statements that a function needs, and its own, ascending."""
        needed = {number for number, one in enumerate(self._body) if _is_future_import(one)} | {target}
        names: set[str] = set()
        waiting = list(_names(self.statement(target, is_target=True)).used)
        while waiting:
            name = waiting.pop()
            if name in names:
                continue
            names.add(name)
            for number in self._statements_about(name) - needed:
                needed.add(number)
                # Other definitions of the target's own name do not matter: the target is the last one.
                waiting += _names(self._body[number]).used
        return sorted(needed)

    def statement(self, number: int, *, is_target: bool) -> ast.stmt:
        """A statement to run; of the function itself without decorators and annotations."""
        node = self._body[number]
        return _bare(node) if is_target and isinstance(node, _Function) else node

    def text_of(self, number: int, *, is_target: bool) -> str:
        """The source of a statement, with its decorators unless it is the function itself."""
        node = self._body[number]
        decorators = [] if is_target else getattr(node, "decorator_list", [])
        return "\n".join(ast.get_source_segment(self._text, one) or "" for one in (*decorators, node))

    def _statements_about(self, name: str) -> set[int]:
        found = self._about.get(name, set())
        # Nobody can tell which names an import of * binds.
        return found or (set() if _is_builtin(name) else set(self._stars))

    @cached_property
    def _about(self) -> dict[str, set[int]]:
        """By name, the statements that bind it or change its value."""
        found: dict[str, set[int]] = {}
        for number, node in enumerate(self._body):
            for name in (*_names(node).bound, *_changed(node)):
                found.setdefault(name, set()).add(number)
        return found

    @cached_property
    def _stars(self) -> frozenset[int]:
        return frozenset(
            number
            for number, node in enumerate(self._body)
            for one in ast.walk(node)
            if isinstance(one, ast.ImportFrom) and any(alias.name == "*" for alias in one.names)
        )


@dataclass(frozen=True)
class _Names:
    """The names of a module that one of its statements binds and uses."""

    bound: frozenset[str]
    used: frozenset[str]


def _names(node: ast.stmt) -> _Names:
    if any(alias.name == "*" for alias in getattr(node, "names", ()) if isinstance(alias, ast.alias)):
        return _Names(frozenset(), frozenset())
    table = symtable.symtable(ast.unparse(node), "<statement>", "exec")
    bound = frozenset(one.get_name() for one in table.get_symbols() if one.is_assigned() or one.is_imported())
    used = frozenset(one.get_name() for one in table.get_symbols() if one.is_referenced())
    return _Names(bound, used | frozenset(_used_inside(table.get_children())))


def _used_inside(tables: Iterable[symtable.SymbolTable]) -> Iterator[str]:
    """The names of the module that functions and classes use."""
    for table in tables:
        yield from (one.get_name() for one in table.get_symbols() if one.is_global() and one.is_referenced())
        yield from _used_inside(table.get_children())


def _changed(node: ast.stmt) -> Iterator[str]:
    """The names whose values a statement changes without binding them: ``TABLE["a"] = 1``, ``TABLE.update(...)``."""
    if isinstance(node, _Function | ast.ClassDef):
        return
    for one in ast.walk(node):
        changed: list[ast.expr] = []
        if isinstance(one, ast.Assign | ast.Delete):
            changed = [target for target in one.targets if not isinstance(target, ast.Name)]
        elif isinstance(one, ast.AugAssign | ast.AnnAssign):
            changed = [one.target]
        elif isinstance(one, ast.Expr) and isinstance(one.value, ast.Call):
            changed = [one.value.func]
        yield from (name for target in changed if (name := _base(target)) is not None)


def _base(node: ast.expr) -> str | None:
    """The name that an expression such as ``a.b[0]`` begins with; None where it is only a name, or begins otherwise."""
    inner = node
    while isinstance(inner, ast.Attribute | ast.Subscript):
        inner = inner.value
    return inner.id if isinstance(inner, ast.Name) and inner is not node else None


def _bare(node: _Function) -> _Function:
    """A function without decorators and annotations. Neither does anything when it is called."""
    bare = copy.deepcopy(node)
    bare.decorator_list, bare.returns = [], None
    for one in ast.walk(bare.args):
        if isinstance(one, ast.arg):
            one.annotation = None
    return bare


def _is_future_import(node: ast.stmt) -> bool:
    return isinstance(node, ast.ImportFrom) and node.module == "__future__"


def _is_builtin(name: str) -> bool:
    return hasattr(builtins, name) or name in ("__file__", "__name__", "__package__", "__doc__")
