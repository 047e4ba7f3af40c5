"""Blocks of an entity's events whose states are merged once, for all rows whose windows hold the whole block.

Level k has a block per 2^k neighbouring events of an entity, counted from its first. A window is the union of at most
two blocks per level: a row merges some twenty states where its window holds a thousand events. Blocks start at the
entity's first event, so they are the same however entities are dealt.
"""

from __future__ import annotations

import numpy as np

from headrace.aggregates import Aggregate, IntArray, State
from headrace.history.timeline import Items, expanded

__all__ = ["Blocks"]


class Blocks:
    """The blocks of some events.

    Args:
        number: The events' numbers, by entity and time, shape (n,).
        key: Their entities, ascending.
        entities: How many entities there are.
        longest: How many events the longest range has.
        pool: How many states stand before the blocks' own in the pool: those of single events, by their numbers.
    """

    def __init__(self, number: IntArray, key: IntArray, entities: int, longest: int, pool: int) -> None:
        self._number = number
        sizes = np.bincount(key, minlength=entities)
        self._firsts = [np.cumsum(sizes) - sizes]
        self._pools = [0]
        self._starts: list[IntArray] = []
        total = len(number)
        while longest >= 2 << len(self._starts):
            within = np.arange(total) - np.repeat(self._firsts[-1], sizes)
            self._starts.append(np.flatnonzero(within % 2 == 0))
            sizes = (sizes + 1) // 2
            self._firsts.append(np.cumsum(sizes) - sizes)
            self._pools.append(pool)
            total = len(self._starts[-1])
            pool += total

    def pooled(self, aggregate: Aggregate, single: State) -> State:
        """The pool: the states of single events, and behind them those of the blocks.

        Args:
            aggregate: What merges.
            single: Each event's state, by its number.
        """
        levels = [tuple(column[self._number] for column in single)]
        for starts in self._starts:
            levels.append(aggregate.merge(levels[-1], starts) if len(starts) else aggregate.init(0))
        return tuple(np.concatenate(columns) for columns in zip(single, *levels[1:], strict=True))

    def items(self, row: IntArray, key: IntArray, start: IntArray, end: IntArray) -> Items:
        """The blocks that make up ranges of events.

        Args:
            row: The rows, shape (ranges,).
            key: Their entities.
            start: The first of each range, a place among the events.
            end: The place behind its last.
        """
        base = self._firsts[0][key]
        start, end = start - base, np.maximum(end, start) - base
        rows: list[IntArray] = []
        places: list[IntArray] = []
        for level, firsts in enumerate(self._firsts):
            top = level + 1 == len(self._firsts)
            for odd, block in ((start & 1, start), (end & 1, end - 1)):
                chosen = np.flatnonzero((start < end) & (odd == 1)) if not top else np.zeros(0, np.int64)
                rows.append(row[chosen])
                places.append(self._at(level, firsts[key[chosen]] + block[chosen]))
            if top:  # of the greatest blocks a range may hold more than one
                some, block = expanded(start, end)
                rows.append(row[some])
                places.append(self._at(level, firsts[key[some]] + block))
            start, end = (start + 1) >> 1, end >> 1
        return Items(np.concatenate(rows), np.concatenate(places))

    def _at(self, level: int, block: IntArray) -> IntArray:
        return self._number[block] if level == 0 else self._pools[level] + block
