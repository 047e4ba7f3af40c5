"""Aggregates that SQL does not add up: DuckDB finds the events that count at each moment, and the stream's own code aggregates them.

DuckDB joins moments and events and hands over (moment, event) pairs, sorted by moment, a portion at a time. Each event's state was made once;
a portion picks the states of its pairs and merges every moment's run of them, as a record's tiles are merged at lookup. States are canonical, so
one pass over the events and the stream's tiles come to the same.
"""
# ruff: noqa: S608  (values are numbers, names are quoted, and the user's data enters as tables)

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa

from headrace.aggregates import At, IntArray, Order, State, Values, aggregate_of
from headrace.events.batch import ARROW_TYPES, column_values
from headrace.history.matching import AsOf, Group, ViewMatch
from headrace.history.text import value_name
from headrace.plan import DType, Feature
from headrace.windows import Accumulator, accumulated

__all__ = ["gather_features", "pairs_sql"]

_PAIRS = 1_000_000
"""About how many pairs are aggregated at a time."""


def gather_features(con: duckdb.DuckDBPyConnection, match: ViewMatch, as_of: AsOf) -> dict[str, pa.Array]:
    """The gathered features of a view at each row of the spine.

    Args:
        con: Where the view's tables are.
        match: What is asked of the view.
        as_of: By what events are known.

    Returns:
        By feature, its values in the spine's order.
    """
    if not match.gathered:
        return {}
    events = con.sql("SELECT * FROM events ORDER BY event_row").to_arrow_table()
    moments = con.sql("SELECT moment_id, t_us FROM moments ORDER BY moment_id").to_arrow_table()
    asked = con.sql("SELECT moment_id FROM spine_rows ORDER BY spine_row").to_arrow_table()
    moment_ids, t_us = (_ints(moments, name) for name in ("moment_id", "t_us"))
    rows = np.searchsorted(moment_ids, _ints(asked, "moment_id"))
    found: dict[str, pa.Array] = {}
    for group in match.gathered:
        gatherer = _Gatherer(match, group, events)
        for moment, event, starts in _portions(con, pairs_sql(group, as_of)):
            gatherer.add(np.searchsorted(moment_ids, moment), event, starts)
        for feature, values in gatherer.values(t_us):
            found[feature.name] = _arrow(Values(values.data[rows], values.valid[rows]), feature.dtype)
    return found


def pairs_sql(group: Group, as_of: AsOf) -> str:
    """SQL of a group's (moment_id, event_row) pairs, by moment."""
    known, evidence = "e.known_at_us <= m.t_us", ""
    if as_of is AsOf.EVIDENCE:
        known = "v.applied_offset >= e.source_offset"
        evidence = "\nJOIN evidence AS v ON v.moment_id = m.moment_id AND v.source_partition = e.source_partition"
    moments, events, within = "moments", "events", ""
    if group.window_us is not None:
        slide, window = group.slide_us, group.window_us
        bounds = (f"tile_start(t_us, {slide}) + ({at}) AS {name}" for at, name in _edges(group))
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
JOIN {events} AS e ON e.key_id = m.key_id{within}{evidence}
WHERE {known}
ORDER BY m.moment_id, e.event_row"""


def _edges(group: Group) -> list[tuple[int, str]]:
    return [(group.opens_us, "from_us"), (group.closes_us, "until_us")]


class _Gatherer:
    """The states of a group's features at every moment, filled portion by portion."""

    def __init__(self, match: ViewMatch, group: Group, events: pa.Table) -> None:
        self._group = group
        ts_us = _ints(events, "ts_us")
        order = Order(ts_us, _ints(events, "position"))
        self._accumulators: dict[str, Accumulator] = {}
        self._single: dict[str, State] = {}
        self._filled: dict[str, list[tuple[IntArray, State]]] = {}
        for feature in group.features:
            aggregate = aggregate_of(feature, match.source)
            accumulator = Accumulator(feature.column, aggregate, feature.where)
            read = {name: column_values(events.column(value_name(name))) for name in feature.columns}
            self._accumulators[feature.name] = accumulator
            self._single[feature.name] = aggregate.add(accumulated(accumulator, read, ts_us), order)
            self._filled[feature.name] = []

    def add(self, moment: IntArray, event: IntArray, starts: IntArray) -> None:
        """Merge the events of some moments, whose pairs are all here."""
        for name, accumulator in self._accumulators.items():
            picked = tuple(column[event] for column in self._single[name])
            self._filled[name].append((moment[starts], accumulator.aggregate.merge(picked, starts)))

    def values(self, t_us: IntArray) -> Iterator[tuple[Feature, Values]]:
        """Each feature's values at the moments."""
        for feature in self._group.features:
            aggregate = self._accumulators[feature.name].aggregate
            state = aggregate.init(len(t_us))
            for moments, merged in self._filled[feature.name]:
                for whole, part in zip(state, merged, strict=True):
                    whole[moments] = part
            yield feature, aggregate.value(state, At(t_us, feature.window_us))


def _portions(con: duckdb.DuckDBPyConnection, query: str) -> Iterator[tuple[IntArray, IntArray, IntArray]]:
    """Portions of pairs that hold whole moments: moment ids, event rows, and where each moment's run starts."""
    reader: pa.RecordBatchReader = con.sql(query).to_arrow_reader(_PAIRS)
    held = (np.zeros(0, np.int64), np.zeros(0, np.int64))
    for batch in reader:
        moment = np.concatenate([held[0], batch.column(0).to_numpy()])
        event = np.concatenate([held[1], batch.column(1).to_numpy()])
        whole = int(np.searchsorted(moment, moment[-1])) if len(moment) else 0
        if whole:
            yield moment[:whole], event[:whole], _runs(moment[:whole])
        held = (moment[whole:], event[whole:])
    if len(held[0]):
        yield (*held, _runs(held[0]))


def _runs(sorted_ids: IntArray) -> IntArray:
    return np.flatnonzero(np.append(True, sorted_ids[1:] != sorted_ids[:-1]))


def _ints(table: pa.Table, name: str) -> IntArray:
    values: IntArray = table.column(name).to_numpy().astype(np.int64)
    return values


def _arrow(values: Values, dtype: DType) -> pa.Array:
    wanted = ARROW_TYPES[dtype]
    data: list[object] = values.data.tolist()
    if dtype in (DType.BOOL, DType.BOOL_LIST):
        data = [bool(value) if dtype is DType.BOOL else _bools(value) for value in data]
    listed = [value if ok else None for value, ok in zip(data, values.valid.tolist(), strict=True)]
    if dtype is DType.TIMESTAMP:
        return pa.array(listed, pa.int64()).cast(wanted)
    if dtype is DType.TIMESTAMP_LIST:
        return pa.array(listed, pa.list_(pa.int64())).cast(wanted)
    return pa.array(listed, wanted)


def _bools(value: object) -> list[bool]:
    return [bool(one) for one in value] if isinstance(value, list) else []
