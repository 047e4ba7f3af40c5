"""What min and max share."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import COUNT, Aggregate, IntArray, Order, State, StateColumn, Values, count_valid
from headrace.plan import DType

__all__ = ["Extremum"]


class Extremum(Aggregate):
    """The least or greatest value. NaN counts as the greatest, as in DuckDB and PostgreSQL."""

    accepts: ClassVar[frozenset[DType]] = frozenset({DType.INT64, DType.FLOAT64, DType.BOOL, DType.TIMESTAMP})
    pick: ClassVar[np.ufunc]
    no_int: ClassVar[int]
    no_float: ClassVar[float]

    @property
    def result_dtype(self) -> DType:
        if self.dtype is None:
            msg = f"{self.name} needs a column"
            raise TypeError(msg)
        return self.dtype

    @property
    def state(self) -> tuple[StateColumn, ...]:
        return (COUNT, StateColumn("value", "float64" if self._is_float else "int64", self.pick))

    def init(self, n: int) -> State:
        value = np.full(n, self.no_float) if self._is_float else np.full(n, self.no_int, np.int64)
        return (np.zeros(n, np.int64), value)

    def add(self, values: Values, order: Order) -> State:
        nothing = self.no_float if self._is_float else self.no_int
        return (count_valid(values), np.where(values.valid, values.data, nothing))

    def merge(self, state: State, starts: IntArray) -> State:
        return (np.add.reduceat(state[0], starts), self.pick.reduceat(state[1], starts))

    def result(self, state: State) -> Values:
        return Values(state[1], state[0] > 0)

    @property
    def _is_float(self) -> bool:
        return self.dtype is DType.FLOAT64
