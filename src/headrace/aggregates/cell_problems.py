"""Values cell by cell: a value that cannot be given is null with a reason, and changes no other cell.

Lookups and history both call this module, so that a cell has the same reason on both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from headrace.aggregates.base import DECIMALS, Aggregate, Array, At, BoolArray, IntArray, State
from headrace.errors import HeadraceError
from headrace.plan import DType
from headrace.times import CALENDAR_US, OFF_CALENDAR

__all__ = ["NO_PROBLEMS", "Cells", "Problem", "cells_of", "off_calendar"]

NO_PROBLEMS: Mapping[int, str] = {}

_TIMES = (DType.TIMESTAMP, DType.TIMESTAMP_LIST)


class Problem(NamedTuple):
    """A cell that is null because its value cannot be given, though events count.

    Attributes:
        row: The row of the request or spine, from 0.
        feature: The feature, as ``view__feature``.
        reason: Why.
    """

    row: int
    feature: str
    reason: str


class Cells(NamedTuple):
    """Values of a feature, and the cells among them that could not be given.

    Attributes:
        data: The values; undefined where null.
        valid: False where a value is null.
        problems: By place, why that cell is null; a null without a reason means that no event counts.
    """

    data: Array
    valid: BoolArray
    problems: Mapping[int, str]


def cells_of(aggregate: Aggregate, state: State, at: At | None = None) -> Cells:
    """The value of each group; where one cannot be given, null and the reason.

    Args:
        aggregate: The aggregate.
        state: The groups' states.
        at: The time, for aggregates whose value depends on it.

    Raises:
        HeadraceError: No group can be computed, for example because a package is missing.
    """
    try:
        data, valid = aggregate.result(state) if at is None else aggregate.value(state, at)
    except HeadraceError:
        raise
    except Exception:  # noqa: BLE001 one group that fails must not fail the others
        return _one_by_one(aggregate, state, at)
    if aggregate.null_reason is not None and b"\0" in valid.tobytes():
        return Cells(data, valid, dict.fromkeys(np.flatnonzero(~valid).tolist(), aggregate.null_reason))
    if aggregate.result_dtype in _TIMES:
        return _on_calendar(data, valid)
    return Cells(data, valid, NO_PROBLEMS)


def off_calendar(us: IntArray) -> BoolArray:
    """Which times, in µs, are outside Python's calendar."""
    return (us < CALENDAR_US[0]) | (us > CALENDAR_US[1])


def _on_calendar(data: Array, valid: BoolArray) -> Cells:
    """Null for times outside Python's calendar: records that were made before such times were refused may hold some."""
    if data.dtype == object:
        off = np.array(
            [ok and off_calendar(np.array(one, np.int64)).any() for one, ok in zip(data, valid, strict=True)], np.bool_
        )
    else:
        off = off_calendar(data) & valid
    if b"\1" not in off.tobytes():
        return Cells(data, valid, NO_PROBLEMS)
    return Cells(data, valid & ~off, dict.fromkeys(np.flatnonzero(off).tolist(), OFF_CALENDAR))


def _one_by_one(aggregate: Aggregate, state: State, at: At | None) -> Cells:
    """Compute each group alone; a group that raises gets a problem."""
    groups = len(state[0])
    values: list[Any] = [None] * groups
    valid, problems = np.zeros(groups, np.bool_), {}
    for group in range(groups):
        one = tuple(column[group : group + 1] for column in state)
        moment = None if at is None else At(at.t_us[group : group + 1], at.window_us)
        try:
            cell = aggregate.result(one) if moment is None else aggregate.value(one, moment)
        except Exception as error:  # noqa: BLE001 the cell says it
            problems[group] = f"{aggregate.name} cannot be computed: {type(error).__name__}: {error}"
        else:
            values[group], valid[group] = cell.data[0], bool(cell.valid[0])
    integers = DECIMALS | {DType.INT64, DType.BOOL, DType.TIMESTAMP, DType.DATE}
    kinds = {DType.FLOAT64: np.float64} | dict.fromkeys(integers, np.int64)
    data = np.zeros(groups, kinds.get(aggregate.result_dtype, object))
    for group in np.flatnonzero(valid).tolist():
        data[group] = values[group]
    if aggregate.result_dtype not in _TIMES:
        return Cells(data, valid, problems)
    on = _on_calendar(data, valid)
    return Cells(on.data, on.valid, {**on.problems, **problems})
