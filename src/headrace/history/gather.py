"""Aggregates that do not add up: the events that count at each row are gathered, and the stream's own code aggregates them.

Each event's state was made once. The (row, event) pairs come a portion at a time, sorted by row; a portion picks the states of its pairs and merges
every row's run of them, as a record's tiles are merged at lookup. States are canonical, so one pass over the events and the stream's tiles come to
the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from headrace.aggregates import At, IntArray, Order, State, Values, aggregate_of
from headrace.events.batch import ARROW_TYPES
from headrace.history.compute import Deal, deals
from headrace.history.events import Events
from headrace.history.held import Held
from headrace.history.matching import Group, ViewMatch
from headrace.history.timeline import Timeline
from headrace.plan import DType, Feature
from headrace.windows import Accumulator, accumulated

__all__ = ["Gatherer", "Pairs", "gather_features", "run_starts", "typed_array"]

_PAIRS = 1_000_000
"""About how many pairs are aggregated at a time."""


class Pairs(NamedTuple):
    """Rows and the events that count at them.

    Attributes:
        row: Each row's pairs stand together, shape (pairs,).
        event: The events' numbers.
        starts: Where each row's run starts.
    """

    row: IntArray
    event: IntArray
    starts: IntArray


def gather_features(
    match: ViewMatch, events: Events, key_id: IntArray, t_us: IntArray, entities: int
) -> dict[str, pa.Array]:
    """The gathered features of a view at the rows of a spine.

    Args:
        match: What is asked of the view.
        events: Its events.
        key_id: Each row's entity, shape (rows,).
        t_us: Each row's moment.
        entities: How many entities there are.

    Returns:
        By feature, its values in the rows' order.
    """
    if not match.gathered:
        return {}
    held, order = Held(events, match), Order(events.ts_us, events.position())
    dealt = deals(events, key_id, t_us, entities, 1)
    found: dict[str, pa.Array] = {}
    for group in match.gathered:
        columns = {name: _values(events, name) for feature in group.features for name in feature.columns}
        gatherer = Gatherer(match, group, columns, order)
        for deal in dealt:
            for pairs in _pairs(held, deal(), group):
                gatherer.add(pairs)
        for feature, values in gatherer.values(t_us):
            found[feature.name] = typed_array(values, feature.dtype)
    return found


class Gatherer:
    """The states of a group's features at every row, filled portion by portion.

    Args:
        match: What is asked of the view.
        group: The group.
        columns: The columns of events that its features read.
        order: The events' order.
    """

    def __init__(self, match: ViewMatch, group: Group, columns: Mapping[str, Values], order: Order) -> None:
        self._group = group
        self._accumulators: dict[str, Accumulator] = {}
        self._single: dict[str, State] = {}
        self._filled: dict[str, list[tuple[IntArray, State]]] = {}
        for feature in group.features:
            aggregate = aggregate_of(feature, match.source)
            accumulator = Accumulator(feature.column, aggregate, feature.where)
            read = {name: columns[name] for name in feature.columns}
            self._accumulators[feature.name] = accumulator
            self._single[feature.name] = aggregate.add(accumulated(accumulator, read, order.ts), order)
            self._filled[feature.name] = []

    def add(self, pairs: Pairs) -> None:
        """Merge the events of some rows, whose pairs are all here."""
        for name, accumulator in self._accumulators.items():
            picked = tuple(column[pairs.event] for column in self._single[name])
            merged = accumulator.aggregate.merge(picked, pairs.starts)
            self._filled[name].append((pairs.row[pairs.starts], merged))

    def values(self, t_us: IntArray) -> Iterator[tuple[Feature, Values]]:
        """Each feature's values at the rows' moments."""
        for feature in self._group.features:
            aggregate = self._accumulators[feature.name].aggregate
            state = aggregate.init(len(t_us))
            for rows, merged in self._filled[feature.name]:
                for whole, part in zip(state, merged, strict=True):
                    whole[rows] = part
            yield feature, aggregate.value(state, At(t_us, feature.window_us))


def run_starts(sorted_ids: IntArray) -> IntArray:
    """Where the runs of equal numbers start."""
    return np.flatnonzero(np.append(True, sorted_ids[1:] != sorted_ids[:-1])[: len(sorted_ids)])


def typed_array(values: Values, dtype: DType) -> pa.Array:
    """Results as an Arrow array of a feature's type."""
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


def _pairs(held: Held, deal: Deal, group: Group) -> Iterator[Pairs]:
    """Portions of pairs that hold whole rows."""
    rows = deal.rows
    line = Timeline(held, deal.number, deal.key, rows, in_order=False)
    start, end = line.candidates(group)
    size = np.maximum(end - start, 0)
    total = np.cumsum(size)
    first = 0
    while first < len(size):
        reach = (total[first - 1] if first else 0) + _PAIRS
        after = max(first + 1, int(np.searchsorted(total, reach, side="right")))
        some = size[first:after]
        within = np.arange(some.sum()) - np.repeat(np.cumsum(some) - some, some)
        event = line.number[np.repeat(start[first:after], some) + within]
        row = np.repeat(np.arange(first, after), some)
        known = held.known_us[event] <= rows.t_us[row]
        row = row[known]
        if len(row):
            yield Pairs(rows.spine_row[row], event[known], run_starts(row))
        first = after


def _values(events: Events, column: str) -> Values:
    data, valid = events.cells(column)
    return Values(data, np.ones(len(data), np.bool_) if valid is None else valid)


def _bools(value: object) -> list[bool]:
    return [bool(one) for one in value] if isinstance(value, list) else []
