"""Mean."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import COUNT, Aggregate, IntArray, Order, State, StateColumn, Values, count_valid
from headrace.aggregates.sum import add_total, init_total, merge_total, total_columns, total_is_exact
from headrace.plan import DType

__all__ = ["Mean"]


class Mean(Aggregate):
    """Mean of a column's values; null where there are none. The mean of booleans is the share of true.

    >>> import numpy as np
    >>> mean = Mean(DType.FLOAT64)
    >>> values = Values(np.array([1.0, 2.0, 0.0]), np.array([True, True, False]))
    >>> state = mean.add(values, Order(np.zeros(3, np.int64), np.arange(3)))
    >>> mean.result(mean.merge(state, np.array([0]))).data.tolist()
    [1.5]
    """

    name: ClassVar[str] = "mean"
    accepts: ClassVar[frozenset[DType]] = frozenset({DType.INT64, DType.FLOAT64, DType.BOOL})

    @property
    def result_dtype(self) -> DType:
        return DType.FLOAT64

    @property
    def state(self) -> tuple[StateColumn, ...]:
        return (COUNT, *total_columns(self.dtype))

    def init(self, n: int) -> State:
        return (np.zeros(n, np.int64), *init_total(self.dtype, n))

    def add(self, values: Values, order: Order) -> State:
        return (count_valid(values), *add_total(self.dtype, values))

    def merge(self, state: State, starts: IntArray) -> State:
        return (np.add.reduceat(state[0], starts), *merge_total(state[1:], starts))

    def result(self, state: State) -> Values:
        n = state[0]
        if total_is_exact(self.dtype):
            # Carry first: then the high part holds the sign and the low part is below 2³², so adding the two doubles
            # rounds once.
            total = (state[1] + (state[2] >> 32)).astype(np.float64) * 2.0**32 + (state[2] & 0xFFFFFFFF).astype(
                np.float64
            )
        else:
            total = state[1]
        with np.errstate(invalid="ignore", over="ignore"):
            return Values(total / np.maximum(n, 1), n > 0)
