"""Median."""

from __future__ import annotations

from typing import ClassVar

from headrace.aggregates.percentile import SIZE, Percentile
from headrace.aggregates.whole_number_parameters import whole_numbers

__all__ = ["Median"]


class Median(Percentile):
    """The middle value, or the mean of the two in the middle; as `percentile(0.5)`.

    >>> import numpy as np
    >>> from headrace.aggregates import Order, Values
    >>> from headrace.plan import DType
    >>> median = Median(DType.FLOAT64, (1024,))
    >>> state = median.add(Values(np.array([9.0, 1.0]), np.ones(2, bool)), Order(np.arange(2), np.arange(2)))
    >>> median.result(median.merge(state, np.array([0]))).data.tolist()
    [5.0]
    """

    name: ClassVar[str] = "median"

    @classmethod
    def parameters(cls, given: tuple[int | float, ...]) -> tuple[int | float, ...]:
        return whole_numbers(cls.name, given, ("size",), (SIZE,))

    @property
    def p(self) -> float:
        return 0.5
