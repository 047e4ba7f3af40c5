"""The one definition of a window, in pictures: an event counts iff `tile(t) − n < tile(ts) ≤ tile(t)`."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.aggregates import Values
from headrace.plan import Column, DType, Feature, Source, View
from headrace.windows import Events, ViewLayout, Window, tile_of
from tests.windows.pictures import Timeline, read
from tests.windows.plain import tile_events, value_at

MICROSECONDS_OF_A_DAY = 86_400_000_000

PICTURES: dict[str, tuple[int | None, int | None, str]] = {
    # As time passes the window moves a slide at a time, and its value changes with no new event.
    "sliding: length 15, slide 5": (
        15,
        5,
        """
        tiles   |    |    |    |    |    |    |    |
        events   a      b  c       d
        none   ^
        a       ^
        a           ^
        ab           ^
        ab               ^
        abc               ^
        abc                   ^
        bcd                    ^
        bcd                        ^
        cd                          ^
        cd                              ^
        d                                ^
        d                                    ^
        none                                  ^
        """,
    ),
    # The slide that now lies in counts whole, its events after now too: they are there, and known.
    "sliding: events after now count within now's tile only": (
        10,
        5,
        """
        tiles   |    |    |    |
        events    a b c     d
        ab      ^
        ab        ^
        ab          ^
        abc          ^
        abc              ^
        cd                ^
        cd                    ^
        d                      ^
        d                          ^
        """,
    ),
    # A tumbling window is a window to date: it starts anew at every boundary.
    "tumbling: length 6, slide 6": (
        6,
        6,
        """
        tiles   |     |     |     |
        events   a   b c   d
        ab           ^
        cd            ^
        cd             ^
        cd                 ^
        none                ^
        """,
    ),
    # A slide of 1 µs is the exact window: after t − 4, up to t.
    "exact: length 4, slide 1": (
        4,
        1,
        """
        tiles   |||||||||||||||||||||
        events     a  b cd      e
        none      ^
        a          ^
        ab            ^
        b              ^
        bcd              ^
        cd                ^
        d                   ^
        none                 ^
        e                       ^
        e                          ^
        none                        ^
        """,
    ),
    "exact: length 1, slide 1": (
        1,
        1,
        """
        tiles   |||||||||
        events     a
        none      ^
        a          ^
        none        ^
        """,
    ),
    # No window: everything, whenever it happened, dated after now included.
    "lifetime": (
        None,
        None,
        """
        zero    0
        events   a   b c        d
        abcd    ^
        abcd            ^
        abcd                       ^
        """,
    ),
    # Tiles floor before 1970 too: −1 lies in tile −1, with −5.
    "before 1970: length 10, slide 5": (
        10,
        5,
        """
        zero               0
        tiles    |    |    |    |    |
        events    a   b c d e   f
        a        ^
        a            ^
        abcd          ^
        abcd              ^
        bcde               ^
        bcde                   ^
        ef                      ^
        """,
    ),
    "before 1970, tumbling": (
        5,
        5,
        """
        zero               0
        tiles    |    |    |    |
        events    a  bc   de   f
        ab           ^
        cd            ^
        cd                ^
        ef                 ^
        """,
    ),
    "before 1970, exact": (
        3,
        1,
        """
        zero           0
        tiles   ||||||||||||||
        events    a  b c  d
        a           ^
        b            ^
        bc             ^
        c                ^
        d                 ^
        """,
    ),
    # On a boundary exactly: the new tile is in, the oldest is out, whole.
    "at a slide boundary": (
        8,
        4,
        """
        tiles   |   |   |   |
        events  a  bc  de  f
        abcd           ^
        cdef            ^
        cdef               ^
        ef                  ^
        """,
    ),
}


def count_by_window(window: Window, timeline: Timeline, t: int) -> str:
    times = np.array(list(timeline.events.values()))
    counted = window.reaches(tile_of(times, window.slide_us), np.full(len(times), t))
    return "".join(letter for letter, is_in in zip(timeline.events, counted.tolist(), strict=True) if is_in)


def count_by_tiles(window: Window, timeline: Timeline, t: int) -> str:
    """The same through tiles: a sum of one bit per event tells which were counted."""
    feature = Feature(
        name="f",
        function="sum",
        column="bit",
        window_us=window.length_us,
        slide_us=window.slide_us,
        dtype=DType.INT64,
    )
    view = View(name="v", source="s", entities=(), features=(feature,))
    columns = (Column(name="bit", dtype=DType.INT64),)
    layout = ViewLayout.of(
        view, Source(name="s", topic="t", model="m:M", key=None, timestamp_field="", columns=columns)
    )
    n = len(timeline.events)
    times = np.array(list(timeline.events.values()))
    bits = Values(1 << np.arange(n), np.ones(n, np.bool_))
    (family,) = layout.families
    tiles = tile_events(family, Events(np.zeros(n, np.int64), times, np.arange(n), times, {"bit": bits}))
    total = int(value_at(family, layout.places["f"], tiles, np.array([t])).data[0])
    return "".join(letter for number, letter in enumerate(timeline.events) if total >> number & 1)


@pytest.mark.parametrize("case", PICTURES)
def test_lookup_counts_what_the_picture_shows(case: str) -> None:
    length, slide, picture = PICTURES[case]
    window, timeline = Window(length, slide), read(picture)
    assert timeline.lookups
    assert all(tile % slide == 0 for tile in timeline.tiles if slide is not None)
    for t, letters in timeline.lookups:
        assert count_by_window(window, timeline, t) == letters, f"at {t}"
        assert count_by_tiles(window, timeline, t) == letters, f"at {t}, by tiles"


def test_number_of_tiles_is_length_over_slide() -> None:
    assert Window(60, 15).tiles == 4
    assert Window(60, 60).tiles == 1
    assert Window(30 * MICROSECONDS_OF_A_DAY, 1).tiles == 30 * MICROSECONDS_OF_A_DAY
    assert Window(None, None).tiles is None


def test_tiles_floor_on_both_sides_of_1970() -> None:
    times = np.array([-11, -10, -9, -1, 0, 1, 9, 10])
    assert tile_of(times, 10).tolist() == [-2, -1, -1, -1, 0, 0, 0, 1]
    assert tile_of(times, None).tolist() == [0] * 8


TIMES = st.integers(-(2**55), 2**55)


@given(slide=st.integers(1, 40 * MICROSECONDS_OF_A_DAY), n=st.integers(1, 10_000), t=TIMES, back=st.data())
@settings(max_examples=200, deadline=None)
def test_rule_holds_for_any_window_and_time(slide: int, n: int, t: int, back: st.DataObject) -> None:
    edge = (t // slide - n + 1) * slide
    ts = back.draw(TIMES | st.sampled_from([edge - 1, edge, t, (t // slide + 1) * slide - 1, (t // slide + 1) * slide]))
    counted = bool(Window(n * slide, slide).reaches(tile_of(np.array([ts]), slide), np.array([t]))[0])
    assert counted == (t // slide - n < ts // slide <= t // slide)
    if counted and ts <= t:
        assert t - ts < n * slide  # never longer than its length


@given(
    slide=st.integers(1, 10**9), n=st.integers(1, 50), boundary=st.integers(-1000, 1000), ago=st.integers(-5, 10**11)
)
@settings(max_examples=200, deadline=None)
def test_window_that_ends_at_a_slide_boundary_is_the_closed_hopping_window(
    slide: int, n: int, boundary: int, ago: int
) -> None:
    """The last microsecond before a boundary sees [boundary − W, boundary), as Flink and Kafka Streams emit it then."""
    end = boundary * slide
    ts = end - 1 - ago
    counted = bool(Window(n * slide, slide).reaches(tile_of(np.array([ts]), slide), np.array([end - 1]))[0])
    assert counted == (end - n * slide <= ts < end)


@given(length=st.integers(1, 10**12), t=TIMES, ago=st.integers(-5, 10**12 + 5))
@settings(max_examples=200, deadline=None)
def test_slide_of_a_microsecond_is_the_exact_sliding_window(length: int, t: int, ago: int) -> None:
    ts = t - ago
    counted = bool(Window(length, 1).reaches(np.array([ts]), np.array([t]))[0])
    assert counted == (t - length < ts <= t)
