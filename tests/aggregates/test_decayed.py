"""Decayed sum, count and mean beside the formula and pandas' exponentially weighted mean."""

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
from tests.aggregates.helpers import build, in_parts, one_pass, python_value, value_of, values_of

SECOND = 1_000_000
FUNCTIONS = ["decayed_sum", "decayed_count", "decayed_mean"]


def value_at(function: str, values: list[Any], times: list[int], t_us: int, half_life: float = 10) -> Any:
    dtype = DType.FLOAT64 if any(isinstance(value, float) for value in values) else DType.INT64
    return value_of(build(function, dtype, half_life), values, times, t_us)


@pytest.mark.parametrize(
    ("values", "times", "t_us", "expected"),
    [
        ([4.0], [0], 0, (4.0, 1.0, 4.0)),
        ([4.0], [0], 10 * SECOND, (2.0, 0.5, 4.0)),
        ([4.0, 4.0], [0, 10 * SECOND], 20 * SECOND, (3.0, 0.75, 4.0)),
        ([1.0, 4.0, None], [0, 10 * SECOND, 0], 10 * SECOND, (4.5, 1.5, 3.0)),
        ([6, -6], [0, 0], 5 * SECOND, (0.0, math.sqrt(2), 0.0)),
        ([], [], 0, (0.0, 0.0, None)),
        ([None], [0], 0, (0.0, 0.0, None)),
        ([4.0], [10 * SECOND], 0, (8.0, 2.0, 4.0)),  # dated ahead of the lookup: it weighs more
        ([1.0], [0], 10**17, (0.0, 0.0, 1.0)),  # 3,000 years on nothing is left but the mean
        ([1.0, 3.0], [0, 10**17], 10**17, (3.0, 1.0, 3.0)),
        ([math.inf, 1.0], [0, 0], SECOND, (math.inf, None, math.inf)),
        ([math.inf], [0], 10**17, (math.inf, 0.0, math.inf)),
        ([math.inf, -math.inf], [0, 0], 0, (math.nan, 2.0, math.nan)),
        ([math.nan, 1.0], [0, 0], 0, (math.nan, 2.0, math.nan)),
    ],
)
def test_weight_is_halved_for_every_half_life(
    values: list[Any], times: list[int], t_us: int, expected: tuple[float | None, ...]
) -> None:
    for function, wanted in zip(FUNCTIONS, expected, strict=True):
        if wanted is None and function == "decayed_count":
            continue
        found = value_at(function, values, times, t_us)
        assert found == (None if wanted is None else pytest.approx(wanted, rel=1e-12, nan_ok=True)), function


def test_zero_stays_zero_also_where_its_weight_is_beyond_a_double() -> None:
    ahead = 10**17
    assert value_at("decayed_sum", [0.0], [ahead], 0) == 0.0
    assert value_at("decayed_count", [0.0], [ahead], 0) == math.inf
    assert value_at("decayed_mean", [0.0], [ahead], 0) == 0.0
    assert value_at("decayed_sum", [1.0], [1], 10**17, half_life=5e-324) == 0.0


def test_decayed_mean_does_not_change_while_nothing_comes() -> None:
    values, times = [1.0, 5.0, 2.0], [0, 7 * SECOND, 9 * SECOND]
    assert value_at("decayed_mean", values, times, 9 * SECOND) == value_at("decayed_mean", values, times, 10**15)


def test_decayed_count_takes_any_column() -> None:
    assert value_of(build("decayed_count", DType.STRING), ["", None, "a"], [0, 0, 0], 0) == 2.0
    assert value_of(build("decayed_sum", DType.BOOL), [True, False, True], [0, 0, 0], 10 * SECOND) == 1.0


EVENTS = st.lists(st.tuples(st.floats(-1e3, 1e3), st.integers(0, 600 * SECOND)), min_size=1, max_size=25)


@pytest.mark.slow
@given(events=EVENTS, half_life=st.floats(0.5, 1e4), age=st.integers(0, 600 * SECOND))
@settings(max_examples=200, deadline=None)
def test_decayed_values_are_those_of_the_formula_and_of_pandas(
    events: list[tuple[float, int]], half_life: float, age: int
) -> None:
    events = sorted(events, key=lambda event: event[1])
    values, times = [value for value, _ in events], [ts for _, ts in events]
    t_us = max(times) + age
    weights = 0.5 ** ((t_us - np.array(times)) / 1e6 / half_life)
    summed, slack = float(np.sum(weights * values)), 1e-12 * float(np.sum(weights * np.abs(values))) + 1e-290
    assert value_at("decayed_sum", values, times, t_us, half_life) == pytest.approx(summed, rel=1e-9, abs=slack)
    assert value_at("decayed_count", values, times, t_us, half_life) == pytest.approx(
        float(np.sum(weights)), rel=1e-9, abs=1e-290
    )
    moments = pd.to_datetime(pd.Series(times), unit="us")
    fading: Any = pd.Timedelta(seconds=half_life)  # which pandas takes, whatever its stubs say
    theirs = pd.Series(values).ewm(halflife=fading, times=moments).mean().iloc[-1]
    ours = value_at("decayed_mean", values, times, t_us, half_life)
    assert ours == pytest.approx(float(theirs), rel=1e-6, abs=1e-6)  # pandas has whole nanoseconds of half-life


@pytest.mark.slow
@given(events=EVENTS, function=st.sampled_from(FUNCTIONS), data=st.data())
@settings(max_examples=200, deadline=None)
def test_parts_that_fade_apart_merge_to_the_same(
    events: list[tuple[float, int]], function: str, data: st.DataObject
) -> None:
    aggregate = build(function, DType.FLOAT64, 3)
    values, times = [value for value, _ in events], [ts for _, ts in events]
    order = Order(np.array(times, np.int64), np.arange(len(times)))
    column = values_of(DType.FLOAT64, values)
    whole, merged = one_pass(aggregate, column, order), in_parts(aggregate, column, order, data)
    assert [one.tolist() for one in merged[:2]] == [one.tolist() for one in whole[:2]]
    t_us = max(times) + SECOND
    slack = 1e-11 * max(abs(value) for value in values) + 1e-290
    assert python_value(aggregate, merged, t_us) == pytest.approx(
        python_value(aggregate, whole, t_us), rel=1e-9, abs=slack
    )
