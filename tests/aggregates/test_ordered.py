"""First, first_n, last_n and distinct_n beside pandas: order by event time and then by source position."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.aggregates import Order
from headrace.plan import DType
from tests.aggregates.helpers import build, one_pass, python_value, value_of, values_of

PARTITION = 1 << 48
TIES = Order(np.array([10, 10, 10, 5]), np.array([PARTITION, 9, 5, PARTITION * 2]))


@pytest.mark.parametrize(
    ("function", "expected"),
    [
        ("first", "d"),
        ("last", "a"),
        ("first_n", ["d", "c", "b"]),
        ("last_n", ["c", "b", "a"]),
        ("distinct_n", ["a", "b", "c"]),
    ],
)
def test_ties_go_by_partition_and_then_by_offset(function: str, expected: Any) -> None:
    aggregate = build(function, DType.STRING)
    state = one_pass(aggregate, values_of(DType.STRING, ["a", "b", "c", "d"]), TIES)
    assert python_value(aggregate, state) == expected


@pytest.mark.parametrize(
    ("function", "k", "values", "expected"),
    [
        ("first_n", 2, [1, None, 2, 3], [1, 2]),
        ("first_n", 9, [1, None, 2, 3], [1, 2, 3]),
        ("last_n", 2, [1, 2, 3, None], [2, 3]),
        ("last_n", 1, [1, 1, 1], [1]),
        ("last_n", 9, [2, 2, 1], [2, 2, 1]),
        ("distinct_n", 2, [7, 8, 9, 8], [8, 9]),
        ("distinct_n", 2, [7, 8, 7, None, 9], [9, 7]),
        ("distinct_n", 5, [4, 4, 4], [4]),
        ("distinct_n", 5, [None], []),
    ],
)
def test_lists_hold_the_values_nearest_in_time(function: str, k: int, values: list[Any], expected: list[int]) -> None:
    assert value_of(build(function, DType.INT64, k), values) == expected


@pytest.mark.parametrize(
    ("dtype", "values", "expected"),
    [
        (DType.BOOL, [1, 0, None], [True, False]),
        (DType.STRING, ["", "e\u0301", "é", "😀\x00", None, '"\\'], ["", "e\u0301", "é", "😀\x00", '"\\']),
        (DType.TIMESTAMP, [253_402_300_799_999_999, -62_135_596_800_000_000], None),
        (DType.INT64, [2**63 - 1, -(2**63)], None),
        (DType.FLOAT64, [5e-324, -1.7976931348623157e308, math.inf, 0.1], None),
    ],
)
def test_lists_keep_values_to_the_bit_and_in_their_type(
    dtype: DType, values: list[Any], expected: list[Any] | None
) -> None:
    expected = values if expected is None else expected
    found = value_of(build("last_n", dtype, 9), values)
    assert found == expected
    assert [type(value) for value in found] == [type(value) for value in expected]


def test_nan_is_one_value_and_so_are_the_two_zeros() -> None:
    found = value_of(build("distinct_n", DType.FLOAT64, 9), [math.nan, 0.0, 2.0, -0.0, math.nan])
    assert math.isnan(found[0])
    assert found[1:] == [0.0, 2.0]
    assert math.copysign(1, found[1]) == -1  # as it was seen last


EVENTS = st.lists(st.tuples(st.none() | st.integers(-4, 4), st.integers(-3, 3)), max_size=30)


@pytest.mark.slow
@given(events=EVENTS, k=st.integers(1, 6))
@settings(max_examples=200, deadline=None)
def test_lists_are_those_of_pandas(events: list[tuple[int | None, int]], k: int) -> None:
    values, times = [value for value, _ in events], [ts for _, ts in events]
    frame = pd.DataFrame({"value": pd.array(values, "Int64"), "ts": times, "position": range(len(events))})
    ordered = frame.dropna().sort_values(["ts", "position"])["value"]
    expected = {
        "first_n": ordered.head(k).tolist(),
        "last_n": ordered.tail(k).tolist(),
        "distinct_n": ordered.drop_duplicates(keep="last").iloc[::-1].head(k).tolist(),
        "first": next(iter(ordered.tolist()), None),
        "last": next(iter(ordered.tolist()[::-1]), None),
    }
    for function, wanted in expected.items():
        aggregate = build(function, DType.INT64) if function in ("first", "last") else build(function, DType.INT64, k)
        assert value_of(aggregate, values, times) == wanted, function
