"""The interface of an aggregate: a state that merges, kept as numpy columns so that a whole fetch is one call.

A state of `n` groups is a tuple of arrays of length `n`, one per `StateColumn`. The same code merges the events of a
fetch into tiles, tiles into records, and the tiles of all source partitions into a value at lookup. So the meaning of
an aggregate is written in one place.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from headrace.events.columns import Array, BoolArray, IntArray, Values
from headrace.plan import DType

__all__ = [
    "ANY_COLUMN",
    "COUNT",
    "DECIMALS",
    "EVERY_COLUMN",
    "Aggregate",
    "Array",
    "At",
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
StateKind = Literal["int64", "float64", "string", "bytes"]

ANY_COLUMN = frozenset(dtype for dtype in DType if dtype.element is None)
"""Every type that a column of events can have."""

DECIMALS = frozenset(dtype for dtype in DType if dtype.scale is not None)
"""Decimals: integers to an aggregate, which adds and compares them."""

EVERY_COLUMN = ANY_COLUMN - DECIMALS - {DType.JSON}
"""Every type whose values lists can hold."""


class StateColumn(NamedTuple):
    """One column of a state.

    Attributes:
        name: Its name.
        kind: How it is stored.
        merge: Merges two of its values, where these two suffice; None where merging needs the whole state.
        share: A name for its contents. Aggregates of the same column and filter keep columns of the same name once;
            empty for a column that no other aggregate has.
    """

    name: str
    kind: StateKind
    merge: np.ufunc | None = None
    share: str = ""


COUNT = StateColumn("n", "int64", np.add, "count")
"""How many values there are: the sum of `count_valid`."""


class Order(NamedTuple):
    """The order of events: by time, then by position.

    Attributes:
        ts: Event times in µs.
        position: Source positions: partition << 48 | offset.
    """

    ts: IntArray
    position: IntArray


class At(NamedTuple):
    """The time that a value is computed for.

    Attributes:
        t_us: The time of each group's lookup, in µs, shape (groups,).
        window_us: The window's length in µs; None is a lifetime.
    """

    t_us: IntArray
    window_us: int | None


class Aggregate(ABC):
    """A mergeable aggregate of one column.

    The state is canonical: the same events give the same state, in whatever order and chunks they came. That is why
    the stream's tiles and a training set's single pass agree.

    Args:
        dtype: The type of the column aggregated; None for ``"*"``.
        params: The parameters that the definition gives, `(0.9,)` of `percentile(0.9)`.
    """

    name: ClassVar[str]
    accepts: ClassVar[frozenset[DType]]
    takes_all: ClassVar[bool] = False
    """Whether it can aggregate ``"*"``, all events."""
    needs_window: ClassVar[bool] = False
    """Whether it has no meaning without a window."""
    null_reason: ClassVar[str | None] = None
    """Why a value is null, for aggregates that have a value even where there are no events."""

    def __init__(self, dtype: DType | None, params: tuple[int | float, ...] = ()) -> None:
        self.dtype = dtype
        self.params = params

    @classmethod
    def parameters(cls, given: tuple[int | float, ...]) -> tuple[int | float, ...]:
        """The parameters with defaults filled in.

        Raises:
            ValueError: They do not fit; the message says what to write.
        """
        if given:
            msg = f"{cls.name} takes no parameters: write {cls.name!r}"
            raise ValueError(msg)
        return ()

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
        """The state of `n` groups without events: merging it changes nothing."""

    @abstractmethod
    def add(self, values: Values, order: Order) -> State:
        """The state of each event as a group of its own; of a null it is that of `init`."""

    @abstractmethod
    def merge(self, state: State, starts: IntArray) -> State:
        """Merge runs of rows.

        Args:
            state: Rows, those of a group next to each other.
            starts: The first row of each group, ascending; each run has at least one row.

        Returns:
            The state with one row per group.
        """

    @abstractmethod
    def result(self, state: State) -> Values:
        """The value of each group."""

    def value(self, state: State, at: At) -> Values:
        """The value of each group at a time; most aggregates depend on the state only."""
        return self.result(state)


def count_valid(values: Values) -> IntArray:
    """1 for a value, 0 for a null."""
    return values.valid.astype(np.int64)
