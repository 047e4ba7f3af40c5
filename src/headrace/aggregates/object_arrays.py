"""Arrays of Python objects: results that are lists, and states that are bytes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from headrace.events.columns import Array

__all__ = ["objects"]


def objects(values: Sequence[object]) -> Array:
    """An array of objects; numpy would make a matrix of a list of lists.

    >>> objects([[1], [2, 3]]).shape
    (2,)
    """
    array = np.empty(len(values), object)
    for number, value in enumerate(values):
        array[number] = value
    return array
