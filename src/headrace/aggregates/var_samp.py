"""Variance of a sample (divided by n − 1); null of fewer than two values."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.base import Array, IntArray, Values
from headrace.aggregates.moments import Moments

__all__ = ["VarSamp"]


class VarSamp(Moments):
    """Variance of a sample (divided by n − 1); null of fewer than two values.

    >>> from headrace.aggregates import Order
    >>> from headrace.plan import DType
    >>> aggregate = VarSamp(DType.FLOAT64)
    >>> values = Values(np.array([1.0, 3.0]), np.ones(2, bool))
    >>> state = aggregate.add(values, Order(np.arange(2), np.arange(2)))
    >>> aggregate.result(aggregate.merge(state, np.array([0]))).data.tolist()
    [2.0]
    """

    name: ClassVar[str] = "var_samp"

    def read(self, n: IntArray, powers: tuple[Array, ...]) -> Values:
        return Values(powers[0] / np.maximum(n - 1, 1), n > 1)
