"""What a function is given: columns as lists of Python's own values, or as Arrow, equal from wherever they come.

A lookup has lists and a training set has Arrow. Each is made of the other by the plan's types alone, so a function
cannot tell a lookup from a training set: an integer stays an integer, a null is no NaN, and a time has `datetime.UTC`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, Self

import pyarrow as pa

from headrace.events.event_batch import ARROW_TYPES
from headrace.plan import DType
from headrace.times import datetime_of

__all__ = ["Inputs", "python_values"]


class Inputs:
    """The columns that the function of an on-demand view reads, by their names in the view's definition.

    Args:
        dtypes: Their types.
        rows: How many rows there are.
        lists: Their values as Python's own; or
        arrays: as Arrow.
    """

    def __init__(
        self,
        dtypes: Mapping[str, DType],
        rows: int,
        *,
        lists: Mapping[str, Sequence[Any]] | None = None,
        arrays: Mapping[str, pa.Array | pa.ChunkedArray] | None = None,
    ) -> None:
        self.dtypes = dtypes
        self.rows = rows
        self._lists = lists
        self._arrays = arrays

    @cached_property
    def lists(self) -> Mapping[str, Sequence[Any]]:
        """The values by name: int, float, bool, str, datetime in UTC, date, Decimal, lists of these; None is null."""
        if self._lists is not None:
            return self._lists
        arrays = self._arrays or {}
        return {name: python_values(arrays[name], dtype) for name, dtype in self.dtypes.items()}

    @cached_property
    def arrays(self) -> Mapping[str, pa.Array | pa.ChunkedArray]:
        """The values by name, as Arrow."""
        if self._arrays is not None:
            return self._arrays
        lists = self._lists or {}
        return {name: pa.array(lists[name], ARROW_TYPES[dtype]) for name, dtype in self.dtypes.items()}

    def slice(self, start: int, stop: int) -> Self:
        """Some of the rows. Values that a function may change are copied."""
        if self._arrays is not None:
            arrays = {name: array.slice(start, stop - start) for name, array in self._arrays.items()}
            return type(self)(self.dtypes, stop - start, arrays=arrays)
        lists = {
            name: list(values[start:stop]) if self.dtypes[name].element is None else _copied(values[start:stop])
            for name, values in (self._lists or {}).items()
        }
        return type(self)(self.dtypes, stop - start, lists=lists)


def python_values(array: pa.Array | pa.ChunkedArray, dtype: DType) -> list[Any]:
    """A column as Python's own values, as a lookup gives them.

    Args:
        array: The column, of the type's Arrow type.
        dtype: Its type.
    """
    if dtype is DType.TIMESTAMP:
        return [None if us is None else datetime_of(us) for us in array.cast(pa.int64()).to_pylist()]
    if dtype is DType.TIMESTAMP_LIST:
        found = array.cast(pa.list_(pa.int64())).to_pylist()
        return [None if one is None else [None if us is None else datetime_of(us) for us in one] for one in found]
    values: list[Any] = array.to_pylist()
    return values


def _copied(values: Sequence[Any]) -> list[Any]:
    return [None if one is None else list(one) for one in values]
