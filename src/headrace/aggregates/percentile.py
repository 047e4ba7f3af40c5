"""Percentile."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import COUNT, Aggregate, Array, IntArray, Order, State, StateColumn, Values, count_valid
from headrace.aggregates.hash_sample import hash_of
from headrace.aggregates.number_types import as_floats
from headrace.aggregates.object_arrays import objects
from headrace.aggregates.whole_number_parameters import whole_numbers
from headrace.plan import DType

__all__ = ["Percentile"]

_ITEM = np.dtype([("hash", "<u8"), ("value", "<f8")])
SIZE = 1024


class Percentile(Aggregate):
    """The p-quantile of values, interpolated between its neighbours; null of no values; NaN is the greatest.

    Exact up to `size` values in the window (1,024 by default); past that, of a sample of `size` values, whose rank has
    a standard error of 1.6% (for the median and 1,024).

    >>> percentile = Percentile(DType.FLOAT64, (0.9, 1024))
    >>> values = Values(np.arange(11.0), np.ones(11, bool))
    >>> state = percentile.add(values, Order(np.arange(11), np.arange(11)))
    >>> percentile.result(percentile.merge(state, np.array([0]))).data.tolist()
    [9.0]
    """

    name: ClassVar[str] = "percentile"
    accepts: ClassVar[frozenset[DType]] = frozenset({DType.INT64, DType.FLOAT64})

    @classmethod
    def parameters(cls, given: tuple[int | float, ...]) -> tuple[int | float, ...]:
        if not 1 <= len(given) <= 2 or not 0 <= given[0] <= 1:
            msg = f"{cls.name} takes p between 0 and 1, and optionally a size: write '{cls.name}(0.9)'"
            raise ValueError(msg)
        return (float(given[0]), *whole_numbers(cls.name, given[1:], ("size",), (SIZE,)))

    @property
    def p(self) -> float:
        """Which quantile."""
        return float(self.params[0])

    @property
    def result_dtype(self) -> DType:
        return DType.FLOAT64

    @property
    def state(self) -> tuple[StateColumn, ...]:
        return (COUNT, StateColumn("sample", "bytes"))

    def init(self, n: int) -> State:
        return (np.zeros(n, np.int64), objects([b""] * n))

    def add(self, values: Values, order: Order) -> State:
        items = np.empty(len(values.data), _ITEM)
        items["hash"], items["value"] = hash_of(order.position), as_floats(values).data
        there = values.valid.tolist()
        return (
            count_valid(values),
            objects([item.tobytes() if ok else b"" for item, ok in zip(items, there, strict=True)]),
        )

    def merge(self, state: State, starts: IntArray) -> State:
        ends = np.append(starts[1:], len(state[1])).tolist()
        samples = (b"".join(state[1][start:end]) for start, end in zip(starts.tolist(), ends, strict=True))
        return (np.add.reduceat(state[0], starts), objects([self._least(sample) for sample in samples]))

    def result(self, state: State) -> Values:
        values = np.array([self._quantile(np.frombuffer(sample, _ITEM)["value"]) for sample in state[1]], np.float64)
        return Values(values, state[0] > 0)

    def _least(self, sample: bytes) -> bytes:
        items = np.frombuffer(sample, _ITEM)
        return items[np.argsort(items["hash"])][: int(self.params[-1])].tobytes()

    def _quantile(self, values: Array) -> float:
        if not len(values):
            return 0.0
        ordered = np.sort(values)  # NaN comes last
        place = self.p * (len(ordered) - 1)
        below = int(place)
        low, high, share = float(ordered[below]), float(ordered[min(below + 1, len(ordered) - 1)]), place - below
        if share == 0 or low == high:
            return low
        return low * (1 - share) + high * share
