"""Aggregates whose state is a list of items, as compact JSON."""

from __future__ import annotations

import json
from abc import abstractmethod
from typing import Any, ClassVar

import numpy as np

from headrace.aggregates.base import EVERY_COLUMN, Aggregate, IntArray, Order, State, StateColumn, Values
from headrace.aggregates.object_arrays import merged_states, objects
from headrace.plan import DType

__all__ = ["ItemList", "packed", "same", "unpacked"]


def packed(items: list[Any]) -> bytes:
    """Items as compact JSON; no items are empty bytes."""
    return json.dumps(items, separators=(",", ":")).encode() if items else b""


def unpacked(state: bytes) -> list[Any]:
    """The items of a state that `packed` wrote."""
    found: list[Any] = json.loads(state) if state else []
    return found


def same(value: Any) -> Any:
    """A value to compare by: every NaN is one value, and so are the two zeros."""
    return "nan" if isinstance(value, float) and value != value else value  # noqa: PLR0124 only NaN differs from itself


class ItemList(Aggregate):
    """A list of the items of events, in canonical order, without those that can no longer change the result."""

    accepts: ClassVar[frozenset[DType]] = EVERY_COLUMN

    @property
    def state(self) -> tuple[StateColumn, ...]:
        return (StateColumn("items", "bytes"),)

    def init(self, n: int) -> State:
        return (objects([b""] * n),)

    def add(self, values: Values, order: Order) -> State:
        data: list[Any] = values.data.tolist()
        if self.dtype is DType.BOOL:
            data = [bool(value) for value in data]
        rows = zip(data, values.valid.tolist(), order.ts.tolist(), order.position.tolist(), strict=True)
        return (objects([packed([self.item(value, ts, at)]) if there else b"" for value, there, ts, at in rows]),)

    def merge(self, state: State, starts: IntArray) -> State:
        return (merged_states(state[0], starts, self._merged),)

    def result(self, state: State) -> Values:
        values = [self.read(unpacked(one)) for one in state[0]]
        return Values(objects(values), np.array([value is not None for value in values], np.bool_))

    @abstractmethod
    def item(self, value: Any, ts_us: int, position: int) -> Any:
        """The item of an event."""

    @abstractmethod
    def kept(self, items: list[Any]) -> list[Any]:
        """Items in canonical order, without those that can no longer change the result."""

    @abstractmethod
    def read(self, items: list[Any]) -> Any:
        """The value of a group; None is null."""

    def _merged(self, states: list[bytes]) -> bytes:
        return packed(self.kept([item for state in states for item in unpacked(state)]))
