from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.aggregates import Order, Values
from headrace.aggregates.registry import AGGREGATES
from headrace.history.merged_blocks import Blocks
from headrace.history.timeline import expanded
from headrace.plan import DType


@settings(deadline=None)
@given(sizes=st.lists(st.integers(0, 15), min_size=1, max_size=4), longest=st.integers(0, 40), data=st.data())
def test_blocks_of_a_range_hold_each_of_its_events_once(sizes: list[int], longest: int, data: st.DataObject) -> None:
    total, firsts = sum(sizes), np.cumsum([0, *sizes])
    number = np.random.default_rng(total).permutation(total)
    blocks = Blocks(number, np.repeat(np.arange(len(sizes)), sizes), len(sizes), longest, total)
    ranges = []
    for entity, size in enumerate(sizes):
        edges = data.draw(st.lists(st.tuples(st.integers(0, size), st.integers(0, size)), max_size=4))
        ranges += [(entity, int(firsts[entity]) + one, int(firsts[entity]) + other) for one, other in edges]
    key, start, end = (np.array([one[part] for one in ranges], np.int64) for part in range(3))
    # A set of events is a bit per event, so that one counted twice would carry into another.
    high, low = blocks.pooled(AGGREGATES["sum"](DType.INT64), tuple(bits(total)))
    pool = (high << 32) + low
    items = blocks.items(np.arange(len(ranges)), key, start, end)
    for row, (_, first, last) in enumerate(ranges):
        found = sum(pool[items.at[items.row == row]].tolist())
        assert found == sum(1 << int(event) for event in number[first:last])


def bits(total: int) -> list[np.ndarray]:
    values = Values(np.array([1 << event for event in range(total)], np.int64), np.ones(total, np.bool_))
    return list(AGGREGATES["sum"](DType.INT64).add(values, Order(np.zeros(total, np.int64), np.arange(total))))


def test_long_window_merges_few_blocks() -> None:
    blocks = Blocks(np.arange(1000), np.zeros(1000, np.int64), 1, 1000, 1000)
    items = blocks.items(np.array([0]), np.array([0]), np.array([1]), np.array([999]))
    assert len(items.at) <= 2 * 10


def test_every_place_of_ranges_is_told() -> None:
    of_range, place = expanded(np.array([3, 9, 5]), np.array([5, 4, 6]))
    assert of_range.tolist() == [0, 0, 2]
    assert place.tolist() == [3, 4, 5]
