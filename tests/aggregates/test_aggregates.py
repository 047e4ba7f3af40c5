"""Count, sum, mean, min, max and last against plain Python; the names of all aggregates; groups stay separate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from headrace.aggregates import (
    AGGREGATES,
    ALIASES,
    Order,
    Values,
    aggregate_of,
    canonical_name,
    cells_of,
    parse_function,
)
from headrace.plan import Column, DType, Feature, Source
from tests.aggregates.helpers import in_order, kinds_of, one_pass, python_value, side_by_side, starts, values_of

SIX = ("count", "sum", "mean", "min", "max", "last")
CASES: dict[str, tuple[DType, list[Any]]] = {
    "ints": (DType.INT64, [3, None, -2, 7]),
    "one int": (DType.INT64, [0]),
    "large ints that cancel": (DType.INT64, [2**62, 2**62, -(2**62)]),
    "the ends of int64": (DType.INT64, [2**63 - 1, None, -(2**63)]),
    "negative ints": (DType.INT64, [-1, -(2**32), -(2**31), 5 - 2**33]),
    "null ints": (DType.INT64, [None, None]),
    "no ints": (DType.INT64, []),
    "floats": (DType.FLOAT64, [1.5, None, -2.25, 4.0]),
    "floats that round": (DType.FLOAT64, [0.1] * 10),
    "NaN among floats": (DType.FLOAT64, [1.0, math.nan, None, 3.0]),
    "only NaN": (DType.FLOAT64, [math.nan, None, math.nan]),
    "infinity": (DType.FLOAT64, [1.0, math.inf]),
    "minus infinity": (DType.FLOAT64, [-math.inf, None]),
    "both infinities": (DType.FLOAT64, [math.inf, 0.0, -math.inf]),
    "infinity and NaN": (DType.FLOAT64, [math.inf, math.nan, -math.inf]),
    "floats that overflow": (DType.FLOAT64, [1.5e308, 1.5e308]),
    "null floats": (DType.FLOAT64, [None]),
    "no floats": (DType.FLOAT64, []),
    "bools": (DType.BOOL, [True, None, False, True]),
    "false": (DType.BOOL, [False, False]),
    "null bools": (DType.BOOL, [None, None]),
    "no bools": (DType.BOOL, []),
    "times": (DType.TIMESTAMP, [1_357_034_400_000_000, None, -62_135_596_800_000_000]),
    "no times": (DType.TIMESTAMP, []),
    "texts": (DType.STRING, ["b", None, "ü", "", "a"]),
    "an empty text": (DType.STRING, [None, ""]),
    "null texts": (DType.STRING, [None]),
    "no texts": (DType.STRING, []),
}
ACCEPTED = [
    (function, case) for function in SIX for case, (dtype, _) in CASES.items() if dtype in AGGREGATES[function].accepts
]
KINDS = kinds_of(*SIX)


def by_hand(function: str, dtype: DType, values: Sequence[Any]) -> Any:
    """What an aggregate means, written anew; the last value is that of the last event."""
    there = [value for value in values if value is not None]
    numbers = [value for value in there if value == value]
    is_float = dtype is DType.FLOAT64
    match function:
        case "count":
            return len(there)
        case "sum":
            return sum(there, 0.0) if is_float else sum(there)
        case "mean" if not there:
            return None
        case "mean":
            return sum(there, 0.0) / len(there) if is_float else float(Fraction(sum(there), len(there)))
        case "min":
            return min(numbers or there, default=None)
        case "max":
            return math.nan if len(numbers) < len(there) else max(there, default=None)
        case _:
            return there[-1] if there else None


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(ours, float) and isinstance(theirs, float):
        return (math.isnan(ours) and math.isnan(theirs)) or math.isclose(ours, theirs, rel_tol=1e-12)
    return bool(ours == theirs)


@pytest.mark.parametrize(("function", "case"), ACCEPTED, ids=[f"{function} of {case}" for function, case in ACCEPTED])
def test_result_is_that_of_plain_python(function: str, case: str) -> None:
    dtype, values = CASES[case]
    aggregate = AGGREGATES[function](dtype)
    ours = python_value(aggregate, one_pass(aggregate, values_of(dtype, values), in_order(len(values))))
    assert same(ours, by_hand(function, dtype, values)), ours


@pytest.mark.parametrize(("function", "dtype"), KINDS)
def test_result_and_state_have_their_types(function: str, dtype: DType) -> None:
    aggregate = AGGREGATES[function](dtype)
    totals = {DType.INT64: DType.INT64, DType.BOOL: DType.INT64, DType.FLOAT64: DType.FLOAT64}
    expected = {"count": DType.INT64, "sum": totals.get(dtype), "mean": DType.FLOAT64}.get(function, dtype)
    assert aggregate.result_dtype is expected
    arrays = {"int64": np.int64, "float64": np.float64, "string": np.object_}
    wanted = [arrays[column.kind] for column in aggregate.state]
    one = values_of(dtype, ["x" if dtype is DType.STRING else 1])
    for state in (aggregate.init(3), aggregate.add(one, in_order(1)), one_pass(aggregate, one, in_order(1))):
        assert [column.dtype for column in state] == wanted


def test_count_of_everything_counts_nulls_too() -> None:
    count = AGGREGATES["count"](None)
    assert count.result_dtype is DType.INT64
    every_event = Values(np.arange(4), np.ones(4, np.bool_))
    assert python_value(count, one_pass(count, every_event, in_order(4))) == 4


@pytest.mark.parametrize("values", [[2**63 - 1, 1], [-(2**63), -1], [2**62] * 4])
def test_sum_beyond_64_bits_is_null_with_a_reason_and_the_mean_is_a_double(values: list[int]) -> None:
    total, mean = AGGREGATES["sum"](DType.INT64), AGGREGATES["mean"](DType.INT64)
    column, order = values_of(DType.INT64, values), in_order(len(values))
    found = cells_of(total, one_pass(total, column, order))
    assert (found.valid.tolist(), list(found.problems)) == ([False], [0])
    assert found.problems[0].startswith("the sum of integers does not fit 64 bits; ")
    assert python_value(mean, one_pass(mean, column, order)) == pytest.approx(sum(values) / len(values))


def test_sum_may_pass_64_bits_on_the_way() -> None:
    total = AGGREGATES["sum"](DType.INT64)
    parts = [one_pass(total, values_of(DType.INT64, values), in_order(2)) for values in ([2**62] * 2, [-(2**62)] * 2)]
    assert python_value(total, total.merge(side_by_side(parts), starts(0))) == 0


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        pytest.param([(20, 0), (10, 1), (30, 2)], "c", id="the latest event, not the last that arrived"),
        pytest.param([(30, 0), (10, 1), (20, 2)], "a", id="a late event does not take over"),
        pytest.param([(10, 3), (10, 9), (10, 5)], "b", id="at the same time, the greatest offset"),
        pytest.param([(10, 1 << 48), (10, 9), (10, 5)], "a", id="at the same time, the partition goes first"),
        pytest.param([(-30, 0), (-20, 1), (-40, 2)], "b", id="before 1970"),
    ],
)
def test_last_orders_by_event_time_and_then_position(order: list[tuple[int, int]], expected: str) -> None:
    last = AGGREGATES["last"](DType.STRING)
    ts, position = np.array(order).T
    assert python_value(last, one_pass(last, values_of(DType.STRING, ["a", "b", "c"]), Order(ts, position))) == expected


@pytest.mark.parametrize("function", ["min", "max", "last", "first", "first_n", "last_n", "distinct_n", "top_k"])
def test_aggregate_that_needs_a_column_says_so(function: str) -> None:
    with pytest.raises(TypeError, match=f"{function} needs a column"):
        _ = AGGREGATES[function](None).result_dtype


NAMES = """
    count sum mean min max last first var_pop var_samp stddev_pop stddev_samp skew first_n last_n distinct_n
    count_distinct approx_count_distinct percentile median top_k value_counts histogram rate time_since_last
    time_since_first decayed_sum decayed_count decayed_mean
