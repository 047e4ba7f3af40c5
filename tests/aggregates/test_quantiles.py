"""Percentile and median beside numpy, and past their size beside a sample drawn by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.aggregates import Order
from headrace.plan import DType
from tests.aggregates.helpers import brute_value, build, in_order, in_parts, one_pass, python_value, value_of, values_of


@pytest.mark.parametrize("p", [0, 0.1, 0.25, 0.5, 0.9, 0.99, 1])
@pytest.mark.parametrize("values", [[1.0], [1.0, 2.0], [5.0, -1.0, 3.0, 3.0], list(range(101)), [1e300, -1e300, 0.1]])
def test_percentile_is_that_of_numpy(p: float, values: list[float]) -> None:
    ours = value_of(build("percentile", DType.FLOAT64, p), [*values, None])
    assert ours == pytest.approx(float(np.quantile(values, p)), rel=1e-12)
    assert p != 0.5 or value_of(build("median", DType.FLOAT64), values) == ours


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=60), st.floats(0, 1))
@settings(max_examples=200, deadline=None)
def test_any_percentile_of_any_values_is_that_of_numpy(values: list[float], p: float) -> None:
    ours = value_of(build("percentile", DType.FLOAT64, p), values)
    largest = max(abs(value) for value in values)
    assert ours == pytest.approx(float(np.quantile(values, p)), rel=1e-9, abs=1e-12 * largest)
    assert min(values) <= ours <= max(values) or ours == pytest.approx(min(max(ours, min(values)), max(values)))


@pytest.mark.parametrize(
    ("values", "p", "expected"),
    [
        ([1.0, math.nan], 0, 1.0),
        ([1.0, math.nan], 0.5, math.nan),
        ([1.0, 2.0, math.nan], 0.5, 2.0),
        ([math.nan], 0.3, math.nan),
        ([math.inf, math.inf, 1.0], 0.9, math.inf),
        ([math.inf, 1.0], 0.5, math.inf),
        ([-math.inf, 1.0], 0.5, -math.inf),
        ([-math.inf, math.inf], 0.5, math.nan),
        ([-math.inf, -math.inf, 0.0], 0.25, -math.inf),
        ([-0.0, 0.0], 0.5, 0.0),
        ([-1.7976931348623157e308, 1.7976931348623157e308], 0.5, 0.0),
    ],
)
def test_nan_is_above_all_and_infinities_are_interpolated_with_care(
    values: list[float], p: float, expected: float
) -> None:
    found = value_of(build("percentile", DType.FLOAT64, p), values)
    assert found == expected or (math.isnan(found) and math.isnan(expected))


def test_percentile_of_ints_is_interpolated_too() -> None:
    assert value_of(build("median", DType.INT64), [1, 4, None]) == 2.5
    assert value_of(build("percentile", DType.INT64, 0.5), [-(2**40), 2**40]) == 0.0


@given(
    values=st.lists(st.none() | st.floats(width=32), min_size=1, max_size=20), size=st.integers(1, 6), data=st.data()
)
@settings(max_examples=80, deadline=None)
def test_past_its_size_the_sample_depends_on_the_events_alone(
    values: list[Any], size: int, data: st.DataObject
) -> None:
    aggregate = build("percentile", DType.FLOAT64, data.draw(st.floats(0, 1), label="p"), size)
    positions = data.draw(st.lists(st.integers(0, 2**62), min_size=len(values), max_size=len(values), unique=True))
    order = Order(np.zeros(len(values), np.int64), np.array(positions, np.int64))
    column = values_of(DType.FLOAT64, values)
    whole, merged = one_pass(aggregate, column, order), in_parts(aggregate, column, order, data)
    assert [one.tolist() for one in merged] == [one.tolist() for one in whole]
    assert len(whole[1][0]) <= 16 * size
    want = brute_value(aggregate, values, order).value
    found = python_value(aggregate, merged)
    assert found == (None if want is None else pytest.approx(want, rel=1e-9, abs=1e-30, nan_ok=True))


def test_rank_of_a_sampled_median_is_near_the_middle() -> None:
    """The standard error of the rank is 1 / (2 √1024) = 1.6%.

    A fair sample is never off by seven of them.
    """
    values = np.random.default_rng(3).lognormal(0, 2, 50_000)
    for arranged in (values, np.sort(values)):  # fair also where values and positions rise together
        state_of = build("median", DType.FLOAT64)
        state = one_pass(state_of, values_of(DType.FLOAT64, arranged.tolist()), in_order(len(values)))
        rank = float(np.mean(values <= python_value(state_of, state)))
        assert abs(rank - 0.5) < 0.05
        assert state[0].tolist() == [50_000]
        assert len(state[1][0]) == 16 * 1024


def test_exact_up_to_the_size_and_sampled_past_it() -> None:
    values = [float(number) for number in range(1024)]
    assert value_of(build("median", DType.FLOAT64), values) == 511.5
    over = [*values, 1e9]
    assert value_of(build("percentile", DType.FLOAT64, 1, 1025), over) == 1e9
    assert value_of(build("percentile", DType.FLOAT64, 1, 4), over) != 1e9
