"""Maximum."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.min_max import Extremum

__all__ = ["Max"]


class Max(Extremum):
    """Greatest of a column's values; null where there are none.

    >>> import numpy as np
    >>> from headrace.aggregates.base import Order, Values
    >>> from headrace.plan import DType
    >>> greatest = Max(DType.INT64)
    >>> values = Values(np.array([3, 9, 2]), np.array([True, False, True]))
    >>> state = greatest.add(values, Order(np.zeros(3, np.int64), np.arange(3)))
    >>> greatest.result(greatest.merge(state, np.array([0]))).data.tolist()
    [3]
    """

    name: ClassVar[str] = "max"
    pick: ClassVar[np.ufunc] = np.maximum
    no_int: ClassVar[int] = np.iinfo(np.int64).min
    no_float: ClassVar[float] = -np.inf
