"""Sum."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import DECIMALS, Aggregate, Array, IntArray, Order, State, StateColumn, Values
from headrace.plan import DType

__all__ = ["Sum", "add_total", "init_total", "merge_total", "total_columns", "total_is_exact"]

_LOW = np.int64(0xFFFFFFFF)
_HALF = np.int64(2**31)


class Sum(Aggregate):
    """Sum of a column's values; 0 where there are none.

    Integers are summed exactly: the state keeps the sums of the high and the low 32 bits in two columns, so neither can
    overflow below 2³¹ events. A sum that does not fit 64 bits is null, with that as the reason.

    >>> import numpy as np
    >>> total = Sum(DType.INT64)
    >>> values = Values(np.array([2**62, 2**62, -(2**62), 1]), np.array([True, True, True, False]))
    >>> state = total.add(values, Order(np.zeros(4, np.int64), np.arange(4)))
    >>> total.result(total.merge(state, np.array([0]))).data.tolist() == [2**62]
    True
    """

    name: ClassVar[str] = "sum"
    accepts: ClassVar[frozenset[DType]] = frozenset({DType.INT64, DType.FLOAT64, DType.BOOL}) | DECIMALS
    null_reason: ClassVar[str | None] = (
        "the sum of integers does not fit 64 bits; sum a smaller unit, or declare the column as float"
    )

    @property
    def result_dtype(self) -> DType:
        if self.dtype is not None and self.dtype.scale is not None:
            return self.dtype
        return DType.INT64 if total_is_exact(self.dtype) else DType.FLOAT64

    @property
    def state(self) -> tuple[StateColumn, ...]:
        return total_columns(self.dtype)

    def init(self, n: int) -> State:
        return init_total(self.dtype, n)

    def add(self, values: Values, order: Order) -> State:
        return add_total(self.dtype, values)

    def merge(self, state: State, starts: IntArray) -> State:
        return merge_total(state, starts)

    def result(self, state: State) -> Values:
        if not total_is_exact(self.dtype):
            return Values(state[0], np.ones(len(state[0]), np.bool_))
        high = state[0] + (state[1] >> 32)
        return Values((high << 32) | (state[1] & _LOW), (high >= -_HALF) & (high < _HALF))


def total_is_exact(dtype: DType | None) -> bool:
    """Whether totals of the type are summed as integers."""
    return dtype is not DType.FLOAT64


def total_columns(dtype: DType | None) -> tuple[StateColumn, ...]:
    """The state of a running total."""
    if total_is_exact(dtype):
        return (StateColumn("high", "int64", np.add, "high"), StateColumn("low", "int64", np.add, "low"))
    return (StateColumn("total", "float64", np.add, "total"),)


def init_total(dtype: DType | None, n: int) -> State:
    """Totals of no values."""
    return (np.zeros(n, np.int64), np.zeros(n, np.int64)) if total_is_exact(dtype) else (np.zeros(n, np.float64),)


def add_total(dtype: DType | None, values: Values) -> State:
    """Each value as a total; nulls as 0."""
    data: Array = np.where(values.valid, values.data, 0)
    return (data >> 32, data & _LOW) if total_is_exact(dtype) else (data.astype(np.float64),)


def merge_total(state: State, starts: IntArray) -> State:
    """Totals of runs of totals; infinities of both signs give NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        return tuple(np.add.reduceat(column, starts) for column in state)
