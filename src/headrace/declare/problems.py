"""The problems of a feature repo, collected so that one error lists all of them."""

from __future__ import annotations

from typing import NamedTuple

from headrace.errors import DefinitionError

__all__ = ["Problem", "Problems"]


class Problem(NamedTuple):
    """One thing that cannot work.

    Attributes:
        where: ``feature_repo/views.py:12``.
        what: What is wrong, with the name of the view or source.
        hint: What to write instead.
    """

    where: str
    what: str
    hint: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n  → {self.hint}"


class Problems:
    """Problems in the order they were found."""

    def __init__(self) -> None:
        self._found: dict[Problem, None] = {}

    def __len__(self) -> int:
        return len(self._found)

    def add(self, where: object, what: str, hint: str) -> None:
        """Note a problem; a second one with the same words is ignored.

        Args:
            where: The place; its text is shown.
            what: What is wrong.
            hint: What to write instead.
        """
        self._found[Problem(str(where), what, hint)] = None

    def raise_any(self, repo: str) -> None:
        """Raise the problems, if there are any.

        Args:
            repo: The feature repo's name.

        Raises:
            DefinitionError: There is at least one problem; the message lists them all.
        """
        problems = list(self._found)
        if len(problems) == 1:
            only = problems[0]
            msg = f"{only.where}: {only.what}"
            raise DefinitionError(msg, hint=only.hint)
        if problems:
            listed = "\n".join(str(problem) for problem in problems)
            msg = f"{len(problems)} definitions in {repo} cannot work:\n{listed}"
            raise DefinitionError(msg)
