"""Aggregates that do not add up: the events of each row are gathered, and the stream's own code aggregates them.

Each event's state is made once. The (row, event) pairs come in chunks. A chunk picks the states of its pairs and merges
each row's run of them, as a record's tiles are merged at lookup. Where an entity's windows hold many events, blocks of
them are merged once for all rows (`merged_blocks.py`). States are canonical, so one pass over the events, blocks of
them and the stream's tiles give the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.aggregates import At, BoolArray, Cells, IntArray, Order, State, Values, aggregate_of, cells_of
from headrace.events.columns import decimal_of
from headrace.events.event_batch import ARROW_TYPES
from headrace.history.cell_values import FeatureCells
from headrace.history.column_cache import ColumnCache
from headrace.history.join_plan import Group, JoinPlan
from headrace.history.limits import Limits
from headrace.history.log_events import Events
from headrace.history.merged_blocks import Blocks
from headrace.history.shards import Asked, deals
from headrace.history.timeline import Items, Singles, Timeline, chunks_of, counted, expanded
from headrace.plan import DType, Feature
from headrace.windows import Accumulator, accumulated

__all__ = ["gather_features"]


def gather_features(plan: JoinPlan, events: Events, asked: Asked, limits: Limits) -> dict[str, FeatureCells]:
    """The gathered features of a view at the rows of a spine.

    Args:
        plan: The view's part of the join plan.
        events: Its events.
        asked: The rows.
        limits: How it works.

    Returns:
        By feature, its values in the rows' order.
    """
    if not plan.gathered:
        return {}
    cache = ColumnCache(events, plan.only(()))
    order = Order(events.ts_us, cache.position())
    dealt = deals(cache, asked, 1, limits)
    found: dict[str, FeatureCells] = {}
    for group in plan.gathered:
        columns = {name: _values(events, name) for feature in group.features for name in feature.columns}
        gatherer = _Gatherer(plan, group, columns, order)
        for deal in dealt:
            # In order of positions too: doubles are merged in one order, however entities were dealt.
            settle_us, windowed = limits.gather_settle_us, group.window_us is not None
            timeline = deal().timeline(limits, windowed=windowed, in_order=True, settle_us=settle_us)
            if len(timeline.rows.key):
                _gather(timeline, group, gatherer, len(cache.key_id), limits)
        for feature, values in gatherer.values(asked.t_us):
            found[feature.name] = FeatureCells(_typed_array(values, feature.dtype), values.problems)
    return found


class _Gatherer:
    """The states of a group's features at every row, filled chunk by chunk.

    Args:
        plan: The view's part of the join plan.
        group: The group.
        columns: The columns of events that its features read.
        order: The events' order.
    """

    def __init__(self, plan: JoinPlan, group: Group, columns: Mapping[str, Values], order: Order) -> None:
        self._group = group
        self._accumulators: dict[str, Accumulator] = {}
        self._single: dict[str, State] = {}
        self._filled: dict[str, list[State]] = {}
        self._rows: list[IntArray] = []
        for feature in group.features:
            aggregate = aggregate_of(feature, plan.source)
            accumulator = Accumulator(feature.column, aggregate, feature.where)
            read = {name: columns[name] for name in feature.columns}
            self._accumulators[feature.name] = accumulator
            self._single[feature.name] = aggregate.add(accumulated(accumulator, read, order.ts), order)
            self._filled[feature.name] = []
        self._pools = dict(self._single)

    def pool(self, blocks: Blocks | None) -> None:
        """Put the states of blocks behind those of single events."""
        for name, accumulator in self._accumulators.items():
            single = self._single[name]
            self._pools[name] = single if blocks is None else blocks.pooled(accumulator.aggregate, single)

    def add(self, spine_row: IntArray, *items: Items) -> None:
        """Merge states of the pool at some rows.

        Args:
            spine_row: Each row's place in the spine.
            items: Which states each row merges; those of one row are all here.
        """
        row, at = (np.concatenate(parts) for parts in zip(*items, strict=True))
        if not len(row):
            return
        if len(items) > 1:
            order = np.argsort(row, kind="stable")
            row, at = row[order], at[order]
        row = spine_row[row]  # a row's parts stand side by side, so they are merged at once
        starts = _run_starts(row)
        self._rows.append(row[starts])
        for name, accumulator in self._accumulators.items():
            picked = tuple(column[at] for column in self._pools[name])
            self._filled[name].append(accumulator.aggregate.merge(picked, starts))

    def values(self, t_us: IntArray) -> Iterator[tuple[Feature, Cells]]:
        """Each feature's values at the rows' times."""
        rows = np.concatenate([np.zeros(0, np.int64), *self._rows])
        order = np.argsort(rows, kind="stable")
        rows = rows[order]
        starts = _run_starts(rows)  # a row has several states where not all of its parts were in one chunk
        for feature in self._group.features:
            aggregate = self._accumulators[feature.name].aggregate
            state = aggregate.init(len(t_us))
            if len(rows):
                filled = tuple(np.concatenate(parts)[order] for parts in zip(*self._filled[feature.name], strict=True))
                merged = filled if len(starts) == len(rows) else aggregate.merge(filled, starts)
                for whole, part in zip(state, merged, strict=True):
                    whole[rows[starts]] = part
            yield feature, cells_of(aggregate, state, At(t_us, feature.window_us))


def _run_starts(sorted_ids: IntArray) -> IntArray:
    """Where the runs of equal numbers start."""
    return np.flatnonzero(np.append(True, sorted_ids[1:] != sorted_ids[:-1])[: len(sorted_ids)])


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


def _gather(timeline: Timeline, group: Group, gatherer: _Gatherer, pool: int, limits: Limits) -> None:
    """Merge what counts at a shard's rows: event by event where windows hold few events, else by blocks."""
    rows, number = timeline.rows, timeline.number
    start, _, _, end = timeline.ranges(group)
    entities = int(max(rows.key.max(), timeline.key.max(initial=0))) + 1
    pairs_of = np.bincount(rows.key, weights=np.maximum(end - start, 0), minlength=entities)
    dense: BoolArray = pairs_of > limits.dense * np.bincount(timeline.key, minlength=entities)
    few = np.flatnonzero(~dense[rows.key])
    for some in chunks_of(few, np.maximum(end - start, 0)[few], limits.pairs):
        of_row, place = expanded(start[some], end[some])
        items = counted(timeline, Items(some[of_row], place))
        gatherer.add(rows.spine_row, Items(items.row, number[items.at]))
    if dense.any():
        _gather_dense(timeline, group, dense, gatherer, pool, limits)


