from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.history.range_max import NONE, Pyramid, ordered, raised, unordered

INTS = st.integers(-(2**63), 2**63 - 1)
DOUBLES = st.floats(allow_nan=True, allow_infinity=True)


@settings(deadline=None)
@given(values=st.lists(INTS, max_size=40), data=st.data())
def test_greatest_of_any_range_is_found(values: list[int], data: st.DataObject) -> None:
    places = st.integers(0, len(values))
    ranges = data.draw(st.lists(st.tuples(places, places), max_size=20))
    start, end = (np.array([one[side] for one in ranges], np.int64) for side in (0, 1))
    pyramid = Pyramid(np.array(values, np.int64))
    for _ in range(2):  # the levels that were built serve the next question
        found = pyramid.greatest(start, end).tolist()
        assert found == [max(values[first:last], default=NONE) for first, last in ranges]


@settings(deadline=None)
@given(rows=st.integers(0, 40), data=st.data())
def test_value_raises_the_rows_that_it_counts_at(rows: int, data: st.DataObject) -> None:
    places = st.integers(0, rows)
    noted = data.draw(st.lists(st.tuples(places, places, INTS), max_size=20))
    first, end, values = (np.array([one[part] for one in noted], np.int64) for part in range(3))
    wanted = [max((value for a, b, value in noted if a <= row < b), default=NONE) for row in range(rows)]
    assert raised(rows, first, end, values).tolist() == wanted


@settings(deadline=None)
@given(st.lists(DOUBLES, min_size=2, max_size=20))
def test_doubles_keep_their_order_with_nan_as_the_greatest(values: list[float]) -> None:
    def rank(value: float) -> tuple[bool, float]:
        return (math.isnan(value), 0.0 if math.isnan(value) else value)

    numbers = ordered(np.array(values))
    for one, number in zip(values, numbers.tolist(), strict=True):
        for other, greater in zip(values, numbers.tolist(), strict=True):
            if rank(one) < rank(other):
                assert number < greater
    back = unordered(numbers, np.zeros(0)).tolist()
    assert all(a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(values, back, strict=True))


@pytest.mark.parametrize("value", [0, -(2**63), 2**63 - 1])
def test_integers_stay_what_they_are(value: int) -> None:
    values = np.array([value], np.int64)
    assert unordered(ordered(values), values).tolist() == [value]
