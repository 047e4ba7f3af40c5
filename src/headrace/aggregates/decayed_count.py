"""Decayed count."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import ANY_COLUMN, Array, At, State, Values
from headrace.aggregates.decayed import Decayed
from headrace.plan import DType

__all__ = ["DecayedCount"]


class DecayedCount(Decayed):
    """Count of events (of a column: that have a value), each halved for every half-life since; 0 of no events.

    The half-life is in seconds.

    >>> from headrace.aggregates import Order
    >>> count = DecayedCount(None, (10,))
    >>> values = Values(np.zeros(2), np.ones(2, bool))
    >>> state = count.merge(count.add(values, Order(np.array([0, 10_000_000]), np.arange(2))), np.array([0]))
    >>> count.value(state, At(np.array([20_000_000]), None)).data.tolist()
    [0.75]
    """

    name: ClassVar[str] = "decayed_count"
    accepts: ClassVar[frozenset[DType]] = ANY_COLUMN
    takes_all: ClassVar[bool] = True

    def result(self, state: State) -> Values:
        msg = "a decayed count depends on the time of the lookup: call `value`"
        raise TypeError(msg)

    def value(self, state: State, at: At) -> Values:
        return Values(self.at(state, at)[0], np.ones(len(state[0]), np.bool_))

    def _totals(self, values: Values) -> Array:
        return np.zeros(len(values.data))
