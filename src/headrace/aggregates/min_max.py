"""The base of `min` and `max`."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import (
    COUNT,
    DECIMALS,
    EVERY_COLUMN,
    Aggregate,
    Array,
    IntArray,
    Order,
    State,
    StateColumn,
    Values,
    count_valid,
)
from headrace.aggregates.object_arrays import objects
from headrace.plan import DType

__all__ = ["Extremum"]


class Extremum(Aggregate):
    """The least or greatest value. NaN counts as the greatest, as in DuckDB and PostgreSQL.

    Texts are compared by code points.
    """

    accepts: ClassVar[frozenset[DType]] = EVERY_COLUMN | DECIMALS
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
        if self._is_text:
            return (COUNT, StateColumn("value", "string"))
        return (COUNT, StateColumn("value", "float64" if self._is_float else "int64", self.pick))

    def init(self, n: int) -> State:
        if self._is_text:
            return (np.zeros(n, np.int64), np.full(n, None, object))
        value = np.full(n, self.no_float) if self._is_float else np.full(n, self.no_int, np.int64)
        return (np.zeros(n, np.int64), value)

    def add(self, values: Values, order: Order) -> State:
        if self._is_text:
            return (count_valid(values), np.where(values.valid, values.data, np.array(None, object)))
        nothing = self.no_float if self._is_float else self.no_int
        return (count_valid(values), np.where(values.valid, values.data, nothing))

    def merge(self, state: State, starts: IntArray) -> State:
        count = np.add.reduceat(state[0], starts)
        return (count, self._picked_texts(state, starts) if self._is_text else self.pick.reduceat(state[1], starts))

    def result(self, state: State) -> Values:
        return Values(state[1], state[0] > 0)

    def _picked_texts(self, state: State, starts: IntArray) -> Array:
        is_there, ends = state[0] > 0, [*starts[1:].tolist(), len(state[1])]
        found = [state[1][start:end][is_there[start:end]] for start, end in zip(starts.tolist(), ends, strict=True)]
        pick = min if self.name == "min" else max
        return objects([pick(texts) if len(texts) else None for texts in found])

    @property
    def _is_text(self) -> bool:
        return self.dtype is DType.STRING

    @property
    def _is_float(self) -> bool:
        return self.dtype is DType.FLOAT64
