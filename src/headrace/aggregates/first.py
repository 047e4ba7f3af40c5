"""First value."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import IntArray, Order, State, Values
from headrace.aggregates.last import Last

__all__ = ["First"]

_END = np.iinfo(np.int64).max


class First(Last):
    """Value of the earliest event that has one, by event time and then by source position; null where there is none.

    >>> from headrace.plan import DType
    >>> first = First(DType.INT64)
    >>> values = Values(np.array([1, 2, 3]), np.array([True, True, False]))
    >>> state = first.add(values, Order(np.array([20, 10, 5]), np.arange(3)))
    >>> first.result(first.merge(state, np.array([0]))).data.tolist()
    [2]
    """

    name: ClassVar[str] = "first"

    def init(self, n: int) -> State:
        return (np.full(n, _END, np.int64), np.full(n, -1, np.int64), self._no_values(n))

    def add(self, values: Values, order: Order) -> State:
        ts, position, value = super().add(values, order)
        return (np.where(values.valid, ts, _END), position, value)

    def merge(self, state: State, starts: IntArray) -> State:
        ts, position, _ = state
        group = np.zeros(len(ts), np.int64)
        group[starts[1:]] = 1
        in_order = np.lexsort((position, ts, np.cumsum(group)))
        earliest = in_order[starts]
        return tuple(column[earliest] for column in state)
