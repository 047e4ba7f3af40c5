"""Entities dealt to shards of about as much work each; a shard is sorted and computed by one thread."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np

from headrace.aggregates import IntArray
from headrace.history.column_cache import ColumnCache
from headrace.history.evidence import AppliedOffsets
from headrace.history.known_timeline import KnownTimeline
from headrace.history.limits import Limits
from headrace.history.log_events import OFFSET_BITS
from headrace.history.offset_timeline import OffsetTimeline
from headrace.history.timeline import Rows, Timeline

__all__ = ["Asked", "Deal", "deals"]


class Asked(NamedTuple):
    """The rows that features are asked for.

    Attributes:
        key_id: Each row's entity, shape (rows,).
        t_us: Each row's time.
        entities: How many entities there are.
        applied: What each row's evidence covers; None where events count by time.
    """

    key_id: IntArray
    t_us: IntArray
    entities: int
    applied: AppliedOffsets | None = None

    def some(self, rows: IntArray) -> Asked:
        """Some of the rows."""
        applied = None if self.applied is None else self.applied.some(rows)
        return Asked(self.key_id[rows], self.t_us[rows], self.entities, applied)


class Deal(NamedTuple):
    """A shard's events and rows.

    Attributes:
        cache: All events.
        number: Which events are of its entities; None is all.
        key: Their entities, from 0.
        rows: The rows.
        applied: By row of the spine, what its evidence covers; None where events count by time.
    """

    cache: ColumnCache
    number: IntArray | None
    key: IntArray
    rows: Rows
    applied: AppliedOffsets | None

    def timeline(self, limits: Limits, *, windowed: bool, in_order: bool, settle_us: int | None) -> Timeline:
        """The shard's events in order.

        Args:
            limits: How it works.
            windowed: Whether windows are asked for, or lifetimes.
            in_order: Whether events of one entity and time must stand in the order of their positions.
            settle_us: By time, how long frames wait; None chooses it.
        """
        if self.applied is not None:
            given = (self.cache, self.number, self.key, self.rows, self.applied, limits)
            return OffsetTimeline(*given, by_time=windowed)
        return KnownTimeline(self.cache, self.number, self.key, self.rows, in_order=in_order, settle_us=settle_us)


class _Cut(NamedTuple):
    """Entities dealt to shards, in runs.

    Attributes:
        shards: How many shards there are.
        of_key: By entity, its shard, shape (entities,).
        first_key: By shard, its first entity.
    """

    shards: int
    of_key: IntArray
    first_key: IntArray


def deals(cache: ColumnCache, asked: Asked, threads: int, limits: Limits) -> list[Callable[[], Deal]]:
    """Deal entities to shards of about as much work each.

    Args:
        cache: The events.
        asked: The rows.
        threads: How many shards there should be at least, where they are worth it.
        limits: How large a shard is.

    Returns:
        By shard, what makes it.
    """
    cut = _cut(cache, asked, threads, limits)
    events_of, rows_of = _dealt(cut, cache.key_id), _dealt(cut, asked.key_id)

    def deal(shard: int) -> Deal:
        number, mine, first = events_of[shard], rows_of[shard], cut.first_key[shard]
        rows = np.arange(len(asked.key_id)) if mine is None else mine
        key = (cache.key_id if number is None else cache.key_id[number]) - first
        of_shard = Rows.sorted(asked.key_id[rows] - first, asked.t_us[rows], rows)
        return Deal(cache, number, key, of_shard, asked.applied)

    return [partial(deal, shard) for shard in range(cut.shards)]


def _cut(cache: ColumnCache, asked: Asked, threads: int, limits: Limits) -> _Cut:
    """Shards of about as much work each, whose entities and times pack into 64 bits."""
    entities = asked.entities
    weights = np.bincount(cache.key_id, minlength=entities) + np.bincount(asked.key_id, minlength=entities)
    work = int(weights.sum())
    wanted = max(1, -(-work // limits.shard_events), min(threads, work // limits.least_shard))
    of_key = np.minimum((np.cumsum(weights) - weights) * wanted // max(1, work), wanted - 1)
    most_keys = max(1, limits.packed // _span(cache, asked))
    if entities > most_keys:
        of_key = of_key * entities + np.arange(entities) // most_keys
    first_key = np.flatnonzero(np.append(True, of_key[1:] != of_key[:-1]))
    of_key = np.cumsum(np.append(False, of_key[1:] != of_key[:-1]))
    return _Cut(len(first_key), of_key, first_key)


def _span(cache: ColumnCache, asked: Asked) -> int:
    """How many numbers one entity takes where times, or offsets by partition, are packed with it."""
    span = _extent([cache.ts_us, cache.known_us, asked.t_us])
    if asked.applied is None:
        return span
    offsets = cache.position() & ((1 << OFFSET_BITS) - 1)
    return max(span, _extent([offsets])) * max(1, len(asked.applied.partitions))


def _extent(arrays: list[IntArray]) -> int:
    some = [array for array in arrays if len(array)]
    return (
        max((int(array.max()) for array in some), default=0) - min((int(array.min()) for array in some), default=0) + 1
    )


def _dealt(cut: _Cut, key_id: IntArray) -> list[IntArray | None]:
    """By shard, which of some events or rows are its entities'; None is all."""
    if cut.shards == 1:
        return [None]
    of_each = cut.of_key.astype(np.uint16 if cut.shards < 1 << 16 else np.int64)[key_id]
    order = np.argsort(of_each, kind="stable")
    ends = np.cumsum(np.bincount(of_each, minlength=cut.shards))
    return list(np.split(order, ends[:-1]))
