"""The base of `first_n`, `last_n` and `distinct_n`: lists of values in time order."""

from __future__ import annotations

from typing import Any

from headrace.aggregates.item_lists import ItemList
from headrace.aggregates.whole_number_parameters import whole_numbers
from headrace.plan import DType

__all__ = ["TimeOrderedList"]


class TimeOrderedList(ItemList):
    """Values of events in the order of (event time, source position), cut to `k`."""

    @classmethod
    def parameters(cls, given: tuple[int | float, ...]) -> tuple[int | float, ...]:
        return whole_numbers(cls.name, given, ("k",), (None,))

    @property
    def k(self) -> int:
        """How many values are kept."""
        return int(self.params[0])

    @property
    def result_dtype(self) -> DType:
        if self.dtype is None:
            msg = f"{self.name} needs a column"
            raise TypeError(msg)
        return self.dtype.list_of

    def item(self, value: Any, ts_us: int, position: int) -> Any:
        return [ts_us, position, value]

    def read(self, items: list[Any]) -> Any:
        return [value for _, _, value in items]
