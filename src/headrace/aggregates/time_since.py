"""The base of `time_since_last` and `time_since_first`."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import (
    ANY_COLUMN,
    COUNT,
    Aggregate,
    At,
    IntArray,
    Order,
    State,
    StateColumn,
    Values,
    count_valid,
)
from headrace.plan import DType

__all__ = ["TimeSince"]


class TimeSince(Aggregate):
    """Seconds from an event to the lookup; negative for one dated ahead, null where there is none."""

    accepts: ClassVar[frozenset[DType]] = ANY_COLUMN
    takes_all: ClassVar[bool] = True
    pick: ClassVar[np.ufunc]
    nothing: ClassVar[int]

    @property
    def result_dtype(self) -> DType:
        return DType.FLOAT64

    @property
    def state(self) -> tuple[StateColumn, ...]:
        return (COUNT, StateColumn("ts", "int64", self.pick))

    def init(self, n: int) -> State:
        return (np.zeros(n, np.int64), np.full(n, self.nothing, np.int64))

    def add(self, values: Values, order: Order) -> State:
        return (count_valid(values), np.where(values.valid, order.ts, self.nothing))

    def merge(self, state: State, starts: IntArray) -> State:
        return (np.add.reduceat(state[0], starts), self.pick.reduceat(state[1], starts))

    def result(self, state: State) -> Values:
        msg = "the time since an event depends on the time of the lookup: call `value`"
        raise TypeError(msg)

    def value(self, state: State, at: At) -> Values:
        seen = state[0] > 0
        return Values((at.t_us - np.where(seen, state[1], at.t_us)) / 1e6, seen)
