"""A record reads back as it was written, and no damage to it goes unseen."""

from __future__ import annotations

import math
import struct
import zlib
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.aggregates import Values
from headrace.errors import StoreDamagedError
from headrace.plan import DType, Feature, View
from headrace.records.entity_keys import entity_key
from headrace.records.layout import (
    VERSION,
    Records,
    encode_records,
)
from headrace.records.reader import RecordReader
from headrace.windows import NEVER, Events, ViewLayout
from tests.windows.plain import merge_tiles, source_of, tile_events

DTYPES = {"n": DType.INT64, "x": DType.FLOAT64, "flag": DType.BOOL, "text": DType.STRING, "at": DType.TIMESTAMP}
SOURCE = source_of(DTYPES)
READS = [
    *(("last", name) for name in DTYPES),
    *(("mean", name) for name in ("n", "x", "flag")),
    *((function, name) for function in ("min", "max") for name in ("n", "x", "at")),
    ("sum", "n"),
    ("count", "*"),
]
SHAPES = {"sliding": (40, 10), "exact": (7, 1), "ever": (None, None)}


def layout_of(reads: list[tuple[str, str]], shapes: dict[str, tuple[int | None, int | None]]) -> ViewLayout:
    features = tuple(
        Feature(
            name=f"{function}_{column}_{shape}",
            function=function,
            column=column,
            window_us=window,
            slide_us=slide,
            dtype=DTYPES.get(column, DType.INT64),
        )
        for shape, (window, slide) in shapes.items()
        for function, column in reads
    )
    return ViewLayout.of(View(name="v", source="s", entities=(), features=features), SOURCE)


LAYOUT = layout_of(READS, dict(SHAPES))


class Header(NamedTuple):
    """What a record says of itself."""

    entity: bytes
    applied: int
    known_through_us: int
    newest_ts_us: int


def headers_of(records: Records) -> list[Header]:
    numbers = (records.applied.tolist(), records.known_through_us.tolist(), records.newest_ts_us.tolist())
    return [Header(*one) for one in zip(records.entities, *numbers, strict=True)]


def records_with(headers: list[Header], dropped: list[np.ndarray[Any, Any]], tiles: list[Any]) -> Records:
    applied, known, newest = (np.array([one[field] for one in headers], np.int64) for field in (1, 2, 3))
    return Records([one.entity for one in headers], applied, known, newest, dropped, tiles)


class Event(NamedTuple):
    record: int
    ts: int
    n: int | None
    x: float | None
    flag: bool | None
    text: str | None


def _column(events: list[Event], name: str) -> Values:
    kind, nothing = {"x": ("f8", 0.0), "text": ("O", None)}.get(name, ("i8", 0))
    values = [event.ts if name == "at" else getattr(event, name) for event in events]
    data = np.empty(len(values), kind)
    data[:] = [nothing if value is None else value for value in values]
    return Values(data, np.array([value is not None for value in values], np.bool_))


def records_of(events: list[Event], headers: list[Header], dropped: list[int]) -> Records:
    tiled = Events(
        np.array([event.record for event in events], np.int64),
        np.array([event.ts for event in events], np.int64),
        np.arange(len(events)),
        np.array([event.ts + 5 for event in events], np.int64),
        {name: _column(events, name) for name in DTYPES},
    )
    tiles = [tile_events(family, tiled) for family in LAYOUT.families]
    return records_with(headers, [np.array(dropped, np.int64)] * len(tiles), tiles)


def assert_same(ours: Records, theirs: Records) -> None:
    assert headers_of(ours) == headers_of(theirs)
    for mine, other in zip(ours.dropped, theirs.dropped, strict=True):
        np.testing.assert_array_equal(mine, other)
    for one, two in zip(ours.tiles, theirs.tiles, strict=True):
        for mine, other in zip(_arrays(one), _arrays(two), strict=True):
            assert mine.dtype == other.dtype
            np.testing.assert_array_equal(mine, other)


def _arrays(tiles: Any) -> list[np.ndarray[Any, Any]]:
    return [tiles.group, tiles.tile, tiles.known_us, *(column for state in tiles.states for column in state)]


INT64 = st.integers(-(2**63), 2**63 - 1)
# A pair of surrogates is one character that is written as two: as text from Arrow never holds it.
TEXT = st.text(st.characters(), max_size=4) | st.sampled_from(
    ["", "\ud800", "\udfff x", "ü", "\x00", '"\\', "𐀀", "null"]
)
EVENTS = st.builds(
    Event,
    record=st.integers(0, 2),
    ts=st.integers(-100, 100) | st.integers(-(2**55), 2**55),
    n=st.none() | INT64,
    x=st.none() | st.floats(allow_nan=True, allow_infinity=True),
    flag=st.none() | st.booleans(),
    text=st.none() | TEXT,
)


