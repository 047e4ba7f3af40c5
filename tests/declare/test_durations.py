"""Durations as people read and write them."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.declare.durations import as_code, nearest_slide, shown, to_us

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("us", "text", "code"),
    [
        (1, "1us", "timedelta(microseconds=1)"),
        (1_500, "1500us", "timedelta(microseconds=1500)"),
        (2_000, "2ms", "timedelta(milliseconds=2)"),
        (90_000_000, "90s", "timedelta(seconds=90)"),
        (15 * MINUTE, "15m", "timedelta(minutes=15)"),
        (36 * HOUR, "36h", "timedelta(hours=36)"),
        (7 * DAY, "7d", "timedelta(days=7)"),
        (-HOUR, "-1h", "timedelta(hours=-1)"),
    ],
)
def test_a_duration_is_told_in_the_largest_unit_that_measures_it(us: int, text: str, code: str) -> None:
    assert shown(us) == text
    assert as_code(us) == code


@settings(deadline=None)
@given(st.integers(min_value=1, max_value=400 * DAY))
def test_the_code_of_a_duration_means_that_duration(us: int) -> None:
    keyword, number = as_code(us).removeprefix("timedelta(").removesuffix(")").split("=")
    assert to_us(timedelta(**{keyword: int(number)})) == us


@pytest.mark.parametrize(
    ("window", "slide", "nearest"),
    [
        (HOUR, 7 * MINUTE, 6 * MINUTE),
        (HOUR, 25 * MINUTE, 20 * MINUTE),
        (HOUR, 45 * MINUTE, 30 * MINUTE),
        (DAY, 5 * HOUR, 4 * HOUR),
        (7 * DAY, 2 * DAY, DAY),
        (HOUR, 59 * MINUTE, HOUR),
        (30_000_000, 7_000_000, 6_000_000),
    ],
)
def test_the_nearest_slide_is_whole_in_the_unit_of_both(window: int, slide: int, nearest: int) -> None:
    assert nearest_slide(window, slide) == nearest


@pytest.mark.slow
@settings(deadline=None)
@given(st.integers(min_value=1, max_value=400 * DAY), st.integers(min_value=1, max_value=400 * DAY))
def test_the_nearest_slide_divides_the_window(window: int, slide: int) -> None:
    found = nearest_slide(window, slide)
    assert 0 < found <= window
    assert window % found == 0


@settings(deadline=None)
@given(st.integers(min_value=1, max_value=300), st.integers(min_value=1, max_value=300))
def test_no_divisor_is_nearer_than_the_nearest(window: int, slide: int) -> None:
    divisors = [number for number in range(1, window + 1) if window % number == 0]
    # One is coprime to every unit, so that the search is over all divisors.
    found = nearest_slide(window, slide)
    assert abs(found - slide) == min(abs(divisor - slide) for divisor in divisors)
