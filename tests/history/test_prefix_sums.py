from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.history.prefix_sums import Sums, double_sum, integer_sum, prefix, tracks_of
from tests.examples import few_and_many

ANY_SIZE = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from(
    [5e-324, -5e-324, 1e300, -1e300, 0.1, 0.0]
)
SPANS = st.tuples(st.integers(0, 12), st.integers(0, 12)).map(sorted)


def sums_of(tracks: list[np.ndarray], first: int, last: int) -> Sums:
    """A range's sums as the join takes them: the difference of two running totals."""
    return [prefix(track)[[last]] - prefix(track)[[first]] for track in tracks]


@few_and_many(30, 300)
def test_sum_of_doubles_is_the_one_nearest_to_the_exact_sum(examples: int) -> None:
    @settings(max_examples=examples, deadline=None)
    @given(values=st.lists(ANY_SIZE, min_size=12, max_size=12), span=SPANS)
    def check(values: list[float], span: list[int]) -> None:
        first, last = span
        cut = tracks_of(np.array(values), None)
        assert cut.shape is not None
        found = double_sum(sums_of(cut.tracks, first, last), cut.shape)[0]
        assert found == nearest(sum((Fraction(value) for value in values[first:last]), Fraction(0)))

    check()


def test_sum_in_the_middle_of_two_doubles_is_decided_by_the_least_bit() -> None:
    one, half = 1.0, 2.0**-53
    for least, wanted in ((0.0, 1.0), (2.0**-400, 1.0 + 2.0**-52), (-(2.0**-400), 1.0)):
        values = np.array([one, half, least, 2.0**-500])
        cut = tracks_of(values, None)
        assert cut.shape is not None
        assert len(cut.tracks) > 3
        assert double_sum(sums_of(cut.tracks, 0, 3), cut.shape)[0] == wanted


def nearest(exact: Fraction) -> float:
    try:
        return float(exact)
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


@settings(deadline=None)
@given(values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=12, max_size=12), span=SPANS)
def test_sum_of_integers_is_exact_or_said_not_to_fit(values: list[int], span: list[int]) -> None:
    first, last = span
    cut = tracks_of(np.array(values, np.int64), None)
    found, fits, as_double = integer_sum(sums_of(cut.tracks, first, last))
    wanted = sum(values[first:last])
    assert bool(fits[0]) is (-(2**63) <= wanted < 2**63)
    if fits[0]:
        assert found[0] == wanted
    assert math.isclose(as_double[0], wanted, rel_tol=1e-15)


def test_integers_that_cannot_overflow_are_summed_as_they_are() -> None:
    assert len(tracks_of(np.arange(1000), None).tracks) == 1
    assert len(tracks_of(np.array([2**62, 1]), None).tracks) == 2


def test_nan_and_infinities_count_only_where_they_are() -> None:
    values = np.array([1.0, math.inf, 2.0, -math.inf, math.nan, 4.0])
    cut = tracks_of(values, None)
    assert cut.shape is not None
    ranges = {(0, 1): 1.0, (0, 3): math.inf, (2, 4): -math.inf, (0, 4): math.nan, (4, 6): math.nan, (5, 6): 4.0}
    for (first, last), wanted in ranges.items():
        found = double_sum(sums_of(cut.tracks, first, last), cut.shape)[0]
        assert found == wanted or (math.isnan(found) and math.isnan(wanted))


def test_what_does_not_count_adds_nothing() -> None:
    cut = tracks_of(np.array([1.0, math.nan, 4.0]), np.array([True, False, False]))
    assert cut.shape is not None
    assert double_sum(sums_of(cut.tracks, 0, 3), cut.shape)[0] == 1.0
