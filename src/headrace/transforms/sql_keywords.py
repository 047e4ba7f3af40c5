"""Keywords of DuckDB's SQL as field names: a field called `at`, `order` or `end` needs double quotes."""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import combinations

import duckdb

__all__ = ["with_names_quoted"]

_MOST = 6
_TOKENS = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*|/\*.*?\*/|\$\$.*?\$\$|[A-Za-z_]\w*""", re.DOTALL)


def with_names_quoted(sql: str, names: Iterable[str]) -> str | None:
    """Put names in double quotes so that SQL that does not parse does.

    Args:
        sql: Statements.
        names: The names of columns.

    Returns:
        The SQL that parses; None if quotes do not help, or if the SQL parses without them.
    """
    if _parses(sql):
        return None
    wanted = {name.lower() for name in names}
    places = [one for one in _TOKENS.finditer(sql) if one.group().lower() in wanted][:_MOST]
    # Most likely all of them are names; if not, as many as possible: in `at AT TIME ZONE` one is.
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
