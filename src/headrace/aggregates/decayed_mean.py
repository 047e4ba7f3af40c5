"""Decayed mean."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import State, Values
from headrace.aggregates.decayed import Decayed

__all__ = ["DecayedMean"]


class DecayedMean(Decayed):
    """Mean of values, each weighing half for every half-life (in seconds) that it is older; null where there are none.

    As all weights fade alike, it does not change while no event comes.

    >>> from headrace.aggregates import Order
    >>> from headrace.plan import DType
    >>> mean = DecayedMean(DType.FLOAT64, (10,))
    >>> values = Values(np.array([1.0, 4.0]), np.ones(2, bool))
    >>> state = mean.merge(mean.add(values, Order(np.array([0, 10_000_000]), np.arange(2))), np.array([0]))
    >>> mean.result(state).data.tolist()
    [3.0]
    """

    name: ClassVar[str] = "decayed_mean"

    def result(self, state: State) -> Values:
        n, _, weight, total = state
        with np.errstate(invalid="ignore"):
            return Values(total / np.where(n > 0, weight, 1.0), n > 0)
