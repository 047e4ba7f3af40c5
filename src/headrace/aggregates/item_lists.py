"""Aggregates whose state is a list of items, as compact JSON."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np

from headrace.aggregates.base import EVERY_COLUMN, Aggregate, Array, IntArray, Order, State, StateColumn, Values
from headrace.aggregates.object_arrays import objects
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
        ends = np.append(starts[1:], len(state[0])).tolist()
        merged = (self._run(state[0][start:end]) for start, end in zip(starts.tolist(), ends, strict=True))
        return (objects(list(merged)),)

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

    def _run(self, states: Array) -> bytes:
        held: list[bytes] = [one for one in states if one]
        if len(held) < 2:
            return held[0] if held else b""
        return packed(self.kept(list(_chained(held))))


def _chained(states: Iterable[bytes]) -> Iterable[Any]:
    for state in states:
        yield from unpacked(state)
