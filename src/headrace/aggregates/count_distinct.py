"""Count of distinct values."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np

from headrace.aggregates.base import (
    DECIMALS,
    EVERY_COLUMN,
    Aggregate,
    IntArray,
    Order,
    State,
    StateColumn,
    Values,
)
from headrace.aggregates.hyperloglog import estimate, sketch_of, union_of
from headrace.aggregates.item_lists import packed, same, unpacked
from headrace.aggregates.object_arrays import merged_states, objects
from headrace.aggregates.whole_number_parameters import whole_numbers
from headrace.plan import DType

__all__ = ["CountDistinct"]

_SKETCH = b"S"


class CountDistinct(Aggregate):
    """Count of distinct values that are not null.

    Exact up to a bound (1,000 by default); past it a HyperLogLog estimate with a standard error of 1.6%.

    >>> count = CountDistinct(DType.INT64, (1000,))
    >>> values = Values(np.array([5, 5, 7]), np.ones(3, bool))
    >>> state = count.add(values, Order(np.arange(3), np.arange(3)))
    >>> count.result(count.merge(state, np.array([0]))).data.tolist()
    [2]
    """

    name: ClassVar[str] = "count_distinct"
    accepts: ClassVar[frozenset[DType]] = EVERY_COLUMN | DECIMALS

    @classmethod
    def parameters(cls, given: tuple[int | float, ...]) -> tuple[int | float, ...]:
        return whole_numbers(cls.name, given, ("bound",), (1000,))

    @property
    def bound(self) -> int:
        """Up to how many values the count is exact."""
        return int(self.params[0])

    @property
    def result_dtype(self) -> DType:
        return DType.INT64

    @property
    def state(self) -> tuple[StateColumn, ...]:
        return (StateColumn("values", "bytes"),)

    def init(self, n: int) -> State:
        return (objects([b""] * n),)

    def add(self, values: Values, order: Order) -> State:
        rows = zip(values.data.tolist(), values.valid.tolist(), strict=True)
        return (objects([self._state([_text(value)]) if there else b"" for value, there in rows]),)

    def merge(self, state: State, starts: IntArray) -> State:
        return (merged_states(state[0], starts, self._merged),)

    def result(self, state: State) -> Values:
        counts = [estimate(one[1:]) if one.startswith(_SKETCH) else len(unpacked(one)) for one in state[0]]
        return Values(np.array(counts, np.int64), np.ones(len(counts), np.bool_))

    def _merged(self, states: list[bytes]) -> bytes:
        values = sorted({value for state in states if not state.startswith(_SKETCH) for value in unpacked(state)})
        sketches = [state[1:] for state in states if state.startswith(_SKETCH)]
        if not sketches:
            return self._state(values)
        return _SKETCH + union_of([*sketches, sketch_of(values)] if values else sketches)

    def _state(self, values: list[str]) -> bytes:
        """The values up to the bound, their sketch past it: which of both depends on the set of values only."""
        return packed(values) if len(values) <= self.bound else _SKETCH + sketch_of(values)


def _text(value: Any) -> str:
    known = same(value)
    return repr(known + 0.0) if isinstance(known, float) else str(known)