@given(
    events=st.lists(EVENTS, max_size=12),
    applied=st.lists(st.integers(0, 2**63 - 1), min_size=3, max_size=3),
    times=st.lists(INT64, min_size=6, max_size=6),
    dropped=st.lists(st.just(NEVER) | INT64, min_size=3, max_size=3),
    entities=st.lists(TEXT, min_size=3, max_size=3),
)
@settings(max_examples=40, deadline=None)
def test_records_read_back_as_they_were_written(
    events: list[Event], applied: list[int], times: list[int], dropped: list[int], entities: list[str]
) -> None:
    keys = [entity_key([entity]) for entity in entities]
    headers = [Header(keys[n], applied[n], times[n], times[n + 3]) for n in range(3)]
    written = records_of(events, headers, dropped)
    encoded = encode_records(LAYOUT, written)
    read = RecordReader(LAYOUT).decode(encoded, keys)
    assert_same(read, written)
    assert encode_records(LAYOUT, read) == encoded
    assert read.applied.tolist() == applied
    # Alone a record reads the same as in company.
    alone = [RecordReader(LAYOUT).decode([record], [key]) for record, key in zip(encoded, keys, strict=True)]
    assert [headers_of(one)[0] for one in alone] == headers
    assert sum(len(one.tiles[0]) for one in alone) == len(read.tiles[0])


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0x7FF8000000000001, 0xFFF8000000000000, 0x8000000000000000])
def test_floats_keep_their_bits(bits: int) -> None:
    """NaN with any payload, and −0.0."""
    x = struct.unpack("<d", struct.pack("<Q", bits))[0]
    written = records_of([Event(0, 1, 1, x, None, None)], [Header(b"[]", 0, 6, 1)], [NEVER])
    read = RecordReader(LAYOUT).decode(encode_records(LAYOUT, written), [b"[]"])
    last_x = LAYOUT.places["last_x_ever"]
    column = read.tiles[last_x.family].states[last_x.accumulator][2]
    assert column.view(np.uint64).tolist() == [bits]


def test_record_not_written_yet_is_empty_between_others() -> None:
    headers = [Header(b"[0]", 4, 6, 1), Header(b"[1]", 9, 7, 2)]
    events = [Event(0, 1, -1, math.nan, True, "\ud800"), Event(1, 2, 2, -0.5, None, None)]
    first, second = encode_records(LAYOUT, records_of(events, headers, [NEVER, NEVER]))
    read = RecordReader(LAYOUT).decode([first, None, second], [b"[0]", b"[new]", b"[1]"])
    assert headers_of(read) == [headers[0], Header(b"[new]", -1, NEVER, NEVER), headers[1]]
    assert [tiles.group.tolist() for tiles in read.tiles] == [[0, 2]] * 3
    assert [dropped.tolist() for dropped in read.dropped] == [[NEVER] * 3] * 3
    # And what is merged into it goes on from nothing.
    more = records_of([Event(1, 3, 5, 1.0, False, "x")], headers, [NEVER, NEVER]).tiles
    merged = [
        merge_tiles(family, [old, new]) for family, old, new in zip(LAYOUT.families, read.tiles, more, strict=True)
    ]
    assert [sorted(set(tiles.group.tolist())) for tiles in merged] == [[0, 1, 2]] * 3


def test_no_records_are_no_tiles() -> None:
    read = RecordReader(LAYOUT).decode([], [])
    assert (headers_of(read), [len(tiles) for tiles in read.tiles]) == ([], [0, 0, 0])
    assert encode_records(LAYOUT, read) == []


def test_record_whose_tiles_were_all_pruned_reads_back() -> None:
    header = Header(b"[0]", 4, 6, 1)
    layout = layout_of([("count", "*")], {"sliding": (40, 10)})
    empty = RecordReader(layout).decode([None], [b"[0]"]).tiles
    (record,) = encode_records(layout, records_with([header], [np.array([-3])], empty))
    read = RecordReader(layout).decode([record], [b"[0]"])
    assert (headers_of(read), read.dropped[0].tolist(), len(read.tiles[0])) == ([header], [-3], 0)


ENTITY = entity_key(["EWR", 7])
RECORD = encode_records(
    LAYOUT,
    records_of([Event(0, -5, -7, math.nan, True, "ü")], [Header(ENTITY, 41, 60, -5)], [-2]),
)[0]


def read_damaged(record: bytes, entity: bytes = ENTITY) -> str:
    with pytest.raises(StoreDamagedError) as caught:
        RecordReader(LAYOUT).decode([record], [entity])
    return str(caught.value)


