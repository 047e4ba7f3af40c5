"""Variance, standard deviation and skewness beside pandas, numpy and scipy."""

from __future__ import annotations

import math
import statistics
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats  # type: ignore[import-untyped]

from headrace.plan import DType
from tests.aggregates.helpers import build, in_order, one_pass, python_value, side_by_side, starts, value_of, values_of

FUNCTIONS = ["var_pop", "var_samp", "stddev_pop", "stddev_samp", "skew"]


def by_libraries(function: str, values: list[Any]) -> float | None:
    """The values of pandas and scipy; their NaN of too few values is our null.

    They get distances, because their formulas lose digits where values are large.
    """
    there = [value for value in values if value is not None]
    centre = there[0] if there and there[0] > 1e6 else 0
    column = pd.Series([float(value - centre) for value in there], dtype="float64")
    ddof = 0 if function.endswith("pop") else 1
    if function == "skew":
        if len(column) == 0 or column.nunique() == 1:
            return None
        return float(stats.skew(column.to_numpy(), bias=True))
    found = column.var(ddof=ddof) if function.startswith("var") else column.std(ddof=ddof)
    return None if math.isnan(found) else float(found)


TABLE: list[tuple[str, DType, list[Any]]] = [
    ("ints", DType.INT64, [3, None, -2, 7, 7]),
    ("floats", DType.FLOAT64, [1.5, None, -2.25, 4.0, 0.1]),
    ("bools", DType.BOOL, [True, None, False, True]),
    ("one value", DType.FLOAT64, [5.5]),
    ("two values", DType.FLOAT64, [5.5, 7.5]),
    ("all the same, though not a binary fraction", DType.FLOAT64, [0.1] * 10),
    ("nothing", DType.FLOAT64, []),
    ("nulls", DType.INT64, [None, None]),
    ("a long tail", DType.INT64, [1, 1, 1, 1, 1000]),
    ("large values close together", DType.FLOAT64, [1e9, 1e9 + 1, 1e9 + 3]),
    ("ints near the end of doubles' exact ones", DType.INT64, [2**52, 2**52 + 2, 2**52 + 4, 2**52 + 4]),
    ("far apart", DType.FLOAT64, [1e-8, 1e8]),
]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize(("dtype", "values"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_moments_are_those_of_pandas_and_scipy(function: str, dtype: DType, values: list[Any]) -> None:
    ours, theirs = value_of(build(function, dtype), values), by_libraries(function, values)
    assert ours == (None if theirs is None else pytest.approx(theirs, rel=1e-9, abs=1e-9)), theirs


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_moments_of_what_is_not_finite_are_nan(function: str, odd: float) -> None:
    aggregate = build(function, DType.FLOAT64)
    assert math.isnan(value_of(aggregate, [1.0, odd, 2.0]))
    assert math.isnan(value_of(aggregate, [odd, odd]))
    alone = python_value(aggregate, one_pass(aggregate, values_of(DType.FLOAT64, [odd]), in_order(1)))
    assert alone is None if function.endswith("samp") else math.isnan(alone)
    # Before anything is merged, too: a window of one tile of one event.
    unmerged = python_value(aggregate, aggregate.add(values_of(DType.FLOAT64, [odd]), in_order(1)))
    assert unmerged is None if function.endswith("samp") else math.isnan(unmerged)


def test_variance_does_not_cancel_where_sums_of_squares_would() -> None:
    values = [1e12 + number % 3 for number in range(3000)]
    naive = sum(value * value for value in values) / 3000 - (sum(values) / 3000) ** 2
    assert abs(naive - 2 / 3) > 1  # what this guards against
    assert value_of(build("var_pop", DType.FLOAT64), values) == pytest.approx(2 / 3, rel=1e-9)


def test_variance_does_not_drift_over_a_hundred_thousand_merges_of_one() -> None:
    values = np.random.default_rng(1).normal(1e6, 1.0, 100_000)
    variance = build("var_samp", DType.FLOAT64)
    rows = variance.add(values_of(DType.FLOAT64, values.tolist()), in_order(len(values)))
    state = variance.init(1)
    for row in range(0, len(values), 20):
        part = tuple(column[row : row + 20] for column in rows)
        state = variance.merge(side_by_side([state, part]), starts(0))
    assert python_value(variance, state) == pytest.approx(float(np.var(values, ddof=1)), rel=1e-9)


@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=40))
@settings(max_examples=200, deadline=None)
def test_variance_is_that_of_exact_arithmetic(values: list[float]) -> None:
    largest = max(abs(value) for value in values)
    ours = value_of(build("var_samp", DType.FLOAT64), values)
    assert ours == pytest.approx(statistics.variance(values), rel=1e-9, abs=1e-13 * largest**2 + 1e-300)
    assert ours >= 0
    assert value_of(build("stddev_pop", DType.FLOAT64), values) == pytest.approx(
        statistics.pstdev(values), rel=1e-9, abs=1e-6 * largest + 1e-150
    )


@given(st.lists(st.integers(-1000, 1000), min_size=1, max_size=40))
@settings(max_examples=200, deadline=None)
def test_skewness_is_that_of_scipy(values: list[int]) -> None:
    theirs = by_libraries("skew", values)
    ours = value_of(build("skew", DType.INT64), values)
    assert ours == (None if theirs is None else pytest.approx(theirs, rel=1e-9, abs=1e-9))
