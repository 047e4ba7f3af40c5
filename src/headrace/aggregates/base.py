"""What an aggregate is: a state that merges, kept as numpy columns so that a whole fetch is one call.

A state of `n` groups is a tuple of arrays of length `n`, one per `StateColumn`. The same code merges the events of a fetch into tiles, tiles
into records, and the tiles of all source partitions into a value at lookup, so there is one place where an aggregate's meaning is written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, NamedTuple

import numpy as np

from headrace.events.columns import Array, BoolArray, IntArray, Values

if TYPE_CHECKING:
    from headrace.plan import DType

__all__ = [
    "Aggregate",
    "Array",
    "BoolArray",
    "IntArray",
    "Order",
    "State",
    "StateColumn",
    "StateKind",
    "Values",
    "count_valid",
]

State = tuple[Array, ...]
StateKind = Literal["int64", "float64", "string"]


class StateColumn(NamedTuple):
    """One column of a state: its name and how it is stored."""

    name: str
    kind: StateKind


class Order(NamedTuple):
    """What `last` orders by.

    Attributes:
        ts: Event times in µs.
        position: Source positions: partition << 48 | offset.
    """

    ts: IntArray
    position: IntArray


class Aggregate(ABC):
    """A mergeable aggregate of one column.

    Args:
        dtype: The type of the column aggregated; None for ``count("*")``.
    """

    name: ClassVar[str]
    accepts: ClassVar[frozenset[DType]]

    def __init__(self, dtype: DType | None) -> None:
        self.dtype = dtype

    @property
    @abstractmethod
    def result_dtype(self) -> DType:
        """The type of the result."""

    @property
    @abstractmethod
    def state(self) -> tuple[StateColumn, ...]:
        """The columns of the state, in the order they are stored."""

    @abstractmethod
    def init(self, n: int) -> State:
        """The state of `n` groups that hold no event: merging it changes nothing."""

    @abstractmethod
    def add(self, values: Values, order: Order) -> State:
        """Each event as the state of a group of one; a null leaves `init` behind."""

    @abstractmethod
    def merge(self, state: State, starts: IntArray) -> State:
        """Merge runs of rows.

        Args:
            state: Rows in which those of a group stand together.
            starts: The first row of each group, ascending; each run has at least one row.

        Returns:
            The state with one row per group.
        """

    @abstractmethod
    def result(self, state: State) -> Values:
        """The value of each group."""


def count_valid(values: Values) -> IntArray:
    """1 where a value is there, 0 where it is null."""
    return values.valid.astype(np.int64)
