"""Records whose tiles hold columns of bytes: lists, sets, sketches and samples read back as they were written."""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.aggregates import AGGREGATES, Values
from headrace.errors import StoreDamagedError
from headrace.plan import DType, Feature, View
from headrace.records.entity_keys import entity_key
from headrace.records.layout import Records, encode_records
from headrace.records.reader import RecordReader
from headrace.windows import NEVER, Events, ViewLayout
from tests.windows.plain import merge_tiles, source_of, tile_events

DTYPES = {"n": DType.INT64, "x": DType.FLOAT64, "text": DType.STRING, "at": DType.TIMESTAMP}
SOURCE = source_of(DTYPES)
READS: list[tuple[str, str, tuple[int | float, ...]]] = [
    ("last", "text", ()),
    ("count_distinct", "text", (2,)),
    ("sum", "n", ()),
    ("last_n", "x", (2,)),
    ("value_counts", "text", (2,)),
    ("percentile", "x", (0.5, 3)),
    ("var_pop", "x", ()),
    ("distinct_n", "text", (2,)),
]


def layout_of(*reads: tuple[str, str, tuple[int | float, ...]]) -> ViewLayout:
    features = tuple(
        Feature(
            name=f"{function}_{column}_{shape}",
            function=function,
            column=column,
            window_us=window,
            slide_us=slide,
            dtype=DType.INT64,
            params=AGGREGATES[function].parameters(params),
        )
        for shape, (window, slide) in {"sliding": (40, 10), "ever": (None, None)}.items()
        for function, column, params in reads
    )
    return ViewLayout.of(View(name="v", source="s", entities=(), features=features), SOURCE)


LAYOUT = layout_of(*READS)
Row = tuple[int, int, int | None, float | None, str | None]


def tiled(layout: ViewLayout, rows: list[Row], first: int = 0) -> list[Any]:
    """The tiles of rows (record, ts, n, x, text), which stand in the source from `first` on."""

    def column(at: int, kind: str, nothing: Any) -> Values:
        data = np.empty(len(rows), kind)
        data[:] = [nothing if row[at] is None else row[at] for row in rows]
        return Values(data, np.array([row[at] is not None for row in rows], np.bool_))

    ts = np.array([row[1] for row in rows], np.int64)
    columns = {"n": column(2, "i8", 0), "x": column(3, "f8", 0.0), "text": column(4, "O", None)}
    columns["at"] = Values(ts, np.ones(len(rows), np.bool_))
    events = Events(
        np.array([row[0] for row in rows], np.int64), ts, np.arange(first, first + len(rows)), ts + 5, columns
    )
    return [tile_events(family, events) for family in layout.families]


def records(layout: ViewLayout, tiles: list[Any], n: int) -> Records:
    header = (np.arange(n), np.full(n, 7), np.full(n, 3))
    return Records(keys(n), *header, [np.full(n, NEVER, np.int64)] * len(tiles), tiles)


def keys(n: int) -> list[bytes]:
    return [entity_key([number]) for number in range(n)]


def held(tiles: Any) -> list[list[Any]]:
    """Every column of tiles, doubles by their bits."""
    columns = [tiles.group, tiles.tile, tiles.known_us, *tiles.columns]
    return [(column.view(np.int64) if column.dtype == np.float64 else column).tolist() for column in columns]


ROWS = st.tuples(
    st.integers(0, 2),
    st.integers(-100, 100),
    st.none() | st.integers(-(2**60), 2**60),
    st.none() | st.floats(),
    st.none() | st.text(st.characters(codec="utf-8"), max_size=3) | st.sampled_from(["", "ü", "\x00", '"\\', "\ud800"]),
)


@given(st.lists(ROWS, max_size=15))
@settings(max_examples=100, deadline=None)
def test_bytes_read_back_beside_numbers_and_strings(rows: list[Row]) -> None:
    written = records(LAYOUT, tiled(LAYOUT, rows), 3)
    encoded = encode_records(LAYOUT, written)
    read = RecordReader(LAYOUT).decode(encoded, keys(3))
    for mine, other in zip(read.tiles, written.tiles, strict=True):
        assert held(mine) == held(other)
    for family, tiles in zip(LAYOUT.families, read.tiles, strict=True):
        for described, column in zip(family.columns, tiles.columns, strict=True):
            assert described.kind != "bytes" or all(type(one) is bytes for one in column)
    assert encode_records(LAYOUT, read) == encoded


