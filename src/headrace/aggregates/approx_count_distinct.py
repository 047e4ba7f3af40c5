"""Approximate count of distinct values."""

from __future__ import annotations

from typing import ClassVar

from headrace.aggregates.count_distinct import CountDistinct

__all__ = ["ApproxCountDistinct"]

_FEW = 64


class ApproxCountDistinct(CountDistinct):
    """Count of distinct values by HyperLogLog in 4.1 KB; its standard error is 1.6%, and 0 up to 64 distinct values.

    >>> import numpy as np
    >>> from headrace.aggregates import Order, Values
    >>> from headrace.plan import DType
    >>> count = ApproxCountDistinct(DType.INT64)
    >>> state = count.add(Values(np.arange(3), np.ones(3, bool)), Order(np.arange(3), np.arange(3)))
    >>> count.result(count.merge(state, np.array([0]))).data.tolist()
    [3]
    """

    name: ClassVar[str] = "approx_count_distinct"

    @classmethod
    def parameters(cls, given: tuple[int | float, ...]) -> tuple[int | float, ...]:
        if given:
            msg = "approx_count_distinct takes no parameters; count_distinct(bound) is exact up to a bound"
            raise ValueError(msg)
        return ()

    @property
    def bound(self) -> int:
        return _FEW  # up to here the values themselves take less room than a sketch
