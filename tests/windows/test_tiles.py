"""Tiles: events fall into them, they merge in any order, and pruning takes only what no window can reach."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.aggregates import Values
from headrace.plan import Column, DType, Feature, Source, View
from headrace.windows import (
    NEVER,
    Events,
    Family,
    FeaturePlace,
    Tiles,
    ViewLayout,
    prune_tiles,
)
from tests.windows.plain import merge_tiles, tile_events, value_at

SLIDE = 10
SOURCE = Source(
    name="s",
    topic="t",
    model="m:M",
    key=None,
    timestamp_field="at",
    columns=(Column(name="at", dtype=DType.TIMESTAMP), Column(name="n", dtype=DType.INT64)),
)
GROUPS = 3


def feature(
    name: str, function: str, column: str, window: int | None, slide: int | None, dtype: DType = DType.INT64
) -> Feature:
    return Feature(name=name, function=function, column=column, window_us=window, slide_us=slide, dtype=dtype)


LAYOUT = ViewLayout.of(
    View(
        name="v",
        source="s",
        entities=(),
        features=(
            feature("events_20", "count", "*", 20, SLIDE),
            feature("events_40", "count", "*", 40, SLIDE),
            feature("sum_40", "sum", "n", 40, SLIDE),
            feature("last_40", "last", "n", 40, SLIDE),
            feature("events_exact", "count", "*", 15, 1),
            feature("sum_ever", "sum", "n", None, None),
            feature("min_ever", "min", "n", None, None),
        ),
    ),
    SOURCE,
)
SLIDING, EXACT, LIFETIME = LAYOUT.families


class Event(NamedTuple):
    group: int
    ts: int
    n: int | None
    known: int


def events_of(events: Sequence[Event]) -> Events:
    numbers = np.array([0 if event.n is None else event.n for event in events], np.int64)
    return Events(
        np.array([event.group for event in events], np.int64),
        np.array([event.ts for event in events], np.int64),
        np.arange(len(events)),
        np.array([event.known for event in events], np.int64),
        {"n": Values(numbers, np.array([event.n is not None for event in events], np.bool_))},
    )


def value(name: str, tiles: Tiles, t: Sequence[int]) -> list[int | None]:
    place: FeaturePlace = LAYOUT.places[name]
    data, valid = value_at(LAYOUT.families[place.family], place, tiles, np.array(t, np.int64))
    return [number if is_there else None for number, is_there in zip(data.tolist(), valid.tolist(), strict=True)]


def by_hand(name: str, events: Sequence[Event], group: int, t: int) -> int | None:
    wanted = LAYOUT.view.feature(name)
    counted = [event for event in events if event.group == group]
    if wanted.window_us is not None and wanted.slide_us is not None:
        s, n = wanted.slide_us, wanted.window_us // wanted.slide_us
        counted = [event for event in counted if t // s - n < event.ts // s <= t // s]
    if wanted.function == "count":
        return len(counted)
    # Stable: among equal times the later position stays behind.
    numbers = [event.n for event in sorted(counted, key=lambda event: event.ts) if event.n is not None]
    match wanted.function:
        case "sum":
            return sum(numbers)
        case "min":
            return min(numbers, default=None)
        case _:
            return numbers[-1] if numbers else None


def assert_same(ours: Tiles, theirs: Tiles) -> None:
    for mine, other in zip(_columns(ours), _columns(theirs), strict=True):
        np.testing.assert_array_equal(mine, other)


def _columns(tiles: Tiles) -> list[np.ndarray[tuple[int, ...], np.dtype[np.generic]]]:
    return [tiles.group, tiles.tile, tiles.known_us, *(column for state in tiles.states for column in state)]


EVENTS = st.lists(
    st.builds(
        Event,
        group=st.integers(0, GROUPS - 1),
        ts=st.integers(-60, 60),
        n=st.none() | st.integers(-100, 100),
        known=st.integers(-60, 90),
    ),
    max_size=25,
)


def test_event_lands_in_its_tile_whenever_it_arrives() -> None:
    #   tile  −1        0         1
    #         |---------|---------|---------|
    #            b       a  d       c           arrival: a, b (late, before 1970), c, d (late)
    arrivals = [Event(0, 0, 1, 50), Event(0, -7, 2, 51), Event(0, 12, 4, 52), Event(0, 3, 8, 53)]
    tiles = tile_events(SLIDING, events_of(arrivals))
    assert tiles.tile.tolist() == [-1, 0, 1]
    assert tiles.known_us.tolist() == [51, 53, 52]
    count, total, last = SLIDING.accumulators
    assert [accumulator.aggregate.name for accumulator in (count, total, last)] == ["count", "sum", "last"]
    assert count.aggregate.result(tiles.states[0]).data.tolist() == [1, 2, 1]
    assert total.aggregate.result(tiles.states[1]).data.tolist() == [2, 9, 4]
    assert last.aggregate.result(tiles.states[2]).data.tolist() == [2, 8, 4]


def test_lifetime_is_one_tile() -> None:
    tiles = tile_events(LIFETIME, events_of([Event(1, 5, 1, 5), Event(0, -(10**17), 2, 6), Event(1, 10**17, 3, 7)]))
    assert tiles.group.tolist() == [0, 1]
    assert tiles.tile.tolist() == [0, 0]
    assert value("sum_ever", tiles, [0, 0]) == [2, 4]


def test_value_changes_as_time_passes_with_no_new_event() -> None:
    tiles = tile_events(SLIDING, events_of([Event(0, 4, 5, 4), Event(0, 17, 7, 17)]))
    assert [value("sum_40", tiles, [t])[0] for t in (-1, 0, 9, 10, 39, 40, 49, 50)] == [0, 5, 5, 12, 12, 7, 7, 0]
    assert [value("last_40", tiles, [t])[0] for t in (-1, 0, 40, 50)] == [None, 5, 7, None]


def test_group_without_tiles_reads_the_neutral_value() -> None:
    tiles = tile_events(SLIDING, events_of([Event(1, 4, 5, 4)]))
    assert value("events_20", tiles, [5, 5, 5]) == [0, 1, 0]
    assert value("last_40", tiles, [5, 5, 5]) == [None, 5, None]


def test_groups_may_be_looked_up_at_times_of_their_own() -> None:
    tiles = tile_events(SLIDING, events_of([Event(group, 4, 5, 4) for group in range(3)]))
    assert value("events_20", tiles, [5, 20, -1]) == [1, 0, 0]


@pytest.mark.parametrize("family", LAYOUT.families, ids=["sliding", "exact", "lifetime"])
def test_no_events_and_no_groups_are_fine(family: Family) -> None:
    none = tile_events(family, events_of([]))
    assert len(none) == 0
    assert len(merge_tiles(family, [none, none])) == 0
    kept, dropped = prune_tiles(family, none, np.array([5, 6]))
    assert len(kept) == 0
    assert dropped.tolist() == [NEVER, NEVER]
    for name, place in LAYOUT.places.items():
        if LAYOUT.families[place.family] is family:
            assert value(name, none, []) == []


@given(events=EVENTS, t=st.lists(st.integers(-80, 120), min_size=GROUPS, max_size=GROUPS))
@settings(max_examples=150, deadline=None)
def test_values_from_tiles_equal_a_loop_over_the_events(events: list[Event], t: list[int]) -> None:
    tiles = [tile_events(family, events_of(events)) for family in LAYOUT.families]
    for name, place in LAYOUT.places.items():
        expected = [by_hand(name, events, group, t[group]) for group in range(GROUPS)]
        assert value(name, tiles[place.family], t) == expected, name


@given(events=EVENTS, data=st.data())
@settings(max_examples=100, deadline=None)
def test_tiles_merge_the_same_in_any_split_and_order(events: list[Event], data: st.DataObject) -> None:
    everything = events_of(events)
    side = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(events), max_size=len(events))), np.int64)
    parts = [
        Events(
            everything.group[side == number],
            everything.ts_us[side == number],
            everything.position[side == number],
            everything.known_us[side == number],
            {name: Values(*(column[side == number] for column in both)) for name, both in everything.values.items()},
        )
        for number in data.draw(st.permutations(range(4)))
    ]
    for family in LAYOUT.families:
        whole = tile_events(family, everything)
        keys = list(zip(whole.group.tolist(), whole.tile.tolist(), strict=True))
        assert keys == sorted(set(keys))
        tiled = [tile_events(family, part) for part in parts]
        assert_same(merge_tiles(family, tiled), whole)
        assert_same(merge_tiles(family, [merge_tiles(family, tiled[:2]), merge_tiles(family, tiled[2:])]), whole)
        assert_same(merge_tiles(family, [whole]), whole)


@given(events=EVENTS, now=st.lists(st.integers(-80, 150), min_size=GROUPS, max_size=GROUPS), later=st.integers(0, 60))
@settings(max_examples=150, deadline=None)
def test_pruning_changes_no_value_from_now_on(events: list[Event], now: list[int], later: int) -> None:
    t = [moment + later for moment in now]
    for number, family in enumerate(LAYOUT.families):
        tiles = tile_events(family, events_of(events))
        kept, dropped = prune_tiles(family, tiles, np.array(now))
        for name, place in LAYOUT.places.items():
            if place.family == number:
                assert value(name, kept, t) == value(name, tiles, t), name
        for group in range(GROUPS):
            mine, left = tiles.tile[tiles.group == group].tolist(), kept.tile[kept.group == group].tolist()
            gone = [tile for tile in mine if tile not in left]
            assert dropped[group] == max(gone, default=NEVER)
            if family.tiles is not None and family.slide_us is not None:
                oldest_needed = now[group] // family.slide_us - family.tiles + 1
                assert left == [tile for tile in mine if tile >= oldest_needed]


def test_pruning_takes_a_tile_when_the_longest_window_has_left_it() -> None:
    #   tile   0         1         2         3         4
    #          |---------|---------|---------|---------|---------
    #          a                                      ^ 39: kept (40 long reaches tile 0)
    #                                                  ^ 40: dropped, though nothing happened
    tiles = tile_events(SLIDING, events_of([Event(0, 0, 1, 0)]))
    kept, dropped = prune_tiles(SLIDING, tiles, np.array([39]))
    assert (kept.tile.tolist(), dropped.tolist()) == ([0], [NEVER])
    kept, dropped = prune_tiles(SLIDING, tiles, np.array([40]))
    assert (kept.tile.tolist(), dropped.tolist()) == ([], [0])


def test_lifetime_is_never_pruned() -> None:
    tiles = tile_events(LIFETIME, events_of([Event(0, -(10**17), 1, 0)]))
    kept, dropped = prune_tiles(LIFETIME, tiles, np.array([10**17]))
    assert_same(kept, tiles)
    assert dropped.tolist() == [NEVER]
