"""Names that DuckDB's SQL has for itself: a field called `at`, `order` or `end` is a field only in double quotes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import combinations

import duckdb

__all__ = ["with_names_quoted"]

_MOST = 6
_TOKENS = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$\$.*?\$\$|[A-Za-z_]\w*""", re.DOTALL)


def with_names_quoted(sql: str, names: Iterable[str]) -> str | None:
    """SQL that does not parse, with names in double quotes so that it does.

    Args:
        sql: Statements.
        names: The names that may be meant as columns.

    Returns:
        The SQL that parses; None where this does not help, or the SQL parses anyway.
    """
    if _parses(sql):
        return None
    wanted = {name.lower() for name in names}
    places = [one for one in _TOKENS.finditer(sql) if one.group().lower() in wanted][:_MOST]
    # Most likely all of them are names; else as many as can be: in `at AT TIME ZONE` one is.
    for kept in range(len(places), 0, -1):
        for chosen in combinations(places, kept):
            found = _quoted(sql, chosen)
            if _parses(found):
                return found
    return None


def _quoted(sql: str, places: Iterable[re.Match[str]]) -> str:
    for place in sorted(places, key=lambda one: one.start(), reverse=True):
        sql = f'{sql[: place.start()]}"{place.group()}"{sql[place.end() :]}'
    return sql


def _parses(sql: str) -> bool:
    try:
        duckdb.extract_statements(sql)
    except duckdb.Error:
        return False
    return True
