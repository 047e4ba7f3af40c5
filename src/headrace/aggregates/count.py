"""Count."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import (
    ANY_COLUMN,
    COUNT,
    Aggregate,
    IntArray,
    Order,
    State,
    StateColumn,
    Values,
    count_valid,
)
from headrace.plan import DType

__all__ = ["Count"]


class Count(Aggregate):
    """Count of events, or of a column's values that are not null.

    >>> import numpy as np
    >>> count = Count(DType.INT64)
    >>> values = Values(np.array([5, 0, 7]), np.array([True, False, True]))
    >>> state = count.add(values, Order(np.zeros(3, np.int64), np.arange(3)))
    >>> count.result(count.merge(state, np.array([0]))).data.tolist()
    [2]
    """

    name: ClassVar[str] = "count"
    accepts: ClassVar[frozenset[DType]] = ANY_COLUMN
    takes_all: ClassVar[bool] = True

    @property
    def result_dtype(self) -> DType:
        return DType.INT64

    @property
    def state(self) -> tuple[StateColumn, ...]:
        return (COUNT,)

    def init(self, n: int) -> State:
        return (np.zeros(n, np.int64),)

    def add(self, values: Values, order: Order) -> State:
        return (count_valid(values),)

    def merge(self, state: State, starts: IntArray) -> State:
        return (np.add.reduceat(state[0], starts),)

    def result(self, state: State) -> Values:
        return Values(state[0], np.ones(len(state[0]), np.bool_))
