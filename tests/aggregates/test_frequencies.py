"""Top_k, value_counts and histogram beside pandas and numpy, and past their bound beside a sample drawn by hand."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.aggregates import Order
from headrace.plan import DType
from tests.aggregates.helpers import (
    ELEMENTS,
    brute_value,
    build,
    in_order,
    in_parts,
    one_pass,
    python_value,
    value_of,
    values_of,
)

FREQUENCIES = st.sampled_from([("top_k", (3,)), ("value_counts", ())])
COUNTED = [DType.INT64, DType.STRING, DType.BOOL]


@pytest.mark.parametrize(
    ("dtype", "values", "top", "counts"),
    [
        (DType.INT64, [7, 8, 8, None, 7, 9, -1], [7, 8, -1], '{"7":2,"8":2,"-1":1,"9":1}'),
        (DType.INT64, [], [], "{}"),
        (DType.INT64, [None], [], "{}"),
        (DType.BOOL, [1, 0, 1, None], [True, False], '{"true":2,"false":1}'),
        (DType.BOOL, [0, 1], [False, True], '{"false":1,"true":1}'),
        (DType.STRING, ["b", "a", "b", "B"], ["b", "B", "a"], '{"b":2,"B":1,"a":1}'),
        (DType.STRING, ["é", "e\u0301", "", "😀"], ["", "e\u0301", "é"], '{"":1,"e\u0301":1,"é":1,"😀":1}'),
        (DType.STRING, ['"\\', "\x00", '"\\'], ['"\\', "\x00"], '{"\\"\\\\":2,"\\u0000":1}'),
        (
            DType.INT64,
            [2**63 - 1, -(2**63)],
            [-(2**63), 2**63 - 1],
            '{"-9223372036854775808":1,"9223372036854775807":1}',
        ),
    ],
)
def test_most_frequent_come_first_and_ties_by_value(
    dtype: DType, values: list[Any], top: list[Any], counts: str
) -> None:
    found = value_of(build("top_k", dtype, 3), values)
    assert found == top
    assert [type(value) for value in found] == [type(value) for value in top]
    assert value_of(build("value_counts", dtype), values) == counts
    assert sum(json.loads(counts).values()) == sum(value is not None for value in values)


def test_top_k_of_times_is_of_microseconds() -> None:
    assert value_of(build("top_k", DType.TIMESTAMP, 1), [5, 9, 9]) == [9]


@given(st.lists(st.none() | st.integers(-5, 5), max_size=40))
@settings(max_examples=100, deadline=None)
def test_counts_are_those_of_pandas(values: list[int | None]) -> None:
    theirs = pd.Series(values, dtype="Int64").value_counts().to_dict()
    ours = json.loads(value_of(build("value_counts", DType.INT64), values))
    assert ours == {str(value): times for value, times in theirs.items()}
    ranked = sorted(theirs, key=lambda value: (-theirs[value], value))
    assert value_of(build("top_k", DType.INT64, 4), values) == ranked[:4]
    assert list(ours) == [str(value) for value in ranked]


@pytest.mark.slow
@given(dtype=st.sampled_from(COUNTED), chosen=FREQUENCIES, bound=st.integers(1, 5), data=st.data())
@settings(max_examples=80, deadline=None)
def test_past_the_bound_state_and_value_depend_on_the_events_alone(
    dtype: DType, chosen: tuple[str, tuple[int, ...]], bound: int, data: st.DataObject
) -> None:
    aggregate = build(chosen[0], dtype, *chosen[1], bound)
    values = data.draw(st.lists(st.none() | ELEMENTS[dtype], max_size=14))
    order, column = in_order(len(values)), values_of(dtype, values)
    whole, merged = one_pass(aggregate, column, order), in_parts(aggregate, column, order, data)
    assert [one.tolist() for one in merged] == [one.tolist() for one in whole]
    distinct = len({value for value in values if value is not None})
    assert (whole[1][0] == b"[]") == (distinct > bound)
    # So few events are all in the sample: past the bound nothing is lost yet.
    assert python_value(aggregate, merged) == brute_value(aggregate, values, order).value


def test_past_the_bound_counts_are_those_of_a_sample_scaled_to_all() -> None:
    dice = np.random.default_rng(5)
    values = [f"user {number}" for number in dice.zipf(1.5, 8_000) % 5000]
    order = Order(np.zeros(len(values), np.int64), dice.permutation(len(values)) * 7)
    exact, sampled = build("value_counts", DType.STRING, 100_000), build("value_counts", DType.STRING, 50)
    column = values_of(DType.STRING, values)
    counts = json.loads(python_value(exact, one_pass(exact, column, order)))
    assert counts == {str(value): times for value, times in pd.Series(values).value_counts().items()}

    half = len(values) // 2
    rows = sampled.add(column, order)
    parts = sampled.merge(rows, np.array([0, half // 3, half, half + 1]))
    assert parts[2].tolist() != [b""] * 4
    state = sampled.merge(parts, np.array([0]))
    assert [one.tolist() for one in state] == [one.tolist() for one in one_pass(sampled, column, order)]
    about = python_value(sampled, state)
    assert about == brute_value(sampled, values, order).value
    for value, times in list(json.loads(about).items())[:3]:
        assert abs(times - counts[value]) < 5 * 8_000 * 0.5 / math.sqrt(1024)
    top = build("top_k", DType.STRING, 2, 50)
    assert python_value(top, one_pass(top, column, order)) == list(counts)[:2]


EDGES: list[tuple[tuple[float, ...], DType, list[Any]]] = [
    ((0, 10, 20), DType.FLOAT64, [-1.0, 0.0, -0.0, 9.9, 10.0, 20.0, 21.0, None]),
    ((0,), DType.INT64, [-1, 0, 1, None]),
    ((0.5, 1.5), DType.INT64, [0, 1, 2, -5]),
    ((-0.5, 0.0), DType.INT64, [-1, 0, 1]),
    ((-1e308, 1e308), DType.FLOAT64, [math.inf, -math.inf, 0.0, 1e308]),
    ((2**53, 2**53 + 0.0 + 2), DType.INT64, [2**53 - 1, 2**53, 2**53 + 1, 2**53 + 2]),
    ((0.5, 2**53 + 1), DType.INT64, [2**53, 2**53 + 1]),
    ((0, 2**63), DType.INT64, [2**63 - 1]),
    ((-1e300, 1e300), DType.INT64, [2**63 - 1, -(2**63)]),
]


@pytest.mark.parametrize(("edges", "dtype", "values"), EDGES)
def test_histogram_is_that_of_numpy_with_the_outside_counted(
    edges: tuple[float, ...], dtype: DType, values: list[Any]
) -> None:
    there = [value for value in values if value is not None]
    found = value_of(build("histogram", dtype, *edges), values)
    assert found == [
        sum(value < edges[0] for value in there),
        *(sum(low <= value < high for value in there) for low, high in zip(edges, edges[1:], strict=False)),
        sum(value >= edges[-1] for value in there),
    ]
    assert sum(found) == len(there)


def test_nan_counts_as_above_the_last_edge() -> None:
    assert value_of(build("histogram", DType.FLOAT64, 0, 1), [math.nan, None, 0.5]) == [0, 1, 1]


@given(st.lists(st.floats(-100, 100), max_size=60), st.sets(st.integers(-90, 90), min_size=2, max_size=8))
@settings(max_examples=100, deadline=None)
def test_inner_counts_are_those_of_numpy(values: list[float], edges: set[int]) -> None:
    ascending = sorted(edges)
    found = value_of(build("histogram", DType.FLOAT64, *ascending), values)
    inside = [value for value in values if value < ascending[-1]]  # numpy counts the last edge in
    assert found[1:-1] == np.histogram(inside, ascending)[0].tolist()
