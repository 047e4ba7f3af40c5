"""Where windows begin and end among a record's tiles, as a search of one record after the other finds it."""

from __future__ import annotations

from bisect import bisect_left

import numpy as np
import pytest

from headrace.lookup.window_spans import WindowGroup, WindowSpans
from headrace.plan import Column, DType, Feature, Source, View
from headrace.records.reader import RecordReader, StoredRecords
from headrace.windows import ViewLayout, Window

SOURCE = Source(
    name="s",
    topic="s",
    model="m:M",
    key=None,
    timestamp_field="at",
    columns=(Column(name="shop", dtype=DType.STRING), Column(name="at", dtype=DType.TIMESTAMP)),
)
WINDOWS = (Window(10, 1), Window(40, 1), Window(12, 1, 5), Window(30, 10), Window(60, 10), Window(None, None))
COUNTS = tuple(
    Feature(
        name=f"count_{number}",
        function="count",
        column="*",
        window_us=window.length_us,
        slide_us=window.slide_us,
        offset_us=window.offset_us,
        dtype=DType.INT64,
    )
    for number, window in enumerate(WINDOWS)
)
LAYOUT = ViewLayout.of(View(name="v", source="s", entities=(SOURCE.columns[0],), features=COUNTS), SOURCE)
GROUP = WindowGroup.of(
    0,
    dict(enumerate(LAYOUT.families)),
    [LAYOUT.places[feature.name] for feature in COUNTS],
    {number: [] for number in range(len(LAYOUT.families))},
)


def _tiles(dice: np.random.Generator, slide_us: int | None) -> list[int]:
    """Tiles of a record, ascending: none, a few, many that lie close together, or some that lie far apart."""
    if slide_us is None:
        return [0] * int(dice.integers(0, 2))
    most, span = dice.choice([1, 5, 30]), dice.choice([20, 100, 2**40])
    return sorted({int(tile) for tile in dice.integers(60, 60 + span, int(dice.integers(0, most + 1)))})


@pytest.mark.parametrize("records", [1, 2, 9])
@pytest.mark.parametrize("at_us", [60, 100, 137, 1000])
@pytest.mark.parametrize("seed", range(12))
def test_window_counts_the_tiles_from_its_beginning_to_its_end(seed: int, at_us: int, records: int) -> None:
    dice = np.random.default_rng(seed)
    held = [[_tiles(dice, family.slide_us) for family in LAYOUT.families] for _ in range(records)]
    rows: list[list[int]] = []
    first = np.zeros((len(LAYOUT.families), records), np.int64)
    for record, by_family in enumerate(held):
        rows += [
            [int(word), 0, 99] for word in dice.integers(-200, 200, 2)
        ]  # what stands between records means nothing
        for family, tiles in enumerate(by_family):
            first[family, record] = len(rows)
            rows += [[tile, 0, 1] for tile in tiles]
    table = np.array([*rows, [0, 0, 99]])
    n_tiles = np.array([[len(by_family[family]) for by_family in held] for family in range(len(LAYOUT.families))])
    nothing = np.zeros((3, records), np.int64)
    empty = [b""] * records
    stored = StoredRecords(RecordReader(LAYOUT), empty, empty, nothing, nothing, nothing, n_tiles, first, [table])
    spans = WindowSpans(GROUP, stored, at_us)
    (counts,) = spans.merged(np.arange(records), records, one_record_each=True)
    expected = []
    for by_family in held:
        for window, bound in zip(GROUP.windows, GROUP.bounds, strict=True):
            tiles = by_family[bound.family]
            begin, end = 0, len(tiles)
            if window.tiles is not None and window.slide_us is not None:
                newest = at_us // window.slide_us - window.lag
                begin, end = bisect_left(tiles, newest - window.tiles + 1), bisect_left(tiles, newest + 1)
            expected.append(end - begin)
    assert counts.tolist() == expected
    assert spans.is_counted.reshape(-1).tolist() == [count > 0 for count in expected]
