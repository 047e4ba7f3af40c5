"""SQL for one view: from the tables ``moments`` and ``events`` to the value of each feature at each row of the spine.

Counts and sums are swept: an event adds itself at the moment it starts to count and takes itself away when it stops, so their value at a moment is a
running total. That is exact whatever the delays were.

The least, the greatest and the last cannot be taken away again. For them a frame over event time gives what surely counts: events older than
`settle_us` whose delay was at most that. The rest (events that count before the frame reaches them, and those that came later than that)
count during a gap, a run of moments; each gap is cut into aligned blocks of 2, 4, 8… moments, and a moment looks at the blocks it lies in.
"""
# ruff: noqa: S608  (values are numbers, names are quoted; the user's data enters as tables)

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from headrace.history.exact import DoubleShape, scaled_sql
from headrace.history.matching import AsOf, Group, State, StateKind, ViewMatch
from headrace.history.sql import StateColumn, columns_of, quoted, value_name
from headrace.plan import DType, Feature

__all__ = ["Delays", "features_sql"]


@dataclass(frozen=True)
class Delays:
    """How late events became known, and what the join makes of it.

    Attributes:
        settle_us: The delay within which events are found by the frame; later ones are looked up one by one.
        gaps: Whether any event counts where the frame does not find it.
    """

    settle_us: int = 0
    gaps: bool = False


@dataclass
class _Query:
    """A query while it is written: its common table expressions, and where each state's columns are."""

    match: ViewMatch
    as_of: AsOf
    delays: Delays
    shapes: Mapping[str, DoubleShape]
    ctes: list[tuple[str, str]] = field(default_factory=list)
    joins: list[str] = field(default_factory=list)
    places: dict[tuple[int, str], str] = field(default_factory=dict)

    def add(self, name: str, body: str, *, materialized: bool = False) -> str:
        self.ctes.append((f"{name} AS {'MATERIALIZED ' if materialized else ''}", body))
        return name

    def columns(self, states: Sequence[State]) -> list[StateColumn]:
        return columns_of(self.match, states, self.shapes)

    def found_in(self, group: Group, columns: Sequence[StateColumn], table: str) -> None:
        """Note that a table holds a group's columns; where two do, their values are merged."""
        for column in columns:
            here = f"{table}.{quoted(column.name)}"
            before = self.places.get((group.number, column.name))
            merged = here if before is None else f"{'least' if column.merge == 'min' else 'greatest'}({before}, {here})"
            self.places[group.number, column.name] = merged


def features_sql(match: ViewMatch, as_of: AsOf, delays: Delays, shapes: Mapping[str, DoubleShape]) -> str:
    """The query of one view.

    Args:
        match: What is asked of the view.
        as_of: By what events are known.
        delays: How late events became known.
        shapes: How the columns of doubles that are summed are cut into integers.

    Returns:
        SQL whose result has ``spine_row`` and one column per feature, in the order asked for, by ``spine_row``. Sums of integers come as
        HUGEINT, timestamps as microseconds.
    """
    query = _Query(match, as_of, delays, shapes)
    if delays.gaps and any(group.extremes and group.window_us is not None for group in match.groups):
        query.add("ranked", "SELECT *, row_number() OVER (PARTITION BY key_id ORDER BY t_us) - 1 AS rank\nFROM moments")
    for group in match.groups:
        if as_of is AsOf.EVIDENCE:
            (_lifetime_by_evidence if group.window_us is None else _window_by_evidence)(query, group)
        elif group.window_us is None:
            _lifetime(query, group)
        else:
            _swept(query, group)
            _framed(query, group)
    return _finished(query)


def _lifetime(query: _Query, group: Group) -> None:
    columns = query.columns(group.states)
    running = query.add(
        f"running_{group.number}",
        f"""\
SELECT key_id, known_at_us AS at_us,{_listed(f"{c.merge}({c.merge}({c.value})) OVER so_far AS {quoted(c.name)}" for c in columns)}
FROM events
GROUP BY key_id, known_at_us
WINDOW so_far AS (PARTITION BY key_id ORDER BY known_at_us ROWS UNBOUNDED PRECEDING)""",
    )
    query.joins.append(f"ASOF LEFT JOIN {running} ON {running}.key_id = m.key_id AND {running}.at_us <= m.t_us")
    query.found_in(group, columns, running)


