"""Columns of events as numpy arrays, as decoding, aggregates and windows exchange them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "BoolArray", "IntArray", "Values", "decimal_of"]

Array = NDArray[Any]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Values(NamedTuple):
    """A column of event values, or of results.

    Attributes:
        data: int64 (also for bool, timestamp in µs and date in days), float64 or object (strings); undefined where the
            value is null.
        valid: False where the value is null.
    """

    data: Array
    valid: BoolArray


def decimal_of(units: int, scale: int) -> Decimal:
    """The decimal of a number of units of its last digit.

    >>> decimal_of(-5, 2)
    Decimal('-0.05')
    """
    sign, digits = (1, str(-units)) if units < 0 else (0, str(units))
    return Decimal((sign, tuple(map(int, digits)), -scale))
