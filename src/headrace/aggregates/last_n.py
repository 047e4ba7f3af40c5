"""The latest values."""

from __future__ import annotations

from typing import Any, ClassVar

from headrace.aggregates.ordered import Ordered

__all__ = ["LastN"]


class LastN(Ordered):
    """Values of the k latest events that have one, oldest first.

    >>> import numpy as np
    >>> from headrace.aggregates import Order, Values
    >>> from headrace.plan import DType
    >>> aggregate = LastN(DType.INT64, (2,))
    >>> state = aggregate.add(Values(np.array([3, 1, 2]), np.ones(3, bool)), Order(np.array([30, 10, 20]), np.arange(3)))
    >>> aggregate.result(aggregate.merge(state, np.array([0]))).data.tolist()
    [[2, 3]]
    """

    name: ClassVar[str] = "last_n"

    def kept(self, items: list[Any]) -> list[Any]:
        return sorted(items, key=lambda item: (item[0], item[1]))[-self.k :]
