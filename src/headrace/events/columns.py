"""Columns of events as numpy arrays: the currency between decoding, aggregates and windows."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "BoolArray", "IntArray", "Values"]

Array = NDArray[Any]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


class Values(NamedTuple):
    """A column of event values, or of results.

    Attributes:
        data: int64 (also for bool and timestamp in µs), float64 or object (strings); what stands at a null is undefined.
        valid: False where the value is null.
    """

    data: Array
    valid: BoolArray