"""


def test_names_and_aliases_lead_to_aggregates() -> None:
    assert list(AGGREGATES) == NAMES.split()
    assert {name: kind.name for name, kind in AGGREGATES.items()} == {name: name for name in AGGREGATES}
    expected = {"avg": "mean", "var": "var_samp", "variance": "var_samp", "std": "stddev_samp", "stddev": "stddev_samp"}
    assert expected == ALIASES
    for alias, name in expected.items():
        assert canonical_name(alias) == name
        assert parse_function(alias) == (name, ())
    assert canonical_name("mode") is None
    assert canonical_name("percentile(0.9)") == "percentile"


def test_aggregate_of_a_feature_has_its_columns_type() -> None:
    columns = (Column(name="at", dtype=DType.TIMESTAMP), Column(name="price", dtype=DType.FLOAT64))
    source = Source(name="s", topic="t", model="m:M", key=None, timestamp_field="at", columns=columns)

    def feature(function: str, column: str) -> Feature:
        return Feature(name="f", function=function, column=column, window_us=None, slide_us=None, dtype=DType.FLOAT64)

    assert aggregate_of(feature("max", "price"), source).result_dtype is DType.FLOAT64
    assert aggregate_of(feature("max", "at"), source).result_dtype is DType.TIMESTAMP
    assert aggregate_of(feature("count", "*"), source).dtype is None
