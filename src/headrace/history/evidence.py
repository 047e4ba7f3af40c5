"""What a lookup knew, by its evidence: an event counts where the lookup's record had applied its offset."""
# ruff: noqa: S608  (values are numbers, names are quoted, and the user's data enters as tables)

from __future__ import annotations

from headrace.history.evidence_query_builder import QueryBuilder
from headrace.history.join_plan import Group
from headrace.history.sql_text import quoted, selected

__all__ = ["add_lifetime_by_evidence", "add_window_by_evidence", "pairs_sql"]


def add_lifetime_by_evidence(query: QueryBuilder, group: Group) -> None:
    """All states of a lifetime: running totals over each source partition's offsets, merged over partitions."""
    columns, n = query.columns(group.states), group.number
    running = (f"{c.merge}({c.value}) OVER so_far AS {quoted(c.name)}" for c in columns)
    query.add(
        f"running_{n}",
        f"""\
SELECT
{selected("key_id", "source_partition", "source_offset", running)}
FROM events
WINDOW so_far AS (PARTITION BY key_id, source_partition ORDER BY source_offset ROWS UNBOUNDED PRECEDING)""",
    )
    counted = query.add(
        f"counted_{n}",
        f"""\
SELECT
{selected("v.moment_id", (c.merged for c in columns))}
FROM (SELECT * FROM evidence JOIN moments USING (moment_id)) AS v
ASOF JOIN running_{n} AS r
    ON r.key_id = v.key_id AND r.source_partition = v.source_partition AND r.source_offset <= v.applied_offset
GROUP BY v.moment_id""",
    )
    query.join_by_moment(group, columns, counted)


def add_window_by_evidence(query: QueryBuilder, group: Group) -> None:
    """All states of a window: each moment meets the events of its window one by one."""
    columns = query.columns(group.states)
    n, slide, window = group.number, group.slide_us, group.window_us
    query.add(
        f"windows_{n}",
        f"""\
SELECT
    moment_id,
    key_id,
    tile_start(t_us, {slide}) + ({group.opens_us}) AS from_us,
    tile_start(t_us, {slide}) + {slide} AS until_us
FROM moments""",
    )
    counted = query.add(
        f"counted_{n}",  # time is cut into stretches as long as the window, so that events and windows meet by equality
        f"""\
SELECT
{selected("w.moment_id", (f"{c.merge}({c.value}) AS {quoted(c.name)}" for c in columns))}
FROM (
    SELECT *, unnest(list_distinct([tile_start(from_us, {window}), tile_start(until_us - 1, {window})])) AS stretch
    FROM windows_{n}
) AS w
JOIN (SELECT *, tile_start(ts_us, {window}) AS stretch FROM events) AS e
    ON e.key_id = w.key_id AND e.stretch = w.stretch AND e.ts_us >= w.from_us AND e.ts_us < w.until_us
JOIN evidence AS v
    ON v.moment_id = w.moment_id AND v.source_partition = e.source_partition AND v.applied_offset >= e.source_offset
GROUP BY w.moment_id""",
    )
    query.join_by_moment(group, columns, counted)


def pairs_sql(group: Group) -> str:
    """SQL of a group's (moment_id, event_row) pairs, by moment."""
    moments, events, within = "moments", "events", ""
    if group.window_us is not None:
        slide, window = group.slide_us, group.window_us
        edges = [(group.opens_us, "from_us"), (group.closes_us, "until_us")]
        bounds = (f"tile_start(t_us, {slide}) + ({at}) AS {name}" for at, name in edges)
        # Time is cut into stretches as long as the window, so that events and windows meet by equality.
        stretches = (
            f"unnest(list_distinct([tile_start(from_us, {window}), tile_start(until_us - 1, {window})])) AS stretch"
        )
        moments = f"(SELECT *, {stretches} FROM (SELECT *, {', '.join(bounds)} FROM moments))"
        events = f"(SELECT *, tile_start(ts_us, {window}) AS stretch FROM events)"
        within = " AND e.stretch = m.stretch AND e.ts_us >= m.from_us AND e.ts_us < m.until_us"
    return f"""\
SELECT m.moment_id, e.event_row
FROM {moments} AS m
JOIN {events} AS e ON e.key_id = m.key_id{within}
JOIN evidence AS v ON v.moment_id = m.moment_id AND v.source_partition = e.source_partition
WHERE v.applied_offset >= e.source_offset
ORDER BY m.moment_id, e.event_row"""
