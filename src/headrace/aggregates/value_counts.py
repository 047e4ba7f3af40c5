"""Count of each value."""

from __future__ import annotations

import json
from typing import Any, ClassVar

import numpy as np

from headrace.aggregates.base import State, Values
from headrace.aggregates.frequencies import Frequencies
from headrace.aggregates.object_arrays import objects
from headrace.aggregates.whole_number_parameters import whole_numbers
from headrace.plan import DType

__all__ = ["ValueCounts"]


class ValueCounts(Frequencies):
    """Each value with its count, as a JSON object, most frequent first, ties by value.

    Exact up to a bound of distinct values (1,000 by default).

    >>> from headrace.aggregates import Order
    >>> counts = ValueCounts(DType.STRING, (1000,))
    >>> values = Values(np.array(["b", "a", "b"], object), np.ones(3, bool))
    >>> state = counts.add(values, Order(np.arange(3), np.arange(3)))
    >>> counts.result(counts.merge(state, np.array([0]))).data.tolist()
    ['{"b":2,"a":1}']
    """

    name: ClassVar[str] = "value_counts"
    accepts: ClassVar[frozenset[DType]] = frozenset({DType.INT64, DType.STRING, DType.BOOL})

    @classmethod
    def parameters(cls, given: tuple[int | float, ...]) -> tuple[int | float, ...]:
        return whole_numbers(cls.name, given, ("bound",), (1000,))

    @property
    def result_dtype(self) -> DType:
        return DType.STRING

    def result(self, state: State) -> Values:
        groups = range(len(state[0]))
        texts = [_object({_key(value): times for value, times in self.frequencies(state, group)}) for group in groups]
        return Values(objects(texts), np.ones(len(texts), np.bool_))


def _key(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _object(counts: dict[str, int]) -> str:
    return json.dumps(counts, separators=(",", ":"), ensure_ascii=False)
