"""The base of the decayed aggregates: the older an event, the less it weighs.

Forward decay (Cormode, Shkapenyuk, Srivastava and Xu, 2009): weights are kept relative to a landmark, so that a state
needs no update as time passes. The landmark of a state is its latest event. Merging moves the older state's weights to
the later landmark, and a lookup moves them to its time. Weights are powers of two of time differences that are at most
0, so nothing overflows however long the history is.
"""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np

from headrace.aggregates.base import (
    COUNT,
    Aggregate,
    Array,
    At,
    IntArray,
    Order,
    State,
    StateColumn,
    Values,
    count_valid,
)
from headrace.aggregates.number_types import NUMBERS, as_floats
from headrace.plan import DType

__all__ = ["Decayed"]

_NEVER = np.iinfo(np.int64).min


class Decayed(Aggregate):
    """Weights, and values by weight, as of the latest event."""

    accepts: ClassVar[frozenset[DType]] = NUMBERS

    @classmethod
    def parameters(cls, given: tuple[int | float, ...]) -> tuple[int | float, ...]:
        if len(given) != 1 or not 0 < given[0] < math.inf:
            msg = f"{cls.name} takes a half-life in seconds, greater than 0: write '{cls.name}(3600)'"
            raise ValueError(msg)
        return given

    @property
    def result_dtype(self) -> DType:
        return DType.FLOAT64

    @property
    def state(self) -> tuple[StateColumn, ...]:
        weight = StateColumn("weight", "float64", share=f"weight {self.params[0]}")
        return (COUNT, StateColumn("ts", "int64", np.maximum, "latest"), weight, StateColumn("total", "float64"))

    def init(self, n: int) -> State:
        return (np.zeros(n, np.int64), np.full(n, _NEVER, np.int64), np.zeros(n), np.zeros(n))

    def add(self, values: Values, order: Order) -> State:
        n = count_valid(values)
        return (n, np.where(values.valid, order.ts, _NEVER), n.astype(np.float64), self._totals(values))

    def merge(self, state: State, starts: IntArray) -> State:
        n, ts, weight, total = state
        latest = np.maximum.reduceat(ts, starts)
        lengths = np.diff(np.append(starts, len(ts)))
        with np.errstate(invalid="ignore", over="ignore"):
            fade = self._fade(n, np.repeat(latest, lengths), ts)
            moved = _faded(total, fade)
            sums = (np.add.reduceat(column, starts) for column in (weight * fade, moved))
            return (np.add.reduceat(n, starts), latest, *sums)

    def at(self, state: State, at: At) -> tuple[Array, Array]:
        """Weight and total as of the lookup."""
        n, ts, weight, total = state
        with np.errstate(invalid="ignore", over="ignore"):
            fade = self._fade(n, at.t_us, ts)
            return weight * fade, _faded(total, fade)

    def _fade(self, n: IntArray, later: IntArray, ts: IntArray) -> Array:
        """The share of a weight that is left at a later time."""
        age_us = np.where(n > 0, later, 0) - np.where(n > 0, ts, 0)
        return np.exp2(-(age_us / 1e6) / float(self.params[0]))

    def _totals(self, values: Values) -> Array:
        return as_floats(values).data


def _faded(total: Array, fade: Array) -> Array:
    """Totals that fade; infinity and zero stay what they are, even where a weight is too small for a double."""
    return np.where(np.isfinite(total) & (total != 0), total * fade, total)
