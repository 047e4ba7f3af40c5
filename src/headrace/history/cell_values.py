"""A feature's values at rows, and why some cells have no value: the same reasons as a lookup gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from headrace.aggregates import NO_PROBLEMS, BoolArray, IntArray, off_calendar
from headrace.aggregates.sum import Sum
from headrace.plan import DType
from headrace.times import CALENDAR_US, OFF_CALENDAR

__all__ = ["FeatureCells", "joined_cells", "sum_cells", "time_cells"]


class FeatureCells(NamedTuple):
    """A feature at rows.

    Attributes:
        array: Its values.
        problems: By row, why a value cannot be given. A null that is not here means that no event counts.
    """

    array: pa.Array | pa.ChunkedArray
    problems: Mapping[int, str] = NO_PROBLEMS


def sum_cells(array: pa.Array, fits: BoolArray | None) -> FeatureCells:
    """A sum of integers, null where it does not fit 64 bits.

    Args:
        array: The sums.
        fits: Where they fit; None is everywhere.
    """
    if fits is None or fits.all():
        return FeatureCells(array)
    return FeatureCells(array, dict.fromkeys(np.flatnonzero(~fits).tolist(), str(Sum.null_reason)))


def time_cells(array: pa.Array | pa.ChunkedArray, dtype: DType) -> FeatureCells:
    """Values of events; times that no calendar has are null."""
    if dtype is not DType.TIMESTAMP:
        return FeatureCells(array)
    us = array.cast(pa.int64())
    extent = pc.min_max(us).as_py()
    if extent["min"] is None or CALENDAR_US[0] <= extent["min"] <= extent["max"] <= CALENDAR_US[1]:
        return FeatureCells(array)
    valid = np.asarray(array.is_valid())
    off = off_calendar(np.asarray(us.fill_null(0))) & valid
    on = pc.if_else(pa.array(off), pa.scalar(None, array.type), array)
    return FeatureCells(on, dict.fromkeys(np.flatnonzero(off).tolist(), OFF_CALENDAR))


def joined_cells(parts: list[FeatureCells], rows: list[IntArray], order: IntArray) -> FeatureCells:
    """A feature whose rows were computed in parts.

    Args:
        parts: The parts.
        rows: The rows of each.
        order: Where each row stands in the parts' rows, put one after the other.
    """
    array = pa.chunked_array([part.array for part in parts]).take(pa.array(order))
    problems = {
        int(mine[row]): reason for part, mine in zip(parts, rows, strict=True) for row, reason in part.problems.items()
    }
    return FeatureCells(array, problems)
