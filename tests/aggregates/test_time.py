"""Rate, time_since_last and time_since_first: what depends on the moment of the lookup."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from headrace.aggregates import At, Values
from headrace.plan import DType
from tests.aggregates.helpers import build, in_order, one_pass, python_value, value_of

SECOND = 1_000_000


@pytest.mark.parametrize(
    ("values", "window_us", "expected"),
    [
        ([1, 2, 3], 60 * SECOND, 0.05),
        ([1, None, 3], 60 * SECOND, 2 / 60),
        ([None], SECOND, 0.0),
        ([], SECOND, 0.0),
        ([1], 1, 1e6),
        ([1, 1, 1], 30 * 86_400 * SECOND, 3 / (30 * 86_400)),
    ],
)
def test_rate_is_per_second_of_the_window(values: list[Any], window_us: int, expected: float) -> None:
    assert value_of(build("rate", DType.INT64), values, window_us=window_us) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("values", "times", "t_us", "last", "first"),
    [
        (["a", "b"], [0, 20 * SECOND], 30 * SECOND, 10.0, 30.0),
        (["a", "b"], [20 * SECOND, 0], 30 * SECOND, 10.0, 30.0),
        (["a", None, "c"], [5, 9, 7], 10, 3e-6, 5e-6),
        (["a"], [40 * SECOND], 30 * SECOND, -10.0, -10.0),
        (["a", "b"], [-SECOND, SECOND], 0, -1.0, 1.0),
        (["a"], [-62_135_596_800_000_000], 253_402_300_799_999_999, 315_537_897_599.999999, 315_537_897_599.999999),
        ([None], [3], 10, None, None),
        ([], [], 10, None, None),
    ],
)
def test_time_since_is_counted_from_the_latest_or_earliest_value(
    values: list[Any], times: list[int], t_us: int, last: float | None, first: float | None
) -> None:
    assert value_of(build("time_since_last", DType.STRING), values, times, t_us) == last
    assert value_of(build("time_since_first", DType.STRING), values, times, t_us) == first


def test_each_group_is_asked_at_its_own_moment() -> None:
    since = build("time_since_last", None)
    state = since.add(Values(np.zeros(2), np.array([True, True])), in_order(2))
    data, valid = since.value(state, At(np.array([0, SECOND]), None))
    assert valid.tolist() == [True, True]
    assert data.tolist() == [50e-6, 1 + 40e-6]


def test_all_events_count_where_no_column_is_named() -> None:
    for function, expected in (("rate", 3 / 60), ("time_since_last", 0.0), ("time_since_first", 20e-6)):
        aggregate = build(function, None)
        state = one_pass(aggregate, Values(np.zeros(3), np.ones(3, np.bool_)), in_order(3))
        assert python_value(aggregate, state, -30) == pytest.approx(expected, abs=1e-15)
