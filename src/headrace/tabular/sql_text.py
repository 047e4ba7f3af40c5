"""Writing SQL text."""

from __future__ import annotations

import re

__all__ = ["literal", "quoted", "unglobbed"]


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A string as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def unglobbed(path: str) -> str:
    """A path that DuckDB takes literally, though a folder's name may look like a pattern."""
    return re.sub(r"([*?\[])", r"[\1]", path)
