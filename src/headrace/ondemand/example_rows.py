"""Example inputs of an on-demand view, to try its function before a real request comes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from headrace.ondemand.inputs import Inputs
from headrace.plan import DType

__all__ = ["example_inputs"]

_START = datetime(2026, 1, 5, 12, tzinfo=UTC)
_POOLS: dict[DType, tuple[Any, ...]] = {
    DType.INT64: (7, 1, 42, 1000, 2, 3, 10, 2**53 + 1, 0, -1, 100, 24),
    DType.FLOAT64: (1.5, 10.0, 0.25, 99.9, 3.0, 1000.0, 42.5, 0.5, 0.0, -1.5, 12.25, 7.0),
    DType.BOOL: (True, False, True),
    DType.STRING: ("word", "7", "2026-01-05", "1.5", "DE", "ana@example.com", '{"a": 1}', "2026-01-05T12:30:00+00:00"),
    DType.TIMESTAMP: tuple(_START + timedelta(minutes=37 * step) for step in range(12)),
    DType.DATE: tuple(date(2026, 1, 5) + timedelta(days=step) for step in range(12)),
    DType.JSON: ('{"a": 1}', "[1, 2]", '"text"'),
}
ROWS = 24
"""How many rows without nulls there are."""


def example_inputs(dtypes: Mapping[str, DType]) -> tuple[Inputs, dict[int, str]]:
    """Example inputs.

    Args:
        dtypes: The types of the inputs, by name.

    Returns:
        `ROWS` rows without nulls, then for each input a row in which only it is null; and by those rows, which it is.
    """
    columns: dict[str, list[Any]] = {}
    names = list(dtypes)
    for number, (name, dtype) in enumerate(dtypes.items()):
        # In the first rows each input takes the same step, later each takes its own, so that pairs of values differ.
        values = [_example(dtype, row if row < ROWS // 2 else row + 3 * number) for row in range(ROWS)]
        columns[name] = [*values, *(None if other == name else values[0] for other in names)]
    inputs = Inputs(dtypes, ROWS + len(names), lists=columns)
    return inputs, {ROWS + number: name for number, name in enumerate(names)}


def _example(dtype: DType, turn: int) -> Any:
    if dtype.element is not None:
        return [_example(dtype.element, turn + step) for step in range(2)]
    if dtype.scale is not None:
        return Decimal((0, (1 + turn % 9, turn % 10), -dtype.scale))
    pool = _POOLS[dtype]
    return pool[turn % len(pool)]