def _gather_dense(
    timeline: Timeline, group: Group, dense: BoolArray, gatherer: _Gatherer, pool: int, limits: Limits
) -> None:
    """Merge what counts at the rows of some entities: blocks of what ranges hold, and the other events one by one."""
    rows, mine = timeline.rows, dense[timeline.key]
    framed = np.flatnonzero(mine if timeline.in_frame is None else mine & timeline.in_frame)
    every = np.flatnonzero(dense[rows.key])
    ranges = timeline.ranges(group)
    first, last = np.searchsorted(framed, ranges.start[every]), np.searchsorted(framed, ranges.settled[every])
    longest = int((last - first).max(initial=0))
    blocks = Blocks(timeline.number[framed], timeline.key[framed], len(dense), longest, pool)
    singles = Singles(timeline, ranges)
    gatherer.pool(blocks)
    sizes = singles.sizes[every] + 2 * max(1, longest.bit_length())
    for some in chunks_of(np.arange(len(every)), sizes, limits.pairs):
        row = every[some]
        whole, single = blocks.items(row, rows.key[row], first[some], last[some]), singles.of(row)
        gatherer.add(rows.spine_row, whole, Items(single.row, timeline.number[single.at]))
    gatherer.pool(None)


def _values(events: Events, column: str) -> Values:
    data, valid = events.cells(column)
    return Values(data, np.ones(len(data), np.bool_) if valid is None else valid)


def _bools(value: object) -> list[bool]:
    return [bool(one) for one in value] if isinstance(value, list) else []
