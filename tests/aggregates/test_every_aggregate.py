"""What all aggregates keep to: their types, groups that stay apart, canonical states, parameters that are checked."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.aggregates import AGGREGATES, Aggregate, At, Order, State, parse_function
from headrace.plan import DType
from proofs.check import same
from tests.aggregates.helpers import (
    ELEMENTS,
    brute_value,
    build,
    in_order,
    in_parts,
    kinds_of,
    one_pass,
    python_value,
    starts,
    values_of,
)
from tests.examples import few_and_many

KINDS = kinds_of()
OF_THE_COLUMN = {"min", "max", "first", "last"}
LISTS = {"first_n", "last_n", "distinct_n", "top_k"}
WHOLE = {"count", "count_distinct", "approx_count_distinct"}
EMPTY: dict[str, Any] = {
    **dict.fromkeys(["count", "count_distinct", "approx_count_distinct"], 0),
    **dict.fromkeys(["rate", "decayed_sum", "decayed_count"], 0.0),
    **dict.fromkeys(LISTS, []),
    "value_counts": "{}",
    "histogram": [0] * 5,
}
"""The value where there is nothing; None for the others, 0 of its type for sum."""


def empty_value(function: str, dtype: DType | None) -> Any:
    if function == "sum":
        return 0.0 if dtype is DType.FLOAT64 else 0
    return EMPTY.get(function)


def result_dtype(function: str, dtype: DType) -> DType:
    if function in OF_THE_COLUMN:
        return dtype
    if function in LISTS:
        return DType(f"{dtype.value}_list")
    if function in WHOLE or (function == "sum" and dtype is not DType.FLOAT64):
        return DType.INT64
    return {"histogram": DType.INT64_LIST, "value_counts": DType.STRING}.get(function, DType.FLOAT64)


def agree(aggregate: Aggregate, state: State, values: list[Any], order: Order, t_us: int) -> bool:
    """Whether the value of a state is that of the brute force; lists and counts exactly, sums to a billionth."""
    found = python_value(aggregate, state, t_us)
    if aggregate.result_dtype is DType.BOOL and found is not None:
        found = bool(found)  # a column of bools is one of integers
    want = brute_value(aggregate, values, order, t_us)
    assert same(aggregate.name, found, want), (found, want)
    return True


@pytest.mark.parametrize(("function", "dtype"), KINDS)
def test_result_and_state_have_their_types(function: str, dtype: DType) -> None:
    aggregate = build(function, dtype)
    assert aggregate.result_dtype is result_dtype(function, dtype)
    arrays = {"int64": np.int64, "float64": np.float64, "string": np.object_, "bytes": np.object_}
    wanted = [arrays[column.kind] for column in aggregate.state]
    one = values_of(dtype, ["x" if dtype is DType.STRING else 1])
    for state in (aggregate.init(3), aggregate.add(one, in_order(1)), one_pass(aggregate, one, in_order(1))):
        assert [column.dtype for column in state] == wanted
        for column, described in zip(state, aggregate.state, strict=True):
            assert described.kind != "bytes" or all(type(held) is bytes for held in column)
    assert all(len(column) == 0 for column in aggregate.init(0))
    assert len(aggregate.value(aggregate.init(0), At(np.zeros(0, np.int64), 1)).data) == 0


@pytest.mark.parametrize(("function", "dtype"), KINDS)
def test_nothing_and_nulls_have_the_value_of_nothing(function: str, dtype: DType) -> None:
    aggregate = build(function, dtype)
    for values in ([], [None], [None, None, None]):
        state = one_pass(aggregate, values_of(dtype, values), in_order(len(values)))
        assert python_value(aggregate, state) == empty_value(function, dtype)
        for column, described, nothing in zip(state, aggregate.state, aggregate.init(1), strict=True):
            assert described.kind == "float64" or column.tolist() == nothing.tolist()


@pytest.mark.parametrize("function", [name for name, kind in AGGREGATES.items() if kind.takes_all])
def test_all_events_are_as_a_column_that_is_never_null(function: str) -> None:
    events, every = build(function, None), build(function, DType.INT64)
    values, order = values_of(DType.INT64, [1, 1, 1]), in_order(3)
    found = python_value(events, one_pass(events, values, order), 77)
    assert found == python_value(every, one_pass(every, values, order), 77)
    assert agree(events, one_pass(events, values, order), [1, 1, 1], order, 77)


@pytest.mark.parametrize(("function", "dtype"), KINDS)
def test_groups_of_one_call_do_not_touch_each_other(function: str, dtype: DType) -> None:
    aggregate = build(function, dtype)
    groups: dict[DType, list[list[Any]]] = {
        DType.FLOAT64: [[1.0, math.nan], [None], [2.5, 8.0, -1.0], [math.inf], [0.5, None, 3.0]],
        DType.STRING: [["a", "b"], [None], ["c", None, "d"], [""], ["e", "e", "d"]],
        DType.BOOL: [[True, True], [None], [False, True, False], [False], [None, None, True]],
    }
    runs = groups.get(dtype, [[5, -9], [None], [2**40, None, 7], [0], [3, 3, 9]])
    flat, order = [value for run in runs for value in run], in_order(10)
    first = np.cumsum([0, *(len(run) for run in runs)])
    state = aggregate.merge(aggregate.add(values_of(dtype, flat), order), first[:-1])
    for number, (start, run) in enumerate(zip(first.tolist(), runs, strict=False)):
        mine = Order(order.ts[start : start + len(run)], order.position[start : start + len(run)])
        assert agree(aggregate, tuple(column[number : number + 1] for column in state), run, mine, 500)


def assert_same_state(aggregate: Aggregate, ours: State, theirs: State, spread: float) -> None:
    """Whole numbers, strings and bytes to the bit; doubles to a billionth of the largest magnitude."""
    for column, mine, other in zip(aggregate.state, ours, theirs, strict=True):
        if column.kind == "float64":
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-9 * spread, err_msg=column.name)
        else:
            assert mine.tolist() == other.tolist(), column.name


TIMES = st.integers(-3, 3) | st.integers(-(10**8), 10**8)


@few_and_many(100, 600)
def test_state_is_canonical_and_its_value_that_of_the_brute_force(examples: int) -> None:
    @given(kind=st.sampled_from(KINDS), data=st.data())
    @settings(max_examples=examples, deadline=None)
    def check(kind: tuple[str, DType], data: st.DataObject) -> None:
        check_state_and_value(*kind, data)

    check()


def check_state_and_value(function: str, dtype: DType, data: st.DataObject) -> None:
    aggregate = build(function, dtype)
    rows = data.draw(st.lists(st.none() | ELEMENTS[dtype], max_size=14), label="values")
    if dtype is DType.INT64 and function in ("sum", "skew") or function.startswith(("var", "std")):
        rows = [value // 2**30 if isinstance(value, int) else value for value in rows]  # cubes stay what a double holds
    order = Order(
        np.array(data.draw(st.lists(TIMES, min_size=len(rows), max_size=len(rows)), label="times"), np.int64),
        np.array(
            data.draw(
                st.lists(st.integers(0, 2**49), min_size=len(rows), max_size=len(rows), unique=True), label="positions"
            ),
            np.int64,
        ),
    )
    values = values_of(dtype, rows)
    whole, merged = one_pass(aggregate, values, order), in_parts(aggregate, values, order, data)
    finite = [abs(value) for value in rows if isinstance(value, int | float) and math.isfinite(value)]
    power = 3 if function == "skew" else 2
    spread = 1.0 if dtype is DType.TIMESTAMP else float(max(finite, default=0)) ** power
    assert_same_state(aggregate, merged, whole, max(spread, 1.0))
    newest = int(order.ts.max(initial=0))
    t_us = newest + data.draw(st.integers(-(10**7), 10**9), label="age")
    assert agree(aggregate, merged, rows, order, t_us)
    assert agree(aggregate, whole, rows, order, t_us)


REFUSED = [
    ("count(1)", "count takes no parameters: write 'count'"),
    ("var(2)", "var_samp takes no parameters"),
    ("rate(60)", "rate takes no parameters"),
    ("approx_count_distinct(9)", r"count_distinct\(bound\) is exact"),
    ("last_n", r"last_n takes k: write 'last_n\(5\)'"),
    ("first_n(0)", "first_n: k is 0; it must be a whole number of at least 1"),
    ("distinct_n(1.5)", "distinct_n: k is 1.5; it must be a whole number"),
    ("last_n(1, 2)", "last_n takes k"),
    ("last_n(five)", "last_n: the parameter 'five' is not a number"),
    ("count_distinct(-1)", "count_distinct: bound is -1"),
    ("count_distinct(1, 2)", r"count_distinct takes bound: write 'count_distinct\(1000\)'"),
    ("percentile", r"percentile takes p between 0 and 1, and optionally a size: write 'percentile\(0.9\)'"),
    ("percentile(90)", r"percentile takes p between 0 and 1.*percentile\(0.9\)"),
    ("percentile(-0.1)", "percentile takes p between 0 and 1"),
    ("percentile(nan)", "percentile takes p between 0 and 1"),
    ("percentile(0.5, 0)", "percentile: size is 0"),
    ("percentile(0.5, 10, 10)", r"percentile takes p between 0 and 1, and optionally a size"),
    ("median(0.5)", "median: size is 0.5"),
    ("top_k", r"top_k takes k, bound: write 'top_k\(5, 1000\)'"),
    ("top_k(0)", "top_k: k is 0"),
    ("top_k(3, 0)", "top_k: bound is 0"),
    ("value_counts(0)", "value_counts: bound is 0"),
    ("histogram", r"histogram takes its edges, ascending and finite: write 'histogram\(0, 10, 20\)'"),
    ("histogram(1, 1)", "histogram takes its edges, ascending"),
    ("histogram(2, 1)", "histogram takes its edges, ascending"),
    ("histogram(nan)", "histogram takes its edges, ascending"),
    ("histogram(0, inf)", "histogram takes its edges, ascending"),
    ("decayed_sum", r"decayed_sum takes a half-life in seconds, greater than 0: write 'decayed_sum\(3600\)'"),
    ("decayed_count(0)", "decayed_count takes a half-life in seconds, greater than 0"),
    ("decayed_mean(-3)", "decayed_mean takes a half-life in seconds, greater than 0"),
    ("decayed_sum(nan)", "decayed_sum takes a half-life in seconds, greater than 0"),
    ("decayed_sum(inf)", "decayed_sum takes a half-life in seconds, greater than 0"),
    ("decayed_sum(1, 2)", "decayed_sum takes a half-life in seconds, greater than 0"),
    ("mode", "the function 'mode' is unknown"),
    ("percentile(0.9", "is unknown"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED, ids=[text for text, _ in REFUSED])
def test_function_that_makes_no_sense_is_refused_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_function(text)


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("count", ("count", ())),
        ("count()", ("count", ())),
        (" percentile( 0.9 ) ", ("percentile", (0.9, 1024))),
        ("percentile(1)", ("percentile", (1.0, 1024))),
        ("percentile(0.25, 16)", ("percentile", (0.25, 16))),
        ("median", ("median", (1024,))),
        ("last_n(5)", ("last_n", (5,))),
        ("count_distinct", ("count_distinct", (1000,))),
        ("top_k(3)", ("top_k", (3, 1000))),
        ("value_counts(20)", ("value_counts", (20,))),
        ("histogram(-1.5,0, 1e3)", ("histogram", (-1.5, 0, 1000.0))),
        ("decayed_sum(0.5)", ("decayed_sum", (0.5,))),
    ],
)
def test_function_is_parsed_and_its_defaults_filled_in(text: str, parsed: tuple[str, tuple[float, ...]]) -> None:
    assert parse_function(text) == parsed


@pytest.mark.parametrize("function", ["rate", "decayed_sum", "decayed_count", "time_since_last", "time_since_first"])
def test_result_that_depends_on_the_lookup_is_not_given_without(function: str) -> None:
    aggregate = build(function, DType.INT64)
    with pytest.raises(TypeError, match="call `value`"):
        aggregate.result(aggregate.init(1))


def test_rate_needs_a_window() -> None:
    rate = build("rate", None)
    assert rate.needs_window
    assert [name for name, kind in AGGREGATES.items() if kind.needs_window] == ["rate"]
    with pytest.raises(TypeError, match="needs a window"):
        rate.value(rate.init(1), At(np.array(starts(0)), None))
