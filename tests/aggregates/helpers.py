"""What the tests of aggregates share: columns, parameters, random histories and random ways to merge them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st

from headrace.aggregates import AGGREGATES, Aggregate, At, IntArray, Order, State, Values
from headrace.aggregates.base import DECIMALS
from headrace.plan import DType
from proofs import brute

__all__ = [
    "ELEMENTS",
    "PARAMS",
    "brute_value",
    "build",
    "in_order",
    "in_parts",
    "kinds_of",
    "one_pass",
    "python_value",
    "side_by_side",
    "starts",
    "value_of",
    "values_of",
]

GARBAGE: dict[DType, Any] = {DType.FLOAT64: math.nan, DType.STRING: "garbage"}
"""What stands at a null is undefined; 77 for the other types."""

PARAMS: dict[str, tuple[int | float, ...]] = {
    "first_n": (3,),
    "last_n": (3,),
    "distinct_n": (3,),
    "percentile": (0.3,),
    "top_k": (3,),
    "histogram": (-10, 0, 2.5, 1000),
    "decayed_sum": (10,),
    "decayed_count": (10,),
    "decayed_mean": (10,),
}
"""What is given to the functions that need something."""


def build(function: str, dtype: DType | None, *params: int | float) -> Aggregate:
    """An aggregate as a definition makes it: with its defaults."""
    kind = AGGREGATES[function]
    return kind(dtype, kind.parameters(params or PARAMS.get(function, ())))


NOT_TRIED = DECIMALS | {DType.JSON}
"""Decimals are integers to every aggregate, and JSON is looked at by none that takes it."""


def kinds_of(*functions: str) -> list[tuple[str, DType]]:
    """Functions with each type of column that they accept."""
    return [
        (function, dtype)
        for function in functions or AGGREGATES
        for dtype in DType
        if dtype in AGGREGATES[function].accepts and dtype not in NOT_TRIED
    ]


def values_of(dtype: DType, values: Sequence[Any]) -> Values:
    """A column; None is null."""
    kind = {DType.FLOAT64: "f8", DType.STRING: "O"}.get(dtype, "i8")
    data = [GARBAGE.get(dtype, 77) if value is None else value for value in values]
    return Values(np.array(data, kind), np.array([value is not None for value in values], np.bool_))


def in_order(n: int) -> Order:
    """Events each 10 µs after the one before."""
    return Order(np.arange(n) * 10 - 50, np.arange(n))


def starts(*rows: int) -> IntArray:
    """Where groups start."""
    return np.array(rows, np.int64)


def side_by_side(states: Sequence[State]) -> State:
    """States one after another, to be merged."""
    return tuple(np.concatenate(columns) for columns in zip(*states, strict=True))


def one_pass(aggregate: Aggregate, values: Values, order: Order) -> State:
    """All events merged into one group, as far as there are any."""
    state = aggregate.add(values, order)
    return aggregate.merge(state, starts(0)) if len(values.data) else aggregate.init(1)


def python_value(aggregate: Aggregate, state: State, t_us: int = 0, window_us: int | None = 60_000_000) -> Any:
    """The value of a state of one group, in the type it says it has; None is null."""
    data, valid = aggregate.value(state, At(np.array([t_us]), window_us))
    assert data.shape == valid.shape == (1,)
    assert valid.dtype == np.bool_
    result = aggregate.result_dtype
    is_object = result is DType.STRING or result.element is not None
    assert data.dtype == (np.object_ if is_object else np.float64 if result is DType.FLOAT64 else np.int64)
    if not valid[0]:
        return None
    value = data.tolist()[0]
    assert result.element is None or isinstance(value, list)
    return value


def value_of(
    aggregate: Aggregate,
    values: Sequence[Any],
    times: Sequence[int] | None = None,
    t_us: int = 0,
    window_us: int = 60_000_000,
) -> Any:
    """The value of some events, None among them for nulls; their times are those of `in_order` unless given."""
    order = in_order(len(values)) if times is None else Order(np.array(times, np.int64), np.arange(len(values)))
    state = one_pass(aggregate, values_of(aggregate.dtype or DType.INT64, values), order)
    return python_value(aggregate, state, t_us, window_us)


def brute_value(
    aggregate: Aggregate, values: Sequence[Any], order: Order, t_us: int = 0, window_us: int | None = 60_000_000
) -> brute.Want:
    """What the independent brute force makes of the same events."""
    rows = zip(order.ts.tolist(), order.position.tolist(), values, strict=True)
    there = sorted((row for row in rows if row[2] is not None), key=lambda row: row[:2])
    held = [bool(value) if aggregate.dtype is DType.BOOL else value for _, _, value in there]
    times, positions = [ts for ts, _, _ in there], [position for _, position, _ in there]
    sample = brute.Sample(held, times, positions, t_us, window_us, aggregate.params)
    return brute.AGGREGATES[aggregate.name](sample)


INTS = st.integers(-(2**61), 2**61)
ELEMENTS: dict[DType, st.SearchStrategy[Any]] = {
    DType.INT64: INTS | st.integers(-5, 5),
    # Eighths of small integers add without rounding, so the order of merging cannot show.
    DType.FLOAT64: st.integers(-8000, 8000).map(lambda n: n / 8)
    | st.sampled_from([math.nan, math.inf, -math.inf, -0.0, 0.0, 1.5]),
    DType.BOOL: st.booleans(),
    DType.TIMESTAMP: INTS,
    DType.DATE: st.integers(-719_162, 2_932_896),
    DType.STRING: st.text(max_size=3) | st.sampled_from(["", "é", "e\u0301", "😀", "\x00", "nan", '"\\']),
}
"""Values of each type of column."""


def in_parts(aggregate: Aggregate, values: Values, order: Order, data: st.DataObject) -> State:
    """The state of events in random order and random chunks, with empty states between, merged along a random tree."""
    n = len(values.data)
    arrival = np.array(data.draw(st.permutations(range(n)), label="arrival"), np.int64)
    single = tuple(column[arrival] for column in aggregate.add(values, order))
    cuts = sorted(data.draw(st.sets(st.integers(0, n)), label="cuts") | {0, n})
    parts = [
        aggregate.merge(tuple(column[start:end] for column in single), starts(0))
        for start, end in zip(cuts, cuts[1:], strict=False)
    ]
    parts += [aggregate.init(1)] * data.draw(st.integers(0 if parts else 1, 2), label="empty parts")
    while len(parts) > 1:
        parts = list(data.draw(st.permutations(parts), label="parts"))
        width = data.draw(st.integers(2, len(parts)), label="merged at once")
        parts = [aggregate.merge(side_by_side(parts[:width]), starts(0)), *parts[width:]]
    return parts[0]