def _swept(query: _Query, group: Group) -> None:
    columns = query.columns(group.totals)
    if not columns:
        return
    n, slide, window = group.number, group.slide_us, group.window_us
    query.add(
        f"active_{n}",  # when each event counts
        f"""\
SELECT *, greatest(known_at_us, tile_start(ts_us, {slide})) AS active_from_us, tile_start(ts_us, {slide}) + {window} AS active_until_us
FROM events
WHERE known_at_us < tile_start(ts_us, {slide}) + {window}""",
    )
    query.add(
        f"changes_{n}",
        f"""\
SELECT *, active_from_us AS at_us, 1 AS sign FROM active_{n}
UNION ALL
SELECT *, active_until_us AS at_us, -1 AS sign FROM active_{n}""",
    )
    query.add(
        f"steps_{n}",
        f"""\
SELECT key_id, at_us,{_listed(f"sum({_signed(c)}) AS {quoted(c.name)}" for c in columns)}
FROM changes_{n}
GROUP BY key_id, at_us""",
    )
    running = query.add(
        f"running_{n}",
        f"""\
SELECT key_id, at_us,{_listed(f"sum({quoted(c.name)}) OVER so_far AS {quoted(c.name)}" for c in columns)}
FROM steps_{n}
WINDOW so_far AS (PARTITION BY key_id ORDER BY at_us ROWS UNBOUNDED PRECEDING)""",
    )
    query.joins.append(f"ASOF LEFT JOIN {running} ON {running}.key_id = m.key_id AND {running}.at_us <= m.t_us")
    query.found_in(group, columns, running)


def _signed(column: StateColumn) -> str:
    return "sign" if column.value == "1" else f"sign * {column.value}"


def _framed(query: _Query, group: Group) -> None:
    columns = query.columns(group.extremes)
    if not columns:
        return
    n, slide, settle = group.number, group.slide_us, query.delays.settle_us
    names = _listed(quoted(c.name) for c in columns)
    frame_end = f"{settle} PRECEDING" if settle else "CURRENT ROW"
    query.add(
        f"timeline_{n}",  # events, and among them the moments, which look back to the start of their window
        f"""\
SELECT key_id, ts_us AS at_us, NULL AS moment_id, 0 AS reach_us,{_listed(f"{c.value} AS {quoted(c.name)}" for c in columns)}
FROM events
WHERE known_at_us - ts_us <= {settle}
UNION ALL
SELECT key_id, t_us, moment_id, t_us - (tile_start(t_us, {slide}) + {group.opens_us}),{_listed("NULL" for _ in columns)}
FROM moments""",
    )
    framed = query.add(
        f"framed_{n}",
        f"""\
SELECT moment_id,{_listed(f"{c.merge}({quoted(c.name)}) OVER frame AS {quoted(c.name)}" for c in columns)}
FROM timeline_{n}
WINDOW frame AS (PARTITION BY key_id ORDER BY at_us RANGE BETWEEN reach_us PRECEDING AND {frame_end})
QUALIFY moment_id IS NOT NULL""",
    )
    query.joins.append(f"LEFT JOIN {framed} ON {framed}.moment_id = m.moment_id")
    query.found_in(group, columns, framed)
    if query.delays.gaps:
        _in_gaps(query, group, columns, names)


