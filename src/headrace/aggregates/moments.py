"""Central moments: the base of variance, standard deviation and skewness."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from headrace.aggregates.base import COUNT, Aggregate, Array, IntArray, Order, State, StateColumn, Values, count_valid
from headrace.aggregates.number_types import NUMBERS, as_floats
from headrace.plan import DType

__all__ = ["Moments"]


class Moments(Aggregate):
    """Count, mean and sums of powers of deviations, merged without the cancellation that sums of squares suffer.

    A run of rows is merged at once: its mean is the mean of the rows' means, weighted by their counts; then each row's
    sums are moved to that mean. For two rows this is the update of Chan, Golub and LeVeque (1979), and for third powers
    that of Pébay (2008).
    """

    accepts: ClassVar[frozenset[DType]] = NUMBERS
    third: ClassVar[bool] = False
    """Whether third powers are kept too."""

    @property
    def result_dtype(self) -> DType:
        return DType.FLOAT64

    @property
    def state(self) -> tuple[StateColumn, ...]:
        kept = (COUNT, StateColumn("mean", "float64", share="mean"), StateColumn("m2", "float64", share="m2"))
        return (*kept, StateColumn("m3", "float64")) if self.third else kept

    def init(self, n: int) -> State:
        return (np.zeros(n, np.int64), *(np.zeros(n) for _ in self.state[1:]))

    def add(self, values: Values, order: Order) -> State:
        data = as_floats(values).data
        with np.errstate(invalid="ignore"):
            # The deviation of a value from itself is 0, but NaN for NaN and the infinities.
            return (count_valid(values), data, *(data - data for _ in self.state[2:]))

    def merge(self, state: State, starts: IntArray) -> State:
        n, mean, m2 = state[:3]
        lengths = np.diff(np.append(starts, len(n)))
        total = np.add.reduceat(n, starts)
        with np.errstate(invalid="ignore", over="ignore"):
            # Means are weighted by shares, which are at most 1: a product with the count could overflow.
            share = n / np.repeat(np.maximum(total, 1), lengths)
            merged = np.add.reduceat(share * mean, starts)
            # Where all means are equal, the merged mean is exactly that number, however the shares were rounded.
            low, high = _extent(n, mean, starts, lengths)
            merged = np.where(low == high, low, merged)
            off = np.where(n > 0, mean - np.repeat(merged, lengths), 0.0)
            # The mean is rounded. What its rounding adds to the powers is known and subtracted (Chan's corrected
            # two-pass algorithm).
            slip = np.add.reduceat(n * off, starts) / np.maximum(total, 1)
            about = np.add.reduceat(m2 + n * off * off, starts)
            second = np.maximum(about - total * slip * slip, 0.0)
            if not self.third:
                return (total, merged, second)
            cubes = np.add.reduceat(state[3] + 3.0 * off * m2 + n * off * off * off, starts)
        return (total, merged, second, cubes - 3.0 * slip * about + 2.0 * total * slip**3)

    def result(self, state: State) -> Values:
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            return self.read(state[0], state[2:])

    @abstractmethod
    def read(self, n: IntArray, powers: tuple[Array, ...]) -> Values:
        """The values, from counts and sums of powers of deviations."""


def _extent(n: IntArray, mean: Array, starts: IntArray, lengths: IntArray) -> tuple[Array, Array]:
    """The least and the greatest mean of each run; 0 where it has none, and NaN where one is NaN."""
    there = n > 0
    low = np.minimum.reduceat(np.where(there, mean, np.inf), starts)
    high = np.maximum.reduceat(np.where(there, mean, -np.inf), starts)
    some = np.add.reduceat(n, starts) > 0
    return np.where(some, low, 0.0), np.where(some, high, 0.0)
