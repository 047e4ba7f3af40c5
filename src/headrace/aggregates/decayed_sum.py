"""Decayed sum."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import At, State, Values
from headrace.aggregates.decayed import Decayed

__all__ = ["DecayedSum"]


class DecayedSum(Decayed):
    """Sum of values, each halved for every half-life (in seconds) since its event; 0 where there are none.

    >>> from headrace.aggregates import Order
    >>> from headrace.plan import DType
    >>> total = DecayedSum(DType.FLOAT64, (10,))
    >>> values = Values(np.array([4.0, 4.0]), np.ones(2, bool))
    >>> state = total.merge(total.add(values, Order(np.array([0, 10_000_000]), np.arange(2))), np.array([0]))
    >>> total.value(state, At(np.array([20_000_000]), None)).data.tolist()
    [3.0]
    """

    name: ClassVar[str] = "decayed_sum"

    def result(self, state: State) -> Values:
        msg = "a decayed sum depends on the time of the lookup: call `value`"
        raise TypeError(msg)

    def value(self, state: State, at: At) -> Values:
        return Values(self.at(state, at)[1], np.ones(len(state[0]), np.bool_))
