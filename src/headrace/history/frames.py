"""Frames and gaps: the least, the greatest and the last of a window, from which an event cannot be taken away.

Most of what counts lies in a frame over event time, from where the window opens to `settle_us` before the moment: an
event that old, whose delay was at most that, is surely known. The rest counts during a gap: an event between becoming
known and being reached by the frame, and an event that came later than `settle_us` in all the time that it counts. A
gap is a run of the entity's moments. It is cut into aligned blocks of 1, 2, 4, 8… moments, and each moment looks at the
blocks it lies in, so that a long gap costs little more than a short one.

    moments    0 1 2 3 4 5 6 7 8 9
    gap              ├───────┤          moments 3 to 6
    blocks           3 └─┬─┘ 6          3 alone, 4 and 5 together, 6 alone
"""
# ruff: noqa: S608  (values are numbers, names are quoted, and the user's data enters as tables)

from __future__ import annotations

from collections.abc import Sequence

from headrace.history.builder import QueryBuilder
from headrace.history.matching import Group
from headrace.history.states import StateColumn
from headrace.history.text import quoted, selected

__all__ = ["add_framed"]


def add_framed(query: QueryBuilder, group: Group) -> None:
    """The least, greatest and last of a window."""
    columns = query.columns(group.extremes)
    if not columns:
        return
    _add_frame(query, group, columns)
    if query.delays.gaps:
        _add_gaps(query, group, columns)
        _add_blocks(query, group, columns)


def _add_frame(query: QueryBuilder, group: Group, columns: Sequence[StateColumn]) -> None:
    n, slide, settle = group.number, group.slide_us, query.delays.settle_us
    reach = f"t_us - tile_start(t_us, {slide}) - ({group.opens_us})"
    query.add(
        f"timeline_{n}",  # the events, and among them the moments, each looking back to where its window opens
        f"""\
SELECT
{selected("key_id", "ts_us AS at_us", "NULL AS moment_id", "0 AS reach_us", _values(columns))}
FROM events
WHERE known_at_us - ts_us <= {settle}
UNION ALL
SELECT
{selected("key_id", "t_us", "moment_id", reach, ["NULL"] * len(columns))}
FROM moments""",
    )
    frame_end = f"{settle} PRECEDING" if settle else "CURRENT ROW"
    framed = query.add(
        f"framed_{n}",
        f"""\
SELECT
{selected("moment_id", (f"{c.merge}({quoted(c.name)}) OVER frame AS {quoted(c.name)}" for c in columns))}
FROM timeline_{n}
WINDOW frame AS (PARTITION BY key_id ORDER BY at_us RANGE BETWEEN reach_us PRECEDING AND {frame_end})
QUALIFY moment_id IS NOT NULL""",
    )
    query.join_by_moment(group, columns, framed)


def _add_gaps(query: QueryBuilder, group: Group, columns: Sequence[StateColumn]) -> None:
    n, slide, window, settle = group.number, group.slide_us, group.window_us, query.delays.settle_us
    starts = f"greatest(known_at_us, tile_start(ts_us, {slide}))"
    reached = f"CASE WHEN known_at_us - ts_us <= {settle} THEN ts_us + {settle} END"
    ends = f"least(tile_start(ts_us, {slide}) + {window}, {reached})"
    query.add(
        f"gaps_{n}",  # from when an event counts unreached by the frame, and until before when
        f"""\
SELECT
{selected("key_id", f"{starts} AS gap_from_us", f"{ends} AS gap_until_us", _values(columns))}
FROM events
WHERE known_at_us <> ts_us + {settle}""",
    )
    query.add(
        f"runs_{n}",  # the same as ranks of the entity's moments: from first_rank to before end_rank
        f"""\
SELECT gap.*, coalesce(before.rank + 1, 0) AS first_rank, coalesce(last.rank + 1, 0) AS end_rank
FROM gaps_{n} AS gap
ASOF LEFT JOIN ranked AS before ON before.key_id = gap.key_id AND before.t_us < gap.gap_from_us
ASOF LEFT JOIN ranked AS last ON last.key_id = gap.key_id AND last.t_us < gap.gap_until_us""",
    )


def _add_blocks(query: QueryBuilder, group: Group, columns: Sequence[StateColumn]) -> None:
    n, names = group.number, [quoted(c.name) for c in columns]
    head, tail = "(first_rank + (1 << level) - 1) >> level AS head", "end_rank >> level AS tail"
    query.add(
        f"levels_{n}",  # at each level, the whole blocks of 1 << level ranks in a run: from head to before tail
        f"""\
SELECT
{selected("key_id", "level", head, tail, names)}
FROM (
    SELECT *, unnest(range(CAST(floor(log2(end_rank - first_rank)) AS BIGINT) + 1)) AS level
    FROM runs_{n}
    WHERE first_rank < end_rank
)""",
    )
    query.add(
        f"blocks_{n}",  # of which those are taken that no block of the next level covers
        f"""\
SELECT
{selected("key_id", "level", "block", (c.merged for c in columns))}
FROM (
    SELECT *, head AS block FROM levels_{n} WHERE head < tail AND head % 2 = 1
    UNION ALL
    SELECT *, tail - 1 AS block FROM levels_{n} WHERE head < tail AND tail % 2 = 1
)
GROUP BY key_id, level, block""",
    )
    query.add(
        f"looks_{n}",
        f"""\
SELECT moment_id, key_id, level, rank >> level AS block
FROM ranked
CROSS JOIN (SELECT DISTINCT level FROM blocks_{n})""",
        materialized=True,  # else DuckDB joins moments and blocks by entity alone, a hundred times slower
    )
    in_gaps = query.add(
        f"in_gaps_{n}",
        f"""\
SELECT
{selected("moment_id", (c.merged for c in columns))}
FROM looks_{n}
JOIN blocks_{n} USING (key_id, level, block)
GROUP BY moment_id""",
    )
    query.join_by_moment(group, columns, in_gaps)


def _values(columns: Sequence[StateColumn]) -> list[str]:
    return [f"{c.value} AS {quoted(c.name)}" for c in columns]
