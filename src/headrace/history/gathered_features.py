"""Aggregates that do not add up: the events that count at each row are gathered, and the stream's own code aggregates them.

Each event's state was made once. The (row, event) pairs come a portion at a time, sorted by row; a portion picks the states of its pairs and merges
every row's run of them, as a record's tiles are merged at lookup. Where an entity's windows hold many events, blocks of them are merged once for all
rows (`blocks.py`). States are canonical, so one pass over the events, blocks of them and the stream's tiles come to the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from headrace.aggregates import At, BoolArray, Cells, IntArray, Order, State, Values, aggregate_of, cells_of
from headrace.events.columns import decimal_of
from headrace.events.event_batch import ARROW_TYPES
from headrace.history.cell_values import FeatureCells
from headrace.history.column_cache import Held
from headrace.history.join_plan import Group, ViewMatch
from headrace.history.log_events import Events
from headrace.history.merged_blocks import Blocks, Items, expanded
from headrace.history.timeline import Rows, Timeline
from headrace.history.view_features import Deal, deals
from headrace.plan import DType, Feature
from headrace.windows import Accumulator, accumulated

__all__ = ["Gatherer", "Pairs", "gather_features", "run_starts", "typed_cells"]

_PAIRS = 1_000_000
"""About how many pairs are aggregated at a time."""

_DENSE = 4
"""From how many pairs per event on an entity's events are merged in blocks."""

_SETTLE_US = 10_000_000
"""Events known within ten seconds are merged in blocks; the last ten seconds before a row are looked at one by one."""


class Pairs(NamedTuple):
    """Rows and the events that count at them.

    Attributes:
        row: Each row's pairs stand together, shape (pairs,).
        event: The events' numbers, or those of blocks behind them.
        starts: Where each row's run starts.
    """

    row: IntArray
    event: IntArray
    starts: IntArray


def gather_features(
    match: ViewMatch, events: Events, key_id: IntArray, t_us: IntArray, entities: int
) -> dict[str, FeatureCells]:
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
    found: dict[str, FeatureCells] = {}
    for group in match.gathered:
        columns = {name: _values(events, name) for feature in group.features for name in feature.columns}
        gatherer = Gatherer(match, group, columns, order)
        for deal in dealt:
            _gather(held, deal(), group, gatherer)
        for feature, values in gatherer.values(t_us):
            found[feature.name] = typed_cells(values, feature.dtype)
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
        self._pools = dict(self._single)

    def pool(self, blocks: Blocks | None) -> None:
        """Have the states of blocks behind those of single events."""
        for name, accumulator in self._accumulators.items():
            single = self._single[name]
            self._pools[name] = single if blocks is None else blocks.pooled(accumulator.aggregate, single)

    def add(self, pairs: Pairs) -> None:
        """Merge the states of some rows, whose pairs are all here."""
        if not len(pairs.row):
            return
        for name, accumulator in self._accumulators.items():
            picked = tuple(column[pairs.event] for column in self._pools[name])
            merged = accumulator.aggregate.merge(picked, pairs.starts)
            self._filled[name].append((pairs.row[pairs.starts], merged))

    def values(self, t_us: IntArray) -> Iterator[tuple[Feature, Cells]]:
        """Each feature's values at the rows' moments."""
        for feature in self._group.features:
            aggregate = self._accumulators[feature.name].aggregate
            state = aggregate.init(len(t_us))
            for rows, merged in self._filled[feature.name]:
                for whole, part in zip(state, merged, strict=True):
                    whole[rows] = part
            yield feature, cells_of(aggregate, state, At(t_us, feature.window_us))


def run_starts(sorted_ids: IntArray) -> IntArray:
    """Where the runs of equal numbers start."""
    return np.flatnonzero(np.append(True, sorted_ids[1:] != sorted_ids[:-1])[: len(sorted_ids)])


def typed_cells(values: Cells, dtype: DType) -> FeatureCells:
    """Results as an Arrow array of a feature's type, with the cells that cannot be given."""
    return FeatureCells(_typed_array(values, dtype), values.problems)


def _typed_array(values: Cells, dtype: DType) -> pa.Array:
    wanted = ARROW_TYPES[dtype]
    data: list[Any] = values.data.tolist()
    if dtype in (DType.BOOL, DType.BOOL_LIST):
        data = [bool(value) if dtype is DType.BOOL else _bools(value) for value in data]
    listed = [value if ok else None for value, ok in zip(data, values.valid.tolist(), strict=True)]
    if dtype.scale is not None:
        return pa.array([None if value is None else decimal_of(value, dtype.scale) for value in listed], wanted)
    if dtype is DType.TIMESTAMP:
        return pa.array(listed, pa.int64()).cast(wanted)
    if dtype is DType.TIMESTAMP_LIST:
        return pa.array(listed, pa.list_(pa.int64())).cast(wanted)
    return pa.array(listed, wanted)


