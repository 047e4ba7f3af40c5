"""Running totals: what counts at a moment, where what counts can be added up.

A lifetime only grows, so the state at a moment is that of everything known before. In a window, an event adds itself at
the moment it starts to count and takes itself away at the moment it stops: the state of a count or a sum is the running
total of both, exact whatever the delays were.
"""
# ruff: noqa: S608  (values are numbers, names are quoted, and the user's data enters as tables)

from __future__ import annotations

from headrace.history.builder import QueryBuilder
from headrace.history.matching import Group
from headrace.history.text import quoted, selected

__all__ = ["add_lifetime", "add_swept"]


def add_lifetime(query: QueryBuilder, group: Group) -> None:
    """All states of a lifetime."""
    columns, n = query.columns(group.states), group.number
    query.add(
        f"steps_{n}",
        f"""\
SELECT
{selected("key_id", "known_at_us AS at_us", (f"{c.merge}({c.value}) AS {quoted(c.name)}" for c in columns))}
FROM events
GROUP BY key_id, known_at_us""",
    )
    running = query.add(
        f"running_{n}",
        f"""\
SELECT
{selected("key_id", "at_us", (f"{c.merge}({quoted(c.name)}) OVER so_far AS {quoted(c.name)}" for c in columns))}
FROM steps_{n}
WINDOW so_far AS (PARTITION BY key_id ORDER BY at_us ROWS UNBOUNDED PRECEDING)""",
    )
    query.join_at_moment(group, columns, running)


def add_swept(query: QueryBuilder, group: Group) -> None:
    """The counts and sums of a window."""
    columns = query.columns(group.totals)
    if not columns:
        return
    n, slide, window = group.number, group.slide_us, group.window_us
    query.add(
        f"active_{n}",  # from when an event counts, and until before when
        f"""\
SELECT
    *,
    greatest(known_at_us, tile_start(ts_us, {slide})) AS active_from_us,
    tile_start(ts_us, {slide}) + {window} AS active_until_us
FROM events
WHERE known_at_us < tile_start(ts_us, {slide}) + {window}""",
    )
    query.add(
        f"changes_{n}",
        f"""\
SELECT
{selected("key_id", "active_from_us AS at_us", (f"{c.value} AS {quoted(c.name)}" for c in columns))}
FROM active_{n}
UNION ALL
SELECT
{selected("key_id", "active_until_us", (f"-{c.value}" for c in columns))}
FROM active_{n}""",
    )
    query.add(
        f"steps_{n}",
        f"""\
SELECT
{selected("key_id", "at_us", (c.merged for c in columns))}
FROM changes_{n}
GROUP BY key_id, at_us""",
    )
    running = query.add(
        f"running_{n}",
        f"""\
SELECT
{selected("key_id", "at_us", (f"sum({quoted(c.name)}) OVER so_far AS {quoted(c.name)}" for c in columns))}
FROM steps_{n}
WINDOW so_far AS (PARTITION BY key_id ORDER BY at_us ROWS UNBOUNDED PRECEDING)""",
    )
    query.join_at_moment(group, columns, running)
