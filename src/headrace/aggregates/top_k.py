"""The most frequent values."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import State, Values
from headrace.aggregates.frequencies import Frequencies
from headrace.aggregates.object_arrays import objects
from headrace.aggregates.whole_number_parameters import whole_numbers
from headrace.plan import DType

__all__ = ["TopK"]


class TopK(Frequencies):
    """The k most frequent values, most frequent first, ties by value.

    Exact up to a bound of distinct values (1,000 by default).

    >>> from headrace.aggregates import Order
    >>> top = TopK(DType.INT64, (1, 1000))
    >>> state = top.add(Values(np.array([7, 8, 8]), np.ones(3, bool)), Order(np.arange(3), np.arange(3)))
    >>> top.result(top.merge(state, np.array([0]))).data.tolist()
    [[8]]
    """

    name: ClassVar[str] = "top_k"

    @classmethod
    def parameters(cls, given: tuple[int | float, ...]) -> tuple[int | float, ...]:
        return whole_numbers(cls.name, given, ("k", "bound"), (None, 1000))

    @property
    def result_dtype(self) -> DType:
        if self.dtype is None:
            msg = "top_k needs a column"
            raise TypeError(msg)
        return self.dtype.list_of

    def result(self, state: State) -> Values:
        k, groups = int(self.params[0]), range(len(state[0]))
        values = [[value for value, _ in self.frequencies(state, group)[:k]] for group in groups]
        return Values(objects(values), np.ones(len(values), np.bool_))