def sealed(body: bytes, version: int = VERSION, magic: bytes = b"HR") -> bytes:
    """A record with the right checksum, whatever its body is."""
    return magic + bytes([version, 0]) + struct.pack("<I", zlib.crc32(body)) + body


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_flipped_byte_is_noticed(flip: int) -> None:
    for at in range(len(RECORD)):
        damaged = bytearray(RECORD)
        damaged[at] ^= flip
        message = read_damaged(bytes(damaged))
        assert '["EWR",7]' in message, at
        assert "--rebuild" in message, at


def test_record_cut_short_or_grown_is_noticed() -> None:
    for length in range(len(RECORD)):
        assert "--rebuild" in read_damaged(RECORD[:length])
    assert "checksum" in read_damaged(RECORD + b"\0")
    assert "checksum" in read_damaged(RECORD + b"\0" * 8)
    assert "cut short (0 bytes)" in read_damaged(b"")


def test_record_of_another_version_is_named() -> None:
    message = read_damaged(sealed(RECORD[8:], version=VERSION + 1))
    assert f"version {VERSION + 1}" in message
    assert f"reads version {VERSION}" in message
    assert "--rebuild" in message
    assert "b'XX'" in read_damaged(sealed(RECORD[8:], magic=b"XX"))


def test_record_of_another_entity_is_named() -> None:
    message = read_damaged(RECORD, entity_key(["JFK", 7]))
    assert message.startswith('The record of ["JFK",7] in view v@')
    assert 'that of ["EWR",7]' in message
    read_damaged(RECORD, entity_key(["EWR", "7"]))


def test_record_of_another_number_of_families_is_refused() -> None:
    with pytest.raises(StoreDamagedError):
        RecordReader(layout_of(READS, {"sliding": (40, 10)})).decode([RECORD], [ENTITY])


def test_sealed_by_the_test_is_sealed_by_the_codec() -> None:
    assert sealed(RECORD[8:]) == RECORD


def test_layout_of_the_bytes_stays() -> None:
    """Stores in the field hold version 2: a change of these bytes needs another version."""
    layout = layout_of([("sum", "n"), ("last", "text")], {"sliding": (40, 10)})
    read = ViewLayout.of(layout.view, SOURCE)
    columns = {
        "n": _column([Event(0, 12, 3, None, None, "ü")], "n"),
        "text": _column([Event(0, 12, 3, None, None, "ü")], "text"),
    }
    tiles = tile_events(read.families[0], Events(np.array([0]), np.array([12]), np.array([9]), np.array([17]), columns))
    header = Header(b"[1]", 9, 17, 12)
    (record,) = encode_records(read, records_with([header], [np.array([-4])], [tiles]))
    body = struct.pack("<qqqII", 9, 17, 12, 3, 1) + b"[1]" + bytes(5)
    body += struct.pack("<IIq", 1, 2, -4)  # tiles, bytes of objects; dropped
    #                        tile known high low ts position bytes of the text
    body += struct.pack("<7q", 1, 17, 0, 3, 12, 9, 2) + "ü".encode() + bytes(6)
    assert record == sealed(body)


def test_record_of_version_1_names_the_cure() -> None:
    """Stores of an earlier headrace hold these; they are not read, and not taken for damage."""
    body = struct.pack("<qqqIH", 9, 17, 12, len(ENTITY), 1) + ENTITY + struct.pack("<IqI", 0, NEVER, 0)
    message = read_damaged(sealed(body, version=1))
    assert "version 1; this headrace reads version 2" in message
    assert "`headrace stream --rebuild` writes the records again from the log" in message


def restated(at: int, value: bytes) -> bytes:
    """The record with other bytes somewhere behind its checksum, which is right again."""
    return sealed(RECORD[8:at] + value + RECORD[at + len(value) :])


def test_record_that_does_not_add_up_is_refused_though_its_checksum_is_right() -> None:
    families = 40 + 16  # behind the header and the entity key of ten bytes
    tiles, text_bytes = struct.unpack_from("<II", RECORD, families)
    for other in (0, tiles + 1, 2**31, 2**32 - 1):
        assert "--rebuild" in read_damaged(restated(families, struct.pack("<I", other)))
    for other in (0, text_bytes + 1, text_bytes + 8, 2**32 - 1):
        assert "--rebuild" in read_damaged(restated(families + 4, struct.pack("<I", other)))
    for cut in range(8, len(RECORD), 8):
        assert "--rebuild" in read_damaged(sealed(RECORD[8:cut]))
    assert "longer or shorter" in read_damaged(sealed(RECORD[8:] + bytes(8)))
    last_text = LAYOUT.places["last_text_sliding"]
    slot = LAYOUT.families[0].slots[last_text.accumulator][2]
    length_at = families + 16 * len(LAYOUT.families) + 8 * (2 + slot)
    assert struct.unpack_from("<q", RECORD, length_at) == (2,)
    for length in (-2, -1, 0, 1, 3, 2**62):
        assert "--rebuild" in read_damaged(restated(length_at, struct.pack("<q", length)))
