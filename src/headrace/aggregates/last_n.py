"""The latest values."""

from __future__ import annotations

from typing import Any, ClassVar

from headrace.aggregates.time_ordered_lists import TimeOrderedList

__all__ = ["LastN"]


class LastN(TimeOrderedList):
    """Values of the k latest events that have one, oldest first.

    >>> import numpy as np
    >>> from headrace.aggregates import Order, Values
    >>> from headrace.plan import DType
    >>> aggregate = LastN(DType.INT64, (2,))
    >>> values, order = Values(np.array([3, 1, 2]), np.ones(3, bool)), Order(np.array([30, 10, 20]), np.arange(3))
    >>> state = aggregate.add(values, order)
    >>> aggregate.result(aggregate.merge(state, np.array([0]))).data.tolist()
    [[2, 3]]
    """

    name: ClassVar[str] = "last_n"

    def kept(self, items: list[Any]) -> list[Any]:
        return sorted(items, key=lambda item: (item[0], item[1]))[-self.k :]
