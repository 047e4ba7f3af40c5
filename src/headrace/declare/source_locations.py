"""Where in a feature repo something is written, so that errors name file and line."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

__all__ = ["Locator", "Place"]


@dataclass(frozen=True)
class Place:
    """A place in a file; it prints as ``feature_repo/views.py:12``.

    Attributes:
        file: The file, relative to the parent of the repo's folder.
        node: The statement or call; None where only the file is known.
    """

    file: str
    node: ast.stmt | ast.expr | None = None

    def __str__(self) -> str:
        return self.file if self.node is None else f"{self.file}:{self.node.lineno}"

    def at(self, text: str) -> Place:
        """The place inside this one where a string is written; this place where the string is not found."""
        if self.node is not None:
            for node in ast.walk(self.node):
                if isinstance(node, ast.Constant) and node.value == text:
                    return Place(self.file, node)
        return self


class Locator:
    """Finds the statements that assign a repo's objects to names, and the calls that make them.

    Args:
        repo: The feature repo's folder.
    """

    def __init__(self, repo: Path) -> None:
        self._repo = repo.resolve()
        self._objects: dict[int, Place] = {}
        self._kept: list[object] = []  # an id is valid only while its object lives
        self._calls: dict[str, list[tuple[str, Place]]] = {}
        self._classes: dict[str, Place] = {}

    def read(self, file: Path, module: ModuleType) -> None:
        """Note what a module of the repo defines.

        Args:
            file: Its file.
            module: What was imported from it.
        """
        name = f"{self._repo.name}/{file.relative_to(self._repo)}"
        tree = ast.parse(file.read_bytes())
        for statement in _outside_functions(tree.body):
            for target in _assigned(statement):
                if hasattr(module, target):
                    self._bind(getattr(module, target), Place(name, statement))
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                self._note_call(node, name)
            elif isinstance(node, ast.ClassDef):
                self._classes.setdefault(node.name, Place(name, node))
        for value in vars(module).values():  # made in a loop or by a function: then only the file is known
            if type(value).__module__.startswith("feast."):
                self._bind(value, Place(name))

    def of(self, thing: object, name: str, *callees: str) -> Place:
        """Where an object was written.

        Args:
            thing: The object.
            name: Its name.
            callees: The functions that may have made it, for an object that is not assigned to a name in a module.

        Returns:
            The most exact place known.
        """
        bound = self._objects.get(id(thing))
        if bound is not None and bound.node is not None:
            return bound
        calls = [place for callee, place in self._calls.get(name, ()) if callee in callees]
        return calls[0] if calls else bound or Place(self._repo.name)

    def of_class(self, name: str) -> Place:
        """Where a class was written."""
        return self._classes.get(name, Place(self._repo.name))

    def _bind(self, value: object, place: Place) -> None:
        known = self._objects.get(id(value))
        if known is None or (known.node is None and place.node is not None):
            self._objects[id(value)] = place
            self._kept.append(value)

    def _note_call(self, call: ast.Call, file: str) -> None:
        callee = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
        for keyword in call.keywords:
            value = keyword.value
            if keyword.arg == "name" and isinstance(value, ast.Constant) and isinstance(value.value, str):
                self._calls.setdefault(value.value, []).append((callee, Place(file, call)))


def _outside_functions(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """A module's statements, with those inside if, for, with and try."""
    for statement in body:
        yield statement
        if isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            continue
        for inner in ("body", "orelse", "finalbody"):
            yield from _outside_functions(getattr(statement, inner, []))


def _assigned(statement: ast.stmt) -> Iterator[str]:
    """The names that a statement binds to objects: an assignment, or a function whose decorator makes one of it."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.FunctionDef) and statement.decorator_list:
        yield statement.name
    if isinstance(statement, ast.Assign):
        targets = statement.targets
    elif isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    for target in targets:
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                yield node.id