def _gather(held: Held, deal: Deal, group: Group, gatherer: Gatherer) -> None:
    """Merge what counts at a shard's rows: event by event where windows hold few, else by blocks."""
    rows = deal.rows
    # In order of positions too: doubles are merged in one order, however entities were dealt.
    line = Timeline(held, deal.number, deal.key, rows, in_order=True, settle_us=_SETTLE_US)
    start, end = line.candidates(group)
    entities = int(rows.key.max()) + 1
    pairs_of = np.bincount(rows.key, weights=np.maximum(end - start, 0), minlength=entities)
    dense = pairs_of > _DENSE * np.bincount(line.key, minlength=entities)
    few = np.flatnonzero(~dense[rows.key])
    for some in _portions(few, (end - start)[few]):
        of_row, place = expanded(start[some], end[some])
        gatherer.add(_pairs(rows, _known(held, line, Items(some[of_row], place))))
    if dense.any():
        _gather_dense(held, line, _Ranges(start, line.reach(group).settled, end), dense, gatherer)


class _Ranges(NamedTuple):
    """By row, where its window opens, where it ends for the frame, and where events end that can count."""

    start: IntArray
    settled: IntArray
    end: IntArray


def _gather_dense(held: Held, line: Timeline, ranges: _Ranges, dense: BoolArray, gatherer: Gatherer) -> None:
    """Merge what counts at the rows of some entities: blocks of what the frame holds, and the other events one by one."""
    rows, mine = line.rows, dense[line.key]
    framed = np.flatnonzero(mine if line.in_frame is None else mine & line.in_frame)
    others = np.zeros(0, np.int64) if line.in_frame is None else np.flatnonzero(mine & ~line.in_frame)
    every = np.flatnonzero(dense[rows.key])
    start, settled = ranges.start[every], np.maximum(ranges.settled, ranges.start)[every]
    first, last = np.searchsorted(framed, start), np.searchsorted(framed, settled)
    other_first, other_last = np.searchsorted(others, start), np.searchsorted(others, settled)
    end = ranges.end[every]
    longest = int((last - first).max(initial=0))
    blocks = Blocks(line.number[framed], line.key[framed], len(dense), longest, len(held.key_id))
    gatherer.pool(blocks)
    single = np.maximum(end - settled, 0) + (other_last - other_first) + 2 * max(1, longest.bit_length())
    for some in _portions(np.arange(len(every)), single):
        row = every[some]
        of_other, other = expanded(other_first[some], other_last[some])
        of_recent, recent = expanded(settled[some], end[some])
        candidates = Items(row[np.append(of_other, of_recent)], np.append(others[other], recent))
        whole = blocks.items(row, rows.key[row], first[some], last[some])
        gatherer.add(_pairs(rows, whole, _known(held, line, candidates)))
    gatherer.pool(None)


def _portions(rows: IntArray, sizes: IntArray) -> Iterator[IntArray]:
    """Rows in portions of about so many pairs."""
    total = np.cumsum(sizes)
    first = 0
    while first < len(rows):
        reach = (int(total[first - 1]) if first else 0) + _PAIRS
        after = max(first + 1, int(np.searchsorted(total, reach, side="right")))
        yield rows[first:after]
        first = after


def _known(held: Held, line: Timeline, candidates: Items) -> Items:
    """Of rows and places in the timeline, the rows and events' numbers where the event is known."""
    number = line.number[candidates.at]
    known = held.known_us[number] <= line.rows.t_us[candidates.row]
    return Items(candidates.row[known], number[known])


def _pairs(rows: Rows, *items: Items) -> Pairs:
    """Items by row."""
    row, at = (np.concatenate(parts) for parts in zip(*items, strict=True))
    if len(items) > 1:
        order = np.argsort(row, kind="stable")
        row, at = row[order], at[order]
    return Pairs(rows.spine_row[row], at, run_starts(row))


def _values(events: Events, column: str) -> Values:
    data, valid = events.cells(column)
    return Values(data, np.ones(len(data), np.bool_) if valid is None else valid)


def _bools(value: object) -> list[bool]:
    return [bool(one) for one in value] if isinstance(value, list) else []
