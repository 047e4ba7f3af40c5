"""Count_distinct and approx_count_distinct: exact for few values, then a sketch that does not depend on the order."""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.aggregates import Aggregate, Order, State
from headrace.errors import ConfigError
from headrace.plan import DType
from tests.aggregates.helpers import (
    build,
    in_order,
    in_parts,
    one_pass,
    python_value,
    side_by_side,
    starts,
    value_of,
    values_of,
)

BOTH = ["count_distinct", "approx_count_distinct"]


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (DType.INT64, [5, 5, 7, None, 2**63 - 1, -(2**63)], 4),
        (DType.FLOAT64, [0.0, -0.0, math.nan, -math.nan, math.inf, None], 3),
        (DType.STRING, ["", "a", "A", "é", "e\u0301", "a", "\x00", "nan", None], 7),
        (DType.BOOL, [True, False, True], 2),
        (DType.TIMESTAMP, [0, -1, 0], 2),
        (DType.INT64, [], 0),
        (DType.STRING, [None, None], 0),
    ],
)
def test_few_values_are_counted_exactly(function: str, dtype: DType, values: list[Any], expected: int) -> None:
    assert value_of(build(function, dtype), values) == expected
    if dtype is not DType.FLOAT64:
        assert pd.Series(values, dtype=object).nunique() == expected


@pytest.mark.parametrize("bound", [1, 2, 100])
def test_count_is_exact_up_to_the_bound_and_sketched_past_it(bound: int) -> None:
    count = build("count_distinct", DType.INT64, bound)
    for n in (bound, bound + 1):
        state = one_pass(count, values_of(DType.INT64, list(range(n)) * 2), in_order(2 * n))
        assert state[0][0].startswith(b"S") == (n > bound)
        assert python_value(count, state) == n  # so few are exact in a sketch too


def test_empty_string_counts_in_a_sketch_and_so_does_half_a_pair_of_surrogates() -> None:
    count = build("count_distinct", DType.STRING, 1)
    assert value_of(count, ["", "a"]) == 2
    assert value_of(count, ["", "a", "\ud800", "\udfff"]) == 4


@pytest.mark.slow
@pytest.mark.parametrize("n", [65, 500, 2_000, 20_000, 30_000])
@pytest.mark.parametrize("function", BOTH)
def test_estimate_is_within_four_standard_errors(function: str, n: int) -> None:
    state = in_batches(build(function, DType.INT64), list(range(1_000_000, 1_000_000 + n)), 997)
    assert abs(python_value(build(function, DType.INT64), state) - n) <= 4 * 0.0163 * n
    assert len(state[0][0]) <= 4200 or n <= 1000


def in_batches(count: Aggregate, values: list[Any], size: int) -> State:
    """Merged one batch after another, as a worker does."""
    state = count.init(1)
    for start in range(0, len(values), size):
        batch = values[start : start + size]
        state = count.merge(
            side_by_side([state, one_pass(count, values_of(DType.INT64, batch), in_order(len(batch)))]), starts(0)
        )
    return state


@pytest.mark.slow
@pytest.mark.parametrize("n", [64, 65, 66, 200, 384, 385, 386, 390, 450, 1000, 1001, 1500, 5000])
@pytest.mark.parametrize("function", BOTH)
def test_sketch_has_the_same_bytes_in_whatever_order_and_portions_values_came(function: str, n: int) -> None:
    """Around the sizes at which DataSketches goes from a list to a hash table (8) and on to registers (384)."""
    dice = np.random.default_rng(n)
    count = build(function, DType.INT64)
    values = list(range(n))
    whole = one_pass(count, values_of(DType.INT64, values), in_order(n))
    for size in (n, n // 2 + 1, n // 7 + 1, 50, 400):
        shuffled = [*dice.permutation(values).tolist(), *dice.permutation(values).tolist()[: n // 3]]
        assert in_batches(count, shuffled, size)[0].tolist() == whole[0].tolist()


@pytest.mark.slow
@given(values=st.lists(st.none() | st.integers(0, 30), max_size=25), bound=st.integers(1, 12), data=st.data())
@settings(max_examples=200, deadline=None)
def test_state_past_a_low_bound_depends_on_the_set_alone(
    values: list[int | None], bound: int, data: st.DataObject
) -> None:
    count = build("count_distinct", DType.INT64, bound)
    order = Order(np.zeros(len(values), np.int64), np.arange(len(values)))
    column = values_of(DType.INT64, values)
    merged = in_parts(count, column, order, data)
    assert merged[0].tolist() == one_pass(count, column, order)[0].tolist()
    assert python_value(count, merged) == len({value for value in values if value is not None})


def test_without_datasketches_a_sketch_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasketches", None)
    assert value_of(build("count_distinct", DType.INT64), [1, 2]) == 2
    with pytest.raises(ConfigError, match=r"pip install 'headrace\[sketches\]'"):
        value_of(build("count_distinct", DType.INT64, 1), [1, 2])
