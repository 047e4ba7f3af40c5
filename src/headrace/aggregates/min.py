"""Minimum."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.min_max import Extremum

__all__ = ["Min"]


class Min(Extremum):
    """Least of a column's values; null where there are none.

    >>> import numpy as np
    >>> from headrace.aggregates.base import Order, Values
    >>> from headrace.plan import DType
    >>> least = Min(DType.FLOAT64)
    >>> values = Values(np.array([3.0, np.nan, 2.0]), np.array([True, True, True]))
    >>> state = least.add(values, Order(np.zeros(3, np.int64), np.arange(3)))
    >>> least.result(least.merge(state, np.array([0]))).data.tolist()
    [2.0]
    """

    name: ClassVar[str] = "min"
    pick: ClassVar[np.ufunc] = np.fmin
    no_int: ClassVar[int] = np.iinfo(np.int64).max
    no_float: ClassVar[float] = np.nan  # fmin prefers any number to NaN, and keeps NaN where all values are NaN
