"""A fetch's tiles put into those held come to the same as merging all and pruning then."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.aggregates import AGGREGATES, Values
from headrace.plan import DType, Feature, View
from headrace.windows import (
    Events,
    Tiles,
    ViewLayout,
    prune_tiles,
    tile_batch,
    update_tiles,
)
from headrace.windows.group_sort import common_keys, stable_order
from tests.windows.plain import merge_tiles, source_of, tile_events

GROUPS = 3
DTYPES = {"n": DType.INT64, "x": DType.FLOAT64, "text": DType.STRING, "at": DType.TIMESTAMP, "big": DType.BOOL}
SOURCE = source_of(DTYPES)
READS: list[tuple[str, str, tuple[int | float, ...], str | None]] = [
    ("count", "*", (), None),
    ("sum", "n", (), None),
    ("mean", "n", (), None),
    ("mean", "n", (), "big"),
    ("max", "x", (), None),
    ("var_pop", "x", (), None),
    ("skew", "x", (), None),
    ("last", "text", (), None),
    ("last_n", "n", (2,), None),
    ("count_distinct", "text", (2,), None),
]


def layout_of(*shapes: tuple[int | None, int | None]) -> ViewLayout:
    features = tuple(
        Feature(
            name=f"{function}_{column}_{where}_{slide}",
            function=function,
            column=column,
            window_us=window,
            slide_us=slide,
            dtype=DType.INT64,
            params=AGGREGATES[function].parameters(params),
            where=where,
        )
        for window, slide in shapes
        for function, column, params, where in READS
    )
    return ViewLayout.of(View(name="v", source="s", entities=(), features=features), SOURCE)


LAYOUT = layout_of((40, 10), (60, 15), (12, 1), (None, None))


class Event(NamedTuple):
    group: int
    ts: int
    known: int
    n: int | None
    x: float | None
    text: str | None
    big: bool | None


def _column(events: list[Event], name: str) -> Values:
    kind, nothing = {"x": ("f8", 0.0), "text": ("O", None)}.get(name, ("i8", 0))
    values = [getattr(event, name) for event in events]
    data = np.empty(len(values), kind)
    data[:] = [nothing if value is None else value for value in values]
    return Values(data, np.array([value is not None for value in values], np.bool_))


def events_of(events: list[Event], first: int = 0) -> Events:
    def ints(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([getattr(event, name) for event in events], np.int64)

    values = {name: _column(events, name) for name in ("n", "x", "text", "big")}
    position = np.arange(first, first + len(events))
    return Events(ints("group"), ints("ts"), position, ints("known"), values)


EVENTS = st.lists(
    st.builds(
        Event,
        group=st.integers(0, GROUPS - 1),
        ts=st.integers(-60, 60) | st.integers(-(2**55), 2**55),
        known=st.integers(-60, 90),
        n=st.none() | st.integers(-100, 100),
        # Small whole numbers, so that sums are the same in any order.
        x=st.none() | st.integers(-3, 3).map(float),
        text=st.none() | st.sampled_from(["", "a", "ü", "zz"]),
        big=st.none() | st.booleans(),
    ),
    max_size=25,
)
NOW = st.lists(st.integers(-80, 150) | st.just(-(2**60)) | st.just(2**55), min_size=GROUPS, max_size=GROUPS)


def assert_same(ours: Tiles, theirs: Tiles) -> None:
    assert ours.group.tolist() == theirs.group.tolist()
    for described, mine, other in zip(
        [None, None, *ours.family.columns],
        [ours.tile, ours.known_us, *ours.columns],
        [theirs.tile, theirs.known_us, *theirs.columns],
        strict=True,
    ):
        if described is not None and described.kind == "float64":
            np.testing.assert_allclose(mine, other, rtol=1e-9, atol=1e-9)
        else:
            np.testing.assert_array_equal(mine, other)


@pytest.mark.slow
@given(events=EVENTS, cut=st.integers(0, 25), now=NOW)
@settings(max_examples=200, deadline=None)
def test_updated_tiles_are_all_tiles_merged_and_pruned(events: list[Event], cut: int, now: list[int]) -> None:
    cut = min(cut, len(events))
    t = np.array(now, np.int64)
    held = tile_batch(LAYOUT.families, events_of(events[:cut]))
    added = tile_batch(LAYOUT.families, events_of(events[cut:], first=cut))
    for number, family in enumerate(LAYOUT.families):
        before = [held[number].rows.copy(), added[number].rows.copy()]
        updated, dropped = update_tiles(family, held[number], added[number], t)
        expected, expected_dropped = prune_tiles(family, tile_events(family, events_of(events)), t)
        assert_same(updated, expected)
        assert dropped.tolist() == expected_dropped.tolist()
        merged = merge_tiles(family, [held[number], added[number]])
        assert_same(prune_tiles(family, merged, t)[0], expected)
        for tiles, rows in zip((held[number], added[number]), before, strict=True):
            np.testing.assert_array_equal(tiles.rows, rows)  # what was given is left alone


@pytest.mark.slow
@given(events=EVENTS)
@settings(max_examples=100, deadline=None)
def test_families_tiled_together_are_those_tiled_alone(events: list[Event]) -> None:
    for family, tiles in zip(LAYOUT.families, tile_batch(LAYOUT.families, events_of(events)), strict=True):
        (alone,) = tile_batch((family,), events_of(events))
        assert_same(tiles, alone)
        keys = list(zip(tiles.group.tolist(), tiles.tile.tolist(), strict=True))
        slide = family.slide_us
        assert keys == sorted({(one.group, 0 if slide is None else one.ts // slide) for one in events})


INT64 = st.integers(-(2**63), 2**63 - 1)
ROWS = st.lists(st.tuples(st.integers(0, 5), st.integers(-9, 9) | INT64), max_size=20)


@given(parts=st.lists(ROWS, min_size=1, max_size=3))
@settings(max_examples=200, deadline=None)
def test_keys_order_and_compare_like_group_and_tile(parts: list[list[tuple[int, int]]]) -> None:
    arrays = [(np.array([g for g, _ in part], np.int64), np.array([t for _, t in part], np.int64)) for part in parts]
    keys = [key for part in common_keys(arrays) for key in part.tolist()]
    rows = [row for part in parts for row in part]
    for one, key in zip(rows, keys, strict=True):
        for other, other_key in zip(rows, keys, strict=True):
            assert (one < other) == (key < other_key)
            assert (one == other) == (key == other_key)


@pytest.mark.parametrize("top", [3, 1000, 2**61])
def test_order_is_stable(top: int) -> None:
    keys = np.random.default_rng(7).integers(0, top, 500)
    keys[:20] = top  # ties also where numbers are too great to carry their places
    np.testing.assert_array_equal(stable_order(keys), np.argsort(keys, kind="stable"))
