"""Skewness."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import Array, IntArray, Values
from headrace.aggregates.moments import Moments

__all__ = ["Skew"]


class Skew(Moments):
    """Skewness of the population, g1 = (M3/n) / (M2/n)^1.5; null where all values are one.

    >>> from headrace.aggregates import Order
    >>> from headrace.plan import DType
    >>> skew = Skew(DType.FLOAT64)
    >>> values = Values(np.array([1.0, 1.0, 4.0]), np.ones(3, bool))
    >>> state = skew.add(values, Order(np.arange(3), np.arange(3)))
    >>> skew.result(skew.merge(state, np.array([0]))).data.round(6).tolist()
    [0.707107]
    """

    name: ClassVar[str] = "skew"
    third: ClassVar[bool] = True

    def read(self, n: IntArray, powers: tuple[Array, ...]) -> Values:
        count = np.maximum(n, 1)
        spread = powers[0] / count
        return Values(powers[1] / count / np.where(spread == 0, 1.0, spread) ** 1.5, (n > 0) & (spread != 0))
