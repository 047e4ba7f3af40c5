"""Time since the latest event."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from headrace.aggregates.time_since import TimeSince

__all__ = ["TimeSinceLast"]


class TimeSinceLast(TimeSince):
    """Seconds from the latest event (of a column: that has a value) to the lookup.

    >>> from headrace.aggregates import At, Order, Values
    >>> since = TimeSinceLast(None)
    >>> order = Order(np.array([20_000_000, 0]), np.arange(2))
    >>> state = since.merge(since.add(Values(np.zeros(2), np.ones(2, bool)), order), np.array([0]))
    >>> since.value(state, At(np.array([30_000_000]), None)).data.tolist()
    [10.0]
    """

    name: ClassVar[str] = "time_since_last"
    pick: ClassVar[np.ufunc] = np.maximum
    nothing: ClassVar[int] = int(np.iinfo(np.int64).min)