@given(rows=st.lists(ROWS, min_size=1, max_size=12), cut=st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_what_is_merged_into_a_read_record_is_as_if_it_had_come_at_once(rows: list[Row], cut: int) -> None:
    rows = [row if row[3] is None or math.isfinite(row[3]) else (*row[:3], 1.0, row[4]) for row in rows]
    rows = [row if row[3] is None else (*row[:3], float(np.clip(round(row[3]), -9, 9)), row[4]) for row in rows]
    stored = encode_records(LAYOUT, records(LAYOUT, tiled(LAYOUT, rows[:cut]), 3))
    read = RecordReader(LAYOUT).decode(stored, keys(3))
    later = tiled(LAYOUT, rows[cut:], first=cut)
    merged = [
        merge_tiles(family, [old, new]) for family, old, new in zip(LAYOUT.families, read.tiles, later, strict=True)
    ]
    for family, mine, other in zip(LAYOUT.families, merged, tiled(LAYOUT, rows), strict=True):
        numbers = [column.kind == "float64" for column in family.columns]
        for is_float, one, two in zip([False] * 3 + numbers, held(mine), held(other), strict=True):
            assert is_float or one == two  # doubles are rounded as they merge


def test_record_not_written_yet_and_one_without_tiles_stand_between_others() -> None:
    rows: list[Row] = [(0, 1, 1, 0.5, "a"), (0, 55, 2, 1.5, "b"), (2, 1, None, None, None)]
    first, nothing, last = encode_records(LAYOUT, records(LAYOUT, tiled(LAYOUT, rows), 3))
    read = RecordReader(LAYOUT).decode([first, None, nothing, last], [keys(3)[0], b"[9]", *keys(3)[1:]])
    assert [tiles.group.tolist() for tiles in read.tiles] == [[0, 0, 3], [0, 3]]
    written = tiled(LAYOUT, rows)
    for mine, other in zip(read.tiles, written, strict=True):
        assert held(mine)[1:] == held(other)[1:]


def test_sketch_of_many_values_is_stored() -> None:
    layout = layout_of(("approx_count_distinct", "n", ()))
    rows: list[Row] = [(0, 1, number, None, None) for number in range(3000)]
    read = RecordReader(layout).decode(encode_records(layout, records(layout, tiled(layout, rows), 1)), keys(1))
    (state,) = read.tiles[1].states
    count = AGGREGATES["approx_count_distinct"](DType.INT64)
    assert count.result(state).data.tolist() == [pytest.approx(3000, rel=0.05)]
    assert len(state[0][0]) > 4096


def test_layout_of_the_bytes_stays() -> None:
    """Stores in the field hold version 2: a change of these bytes needs another version."""
    layout = layout_of(("last_n", "n", (2,)), ("last", "text", ()), ("count_distinct", "text", (2,)))
    layout = ViewLayout.of(layout.view.model_copy(update={"features": layout.view.features[:3]}), SOURCE)
    rows: list[Row] = [(0, 12, 3, None, "ü"), (0, 25, 4, None, None)]
    (record,) = encode_records(layout, records(layout, tiled(layout, rows), 1))
    never = -(2**63)
    lists, sets = [b"[[12,0,3]]", b"[[25,1,4]]"], [b'["\\u00fc"]', b""]
    objects = lists[0] + "ü".encode() + sets[0] + lists[1]
    body = struct.pack("<qqqII", 0, 7, 3, 3, 1) + b"[0]" + bytes(5) + struct.pack("<IIq", 2, len(objects), NEVER)
    #                        tile known list ts  position text set
    body += struct.pack("<7q", 1, 17, 10, 12, 0, 2, len(sets[0]))
    body += struct.pack("<7q", 2, 30, 10, never, -1, -1, 0)
    body += objects + bytes(-len(objects) % 8)
    assert record == b"HR" + bytes([2, 0]) + struct.pack("<I", zlib.crc32(body)) + body


def test_every_flipped_byte_and_every_cut_is_noticed() -> None:
    rows: list[Row] = [(0, 1, 1, 0.5, "a"), (0, 55, 2, 1.5, "b")]
    (record,) = encode_records(LAYOUT, records(LAYOUT, tiled(LAYOUT, rows), 1))
    damaged = [record[:length] for length in range(len(record))]
    damaged += [record[:at] + bytes([record[at] ^ 0x81]) + record[at + 1 :] for at in range(len(record))]
    for one in damaged:
        with pytest.raises(StoreDamagedError, match="--rebuild"):
            RecordReader(LAYOUT).decode([one], keys(1))
