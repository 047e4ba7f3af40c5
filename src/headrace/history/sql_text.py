"""Writing SQL text."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["indented", "literal", "quoted", "selected", "unglobbed", "value_name"]


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def unglobbed(path: str) -> str:
    """A path that DuckDB takes as it stands, though a folder's name may look like a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", path)


def selected(*items: str | Iterable[str]) -> str:
    """A select list, one item a line.

    Args:
        items: Items, or several at a time.
    """
    every = [item for part in items for item in ([part] if isinstance(part, str) else part)]
    return ",\n".join(f"    {item}" for item in every)


def indented(body: str) -> str:
    """The lines of a statement, four spaces in."""
    return "\n".join(f"    {line}" for line in body.splitlines())


def value_name(column: str) -> str:
    """What an event column is called inside the join, where it cannot be taken for another."""
    return f"value({column})"