def _in_gaps(query: _Query, group: Group, columns: Sequence[StateColumn], names: str) -> None:
    n, slide, window, settle = group.number, group.slide_us, group.window_us, query.delays.settle_us
    query.add(
        f"gaps_{n}",  # from when to when an event counts although the frame does not find it
        f"""\
SELECT
    key_id,
    greatest(known_at_us, tile_start(ts_us, {slide})) AS gap_from_us,
    least(tile_start(ts_us, {slide}) + {window}, CASE WHEN known_at_us - ts_us <= {settle} THEN ts_us + {
            settle
        } END) AS gap_until_us,{_listed(f"{c.value} AS {quoted(c.name)}" for c in columns)}
FROM events
WHERE known_at_us <> ts_us{"" if not settle else " + " + str(settle)}""",
    )
    query.add(
        f"runs_{n}",  # the gap as a run of the entity's moments, by rank: from first_rank to before end_rank
        f"""\
SELECT gap.*, coalesce(before.rank + 1, 0) AS first_rank, coalesce(last.rank + 1, 0) AS end_rank
FROM gaps_{n} AS gap
ASOF LEFT JOIN ranked AS before ON before.key_id = gap.key_id AND before.t_us < gap.gap_from_us
ASOF LEFT JOIN ranked AS last ON last.key_id = gap.key_id AND last.t_us < gap.gap_until_us""",
    )
    query.add(
        f"levels_{n}",
        f"""\
SELECT key_id, level, (first_rank + (1 << level) - 1) >> level AS head, end_rank >> level AS tail,{names}
FROM (SELECT *, unnest(range(CAST(floor(log2(end_rank - first_rank)) AS BIGINT) + 1)) AS level FROM runs_{n} WHERE first_rank < end_rank)""",
    )
    query.add(
        f"blocks_{n}",  # block b of a level holds the ranks from b << level to before (b + 1) << level
        f"""\
SELECT key_id, level, block,{_listed(f"{c.merge}({quoted(c.name)}) AS {quoted(c.name)}" for c in columns)}
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
        materialized=True,  # else DuckDB joins moments and blocks by entity alone
    )
    in_gaps = query.add(
        f"in_gaps_{n}",
        f"""\
SELECT l.moment_id,{_listed(f"{c.merge}(b.{quoted(c.name)}) AS {quoted(c.name)}" for c in columns)}
FROM looks_{n} AS l
JOIN blocks_{n} AS b ON b.key_id = l.key_id AND b.level = l.level AND b.block = l.block
GROUP BY l.moment_id""",
    )
    query.joins.append(f"LEFT JOIN {in_gaps} ON {in_gaps}.moment_id = m.moment_id")
    query.found_in(group, columns, in_gaps)


def _window_by_evidence(query: _Query, group: Group) -> None:
    columns = query.columns(group.states)
    n, slide, window = group.number, group.slide_us, group.window_us
    query.add(
        f"windows_{n}",
        f"""\
SELECT moment_id, key_id, tile_start(t_us, {slide}) + {group.opens_us} AS from_us, tile_start(t_us, {slide}) + {slide} AS until_us
FROM moments""",
    )
    counted = query.add(
        f"counted_{n}",  # time is cut into stretches as long as the window, so that events and windows meet by equality
        f"""\
SELECT w.moment_id,{_listed(f"{c.merge}({c.value}) AS {quoted(c.name)}" for c in columns)}
FROM (
    SELECT *, unnest(list_distinct([tile_start(from_us, {window}), tile_start(until_us - 1, {window})])) AS stretch
    FROM windows_{n}
) AS w
JOIN (SELECT *, tile_start(ts_us, {window}) AS stretch FROM events) AS e
    ON e.key_id = w.key_id AND e.stretch = w.stretch AND e.ts_us >= w.from_us AND e.ts_us < w.until_us
JOIN evidence AS v
    ON v.moment_id = w.moment_id AND v.source_partition = e.source_partition AND e.source_offset <= v.applied_offset
GROUP BY w.moment_id""",
    )
    query.joins.append(f"LEFT JOIN {counted} ON {counted}.moment_id = m.moment_id")
    query.found_in(group, columns, counted)


def _lifetime_by_evidence(query: _Query, group: Group) -> None:
    columns = query.columns(group.states)
    n = group.number
    query.add(
        f"running_{n}",
        f"""\
SELECT key_id, source_partition, source_offset,{_listed(f"{c.merge}({c.value}) OVER so_far AS {quoted(c.name)}" for c in columns)}
FROM events
WINDOW so_far AS (PARTITION BY key_id, source_partition ORDER BY source_offset ROWS UNBOUNDED PRECEDING)""",
    )
    counted = query.add(
        f"counted_{n}",
        f"""\
SELECT v.moment_id,{_listed(f"{c.merge}(r.{quoted(c.name)}) AS {quoted(c.name)}" for c in columns)}
FROM (SELECT * FROM evidence JOIN moments USING (moment_id)) AS v
ASOF JOIN running_{n} AS r
    ON r.key_id = v.key_id AND r.source_partition = v.source_partition AND r.source_offset <= v.applied_offset
GROUP BY v.moment_id""",
    )
    query.joins.append(f"LEFT JOIN {counted} ON {counted}.moment_id = m.moment_id")
    query.found_in(group, columns, counted)


def _finished(query: _Query) -> str:
    by_name = {id(feature): group for group in query.match.groups for feature in group.features}
    read: list[str] = []
    fetched: list[str] = []
    values: list[str] = []
    for number, feature in enumerate(query.match.features, 1):
        name = f"feature_{number}"
        read.append(f"{_read_off(query, by_name[id(feature)], feature)} AS {name}")
        if feature.function == "last":  # the event is known by its number; its value is fetched now
            fetched.append(f"LEFT JOIN events AS last_{number} ON last_{number}.event_seq = f.{name}")
            values.append(f"last_{number}.{quoted(value_name(feature.column))} AS {quoted(feature.name)}")
        else:
            values.append(f"f.{name} AS {quoted(feature.name)}")
    query.add(
        "features",
        f"SELECT m.moment_id,{_listed(read)}\nFROM moments AS m{''.join(chr(10) + join for join in query.joins)}",
    )
    ctes = ",\n".join(f"{name}(\n{_indented(body)}\n)" for name, body in query.ctes)
    joined = "".join(f"\n{join}" for join in fetched)
    return f"""\
WITH
{ctes}
SELECT s.spine_row,{_listed(values)}
FROM spine_rows AS s
JOIN features AS f ON f.moment_id = s.moment_id{joined}
ORDER BY s.spine_row"""


def _read_off(query: _Query, group: Group, feature: Feature) -> str:
    """SQL of a feature from its group's states."""
    place = {name: where for (number, name), where in query.places.items() if number == group.number}
    column = feature.column
    if feature.function == "count":
        return f"CAST(coalesce({place['rows' if column == '*' else f'count({column})']}, 0) AS BIGINT)"
    if feature.function in ("sum", "mean"):
        total = _total(place, column, query.shapes.get(column))
        if feature.function == "sum":
            return total
        count = place[f"count({column})"]
        return f"CASE WHEN {count} > 0 THEN CAST({total} AS DOUBLE) / {count} END"
    value = place[f"{feature.function}({column})"]
    is_bool = query.match.source.column(column).dtype is DType.BOOL
    return f"CAST({value} AS BOOLEAN)" if is_bool and feature.function != StateKind.LAST else value


def _total(place: Mapping[str, str], column: str, shape: DoubleShape | None) -> str:
    name = f"sum({column})"
    if shape is None:
        return f"coalesce({place[name]}, 0)"
    names = [name] if shape.limbs == 1 else [f"{name} limb {limb}" for limb in reversed(range(shape.limbs))]
    exponents = [shape.exponent_of(limb) for limb in reversed(range(shape.limbs))]
    total = " + ".join(
        scaled_sql(f"CAST(coalesce({place[part]}, 0) AS DOUBLE)", exponent)
        for part, exponent in zip(names, exponents, strict=True)
    )
    if shape.finite:
        return total if shape.limbs == 1 else f"({total})"
    nan, up, down = (place[f"{name} {what}"] for what in ("nan", "+inf", "-inf"))
    return (
        f"CASE WHEN {nan} > 0 OR ({up} > 0 AND {down} > 0) THEN CAST('nan' AS DOUBLE) "
        f"WHEN {up} > 0 THEN CAST('inf' AS DOUBLE) WHEN {down} > 0 THEN CAST('-inf' AS DOUBLE) ELSE {total} END"
    )


def _listed(items: Iterable[str]) -> str:
    return ",".join(f"\n    {item}" for item in items)


def _indented(body: str) -> str:
    return "\n".join(f"    {line}" for line in body.splitlines())
