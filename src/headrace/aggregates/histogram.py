"""Histogram."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from headrace.aggregates.base import Aggregate, Array, IntArray, Order, State, StateColumn, Values
from headrace.aggregates.object_arrays import objects
from headrace.plan import DType

__all__ = ["Histogram"]


class Histogram(Aggregate):
    """Counts of values between given edges: below the first, in each [edge, next edge), and from the last on (NaN too).

    >>> histogram = Histogram(DType.FLOAT64, (0, 10, 20))
    >>> values = Values(np.array([-1.0, 0.0, 9.9, 20.0]), np.ones(4, bool))
    >>> state = histogram.add(values, Order(np.arange(4), np.arange(4)))
    >>> histogram.result(histogram.merge(state, np.array([0]))).data.tolist()
    [[1, 2, 0, 1]]
    """

    name: ClassVar[str] = "histogram"
    accepts: ClassVar[frozenset[DType]] = frozenset({DType.INT64, DType.FLOAT64})

    @classmethod
    def parameters(cls, given: tuple[int | float, ...]) -> tuple[int | float, ...]:
        ascending = all(low < high for low, high in zip(given, given[1:], strict=False))
        if not given or not ascending or not all(map(math.isfinite, given)):
            msg = "histogram takes its edges, ascending and finite: write 'histogram(0, 10, 20)'"
            raise ValueError(msg)
        return given

    @property
    def result_dtype(self) -> DType:
        return DType.INT64_LIST

    @property
    def state(self) -> tuple[StateColumn, ...]:
        return tuple(StateColumn(f"n{number}", "int64") for number in range(len(self.params) + 1))

    def init(self, n: int) -> State:
        return tuple(np.zeros(n, np.int64) for _ in self.state)

    def add(self, values: Values, order: Order) -> State:
        bucket = np.searchsorted(self._edges(), values.data, side="right")
        return tuple(((bucket == number) & values.valid).astype(np.int64) for number in range(len(self.state)))

    def merge(self, state: State, starts: IntArray) -> State:
        return tuple(np.add.reduceat(column, starts) for column in state)

    def result(self, state: State) -> Values:
        counts = np.stack(state, axis=1).tolist() if len(state[0]) else []
        return Values(objects(counts), np.ones(len(state[0]), np.bool_))

    def _edges(self) -> Array:
        if self.dtype is DType.FLOAT64:
            return np.array(self.params, np.float64)
        # A whole number is below an edge if it is below the next whole number, so all compare exactly, as integers.
        edges = [math.ceil(edge) for edge in self.params]
        return np.array(edges, np.int64 if all(-(2**63) <= edge < 2**63 for edge in edges) else object)
