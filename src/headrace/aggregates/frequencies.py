"""How often each value occurs: the base of `top_k` and `value_counts`."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

import numpy as np

from headrace.aggregates.base import Aggregate, IntArray, Order, State, StateColumn, Values, count_valid
from headrace.aggregates.hash_sample import hash_of, least
from headrace.aggregates.item_lists import packed, unpacked
from headrace.aggregates.object_arrays import merged_states, objects
from headrace.plan import DType

__all__ = ["Frequencies"]

_SAMPLE = 1024
_TOO_MANY = b"[]"  # differs from the state without values, which is empty


class Frequencies(Aggregate):
    """Counts per value, exact up to a bound of distinct values; past it, of a sample of 1,024 events.

    Whether the bound is passed depends on the set of values only. The sample is kept from the start, so that it is
    complete when it is needed.
    """

    accepts: ClassVar[frozenset[DType]] = frozenset(
        {DType.INT64, DType.STRING, DType.BOOL, DType.TIMESTAMP, DType.DATE}
    )

    @property
    def bound(self) -> int:
        """Up to how many distinct values the counts are exact."""
        return int(self.params[-1])

    @property
    def state(self) -> tuple[StateColumn, ...]:
        return (StateColumn("n", "int64"), StateColumn("counts", "bytes"), StateColumn("sample", "bytes"))

    def init(self, n: int) -> State:
        return (np.zeros(n, np.int64), objects([b""] * n), objects([b""] * n))

    def add(self, values: Values, order: Order) -> State:
        data: list[Any] = values.data.tolist()
        if self.dtype is DType.BOOL:
            data = [bool(value) for value in data]
        there, hashes = values.valid.tolist(), hash_of(order.position).tolist()
        counts = [packed([[value, 1]]) if ok else b"" for value, ok in zip(data, there, strict=True)]
        sample = [packed([[h, value]]) if ok else b"" for h, value, ok in zip(hashes, data, there, strict=True)]
        return (count_valid(values), objects(counts), objects(sample))

    def merge(self, state: State, starts: IntArray) -> State:
        counts = merged_states(state[1], starts, self._merged_counts)
        return (np.add.reduceat(state[0], starts), counts, merged_states(state[2], starts, _merged_samples))

    def frequencies(self, state: State, group: int) -> list[tuple[Any, int]]:
        """A group's values with their counts, most frequent first, then by value."""
        n, counts, sample = int(state[0][group]), state[1][group], state[2][group]
        if counts == _TOO_MANY:
            drawn = Counter(value for _, value in unpacked(sample))
            found = [(value, round(times * n / drawn.total())) for value, times in drawn.items()]
        else:
            found = [(value, times) for value, times in unpacked(counts)]
        return sorted(found, key=lambda pair: (-pair[1], pair[0]))

    def _merged_counts(self, states: list[bytes]) -> bytes:
        if _TOO_MANY in states:
            return _TOO_MANY
        counts: Counter[Any] = Counter()
        for state in states:
            for value, times in unpacked(state):
                counts[value] += times
        return packed([list(pair) for pair in sorted(counts.items())]) if len(counts) <= self.bound else _TOO_MANY


def _merged_samples(states: list[bytes]) -> bytes:
    return packed(least([item for state in states for item in unpacked(state)], _SAMPLE))
