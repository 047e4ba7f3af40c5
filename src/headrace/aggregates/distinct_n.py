"""The most recent distinct values."""

from __future__ import annotations

from typing import Any, ClassVar

from headrace.aggregates.item_lists import same
from headrace.aggregates.time_ordered_lists import TimeOrderedList

__all__ = ["DistinctN"]


class DistinctN(TimeOrderedList):
    """The k distinct values seen most recently, most recent first.

    >>> import numpy as np
    >>> from headrace.aggregates import Order, Values
    >>> from headrace.plan import DType
    >>> distinct = DistinctN(DType.INT64, (2,))
    >>> values = Values(np.array([7, 8, 9, 8]), np.ones(4, bool))
    >>> state = distinct.add(values, Order(np.arange(4), np.arange(4)))
    >>> distinct.result(distinct.merge(state, np.array([0]))).data.tolist()
    [[8, 9]]
    """

    name: ClassVar[str] = "distinct_n"

    def kept(self, items: list[Any]) -> list[Any]:
        seen: dict[Any, Any] = {}
        for item in sorted(items, key=lambda item: (item[0], item[1]), reverse=True):
            seen.setdefault(same(item[2]), item)
        return list(seen.values())[: self.k]
