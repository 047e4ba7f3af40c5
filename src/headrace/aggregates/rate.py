"""Rate."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import At, State, Values
from headrace.aggregates.count import Count
from headrace.plan import DType

__all__ = ["Rate"]


class Rate(Count):
    """Events, or a column's values that are not null, per second of the window's length.

    >>> from headrace.aggregates import Order
    >>> rate = Rate(None)
    >>> state = rate.add(Values(np.zeros(3), np.ones(3, bool)), Order(np.arange(3), np.arange(3)))
    >>> rate.value(rate.merge(state, np.array([0])), At(np.array([0]), 60_000_000)).data.tolist()
    [0.05]
    """

    name: ClassVar[str] = "rate"
    needs_window: ClassVar[bool] = True

    @property
    def result_dtype(self) -> DType:
        return DType.FLOAT64

    def result(self, state: State) -> Values:
        msg = "a rate depends on its window: call `value`"
        raise TypeError(msg)

    def value(self, state: State, at: At) -> Values:
        if at.window_us is None:
            msg = "a rate needs a window"
            raise TypeError(msg)
        return Values(state[0] / (at.window_us / 1e6), np.ones(len(state[0]), np.bool_))
