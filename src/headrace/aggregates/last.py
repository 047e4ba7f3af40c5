"""Last value."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import (
    DECIMALS,
    EVERY_COLUMN,
    Aggregate,
    IntArray,
    Order,
    State,
    StateColumn,
    StateKind,
    Values,
)
from headrace.plan import DType

__all__ = ["Last"]

_NEVER = np.iinfo(np.int64).min


class Last(Aggregate):
    """Value of the latest event that has one, by event time and then by source position; null where there is none.

    >>> import numpy as np
    >>> last = Last(DType.INT64)
    >>> values = Values(np.array([1, 2, 3]), np.array([True, True, False]))
    >>> state = last.add(values, Order(np.array([20, 10, 30]), np.arange(3)))
    >>> last.result(last.merge(state, np.array([0]))).data.tolist()
    [1]
    """

    name: ClassVar[str] = "last"
    accepts: ClassVar[frozenset[DType]] = EVERY_COLUMN | DECIMALS

    @property
    def result_dtype(self) -> DType:
        if self.dtype is None:
            msg = f"{self.name} needs a column"
            raise TypeError(msg)
        return self.dtype

    @property
    def state(self) -> tuple[StateColumn, ...]:
        kinds: dict[DType, StateKind] = {DType.FLOAT64: "float64", DType.STRING: "string"}
        kind = kinds.get(self.result_dtype, "int64")
        return (StateColumn("ts", "int64"), StateColumn("position", "int64"), StateColumn("value", kind))

    def init(self, n: int) -> State:
        return (np.full(n, _NEVER, np.int64), np.full(n, -1, np.int64), self._no_values(n))

    def add(self, values: Values, order: Order) -> State:
        ts = np.where(values.valid, order.ts, _NEVER)
        position = np.where(values.valid, order.position, -1)
        return (ts, position, np.where(values.valid, values.data, self._no_values(len(ts))))

    def merge(self, state: State, starts: IntArray) -> State:
        ts, position, _ = state
        group = np.zeros(len(ts), np.int64)
        group[starts[1:]] = 1
        # Sorting keeps each group in its own rows, so the latest of a group is the row before the next group's start.
        in_order = np.lexsort((position, ts, np.cumsum(group)))
        latest = in_order[np.append(starts[1:], len(ts)) - 1]
        return tuple(column[latest] for column in state)

    def result(self, state: State) -> Values:
        return Values(state[2], state[1] >= 0)

    def _no_values(self, n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
        if self.dtype is DType.STRING:
            return np.full(n, None, object)
        return np.zeros(n, np.float64 if self.dtype is DType.FLOAT64 else np.int64)
