"""SQL that names a field like a word of SQL's own parses once the name stands in double quotes."""

from __future__ import annotations

import pytest

from headrace.transforms.sql_keywords import with_names_quoted


@pytest.mark.parametrize(
    ("sql", "quoted"),
    [
        (
            "SELECT * REPLACE (at AT TIME ZONE 'UTC' AS at) FROM 'x'",
            "SELECT * REPLACE (\"at\" AT TIME ZONE 'UTC' AS \"at\") FROM 'x'",
        ),
        ("SELECT order FROM t", 'SELECT "order" FROM t'),
        ("SELECT a + end, 'the end' -- end", "SELECT a + \"end\", 'the end' -- end"),
        ('SELECT "at" + at, at FROM t', 'SELECT "at" + "at", "at" FROM t'),
    ],
)
def test_names_are_quoted_so_that_it_parses(sql: str, quoted: str) -> None:
    assert with_names_quoted(sql, ["at", "order", "end", "a"]) in (quoted, quoted.replace("a +", '"a" +'))


@pytest.mark.parametrize("sql", ["SELECT 1 AS at", "SELECT FROM WHERE", "FROM t", "SELECT other FRM t WHERE ("])
def test_what_parses_or_is_no_sql_anyway_is_left_alone(sql: str) -> None:
    assert with_names_quoted(sql, ["at", "other"]) is None
