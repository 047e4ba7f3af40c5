"""Records read one by one, many at once and whole hold what was written; a record that is damaged is refused."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from headrace.errors import StoreDamagedError
from headrace.plan import Column, DType, Feature, Source, View
from headrace.records.layout import Records, encode_records
from headrace.records.reader import RecordReader, StoredRecords
from headrace.windows import NEVER, Tiles, ViewLayout

SOURCE = Source(
    name="s",
    topic="s",
    model="m:M",
    key=None,
    timestamp_field="at",
    columns=(
        Column(name="shop", dtype=DType.STRING),
        Column(name="price", dtype=DType.FLOAT64),
        Column(name="note", dtype=DType.STRING),
        Column(name="at", dtype=DType.TIMESTAMP),
    ),
)


def _layout(*features: tuple[str, str, int | None]) -> ViewLayout:
    made = tuple(
        Feature(
            name=f"{function}_{window}",
            function=function,
            column=column,
            window_us=window,
            slide_us=None if window is None else 10,
            dtype={"price": DType.FLOAT64, "note": DType.STRING}[column],
        )
        for function, column, window in features
    )
    return ViewLayout.of(View(name="v", source="s", entities=(SOURCE.columns[0],), features=made), SOURCE)


NUMBERS = _layout(("mean", "price", 60), ("max", "price", 60), ("sum", "price", None))
TEXTS = _layout(("last", "note", 60))
MIXED = _layout(("last", "note", 60), ("mean", "price", None), ("last", "note", None))


def _records(layout: ViewLayout, entity: bytes, dice: np.random.Generator) -> Records:
    def ints(size: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return dice.integers(-(2**62), 2**62, size)

    tiles = []
    for family in layout.families:
        n = 1 if family.slide_us is None else int(dice.integers(0, 9))
        columns = [
            np.array([f"n{one}" for one in range(n)], object)
            if column.kind == "string"
            else dice.random(n)
            if column.kind == "float64"
            else ints(n)
            for column in family.columns
        ]
        tiles.append(Tiles.of(family, np.zeros(n, np.int64), np.arange(n) * 3, ints(n), columns))
    dropped = [np.array([NEVER]) if dice.random() < 0.5 else ints(1) for _ in layout.families]
    return Records([entity], dice.integers(0, 2**62, 1), ints(1), ints(1), dropped, tiles)


def _tiles_by_record(tiles: Tiles, records: int) -> list[list[list[object]]]:
    """The tiles of each record, with every column of theirs."""
    columns = [tiles.tile, tiles.known_us, *tiles.columns]
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    return [[list(rows[at]) for at in np.flatnonzero(tiles.group == record)] for record in range(records)]


def _in_place(stored: StoredRecords, family: int) -> list[list[list[int]]]:
    """The rows of the table that a lookup reads, record by record."""
    table = stored.tables[stored.reader.run_of(family)]
    places = list(zip(stored.first[family], stored.n_tiles[family], strict=True))
    assert all(start + many < len(table) for start, many in places)
    return [table[start : start + many].tolist() for start, many in places]


@pytest.mark.parametrize("layout", [NUMBERS, TEXTS, MIXED])
@pytest.mark.parametrize("count", [0, 1, 2, 5])
@pytest.mark.parametrize("seed", range(15))
def test_records_hold_what_was_written(layout: ViewLayout, count: int, seed: int) -> None:
    dice = np.random.default_rng(seed)
    entities = [f'["{"x" * int(dice.integers(0, 20))}"]'.encode() for _ in range(count)]
    written = [_records(layout, entity, dice) for entity in entities]
    encoded = [encode_records(layout, one)[0] for one in written]
    reader = RecordReader(layout)
    stored = reader.read(encoded, entities)
    assert stored.applied == [int(one.applied[0]) for one in written]
    assert stored.newest_ts_us == [int(one.newest_ts_us[0]) for one in written]
    for number in range(len(layout.families)):
        expected = [_tiles_by_record(one.tiles[number], 1)[0] for one in written]
        assert _tiles_by_record(stored.tiles(number), count) == expected
        rows = [[[tile, known] for tile, known, *_ in of_record] for of_record in expected]
        assert [[row[:2] for row in of_record] for of_record in _in_place(stored, number)] == rows
        assert list(stored.dropped[number]) == [int(one.dropped[number][0]) for one in written]

    at = int(dice.integers(0, count + 1))
    whole = reader.decode([*encoded[:at], None, *encoded[at:]], [*entities[:at], b"[]", *entities[at:]])
    assert whole.known_through_us.tolist() == [
        *(int(one.known_through_us[0]) for one in written[:at]),
        NEVER,
        *(int(one.known_through_us[0]) for one in written[at:]),
    ]
    for number, tiles in enumerate(whole.tiles):
        expected = [_tiles_by_record(one.tiles[number], 1)[0] for one in written]
        assert _tiles_by_record(tiles, count + 1) == [*expected[:at], [], *expected[at:]]


def _is_refused(layout: ViewLayout, encoded: list[bytes], entities: list[bytes]) -> bool:
    try:
        RecordReader(layout).read(encoded, entities)
    except StoreDamagedError as error:
        return "--rebuild" in str(error)
    return False


@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize("seed", range(3))
def test_record_that_is_not_sound_is_refused_alone_and_among_others(seed: int, others: int) -> None:
    dice = np.random.default_rng(seed)
    (record,) = encode_records(NUMBERS, _records(NUMBERS, b'["ab"]', dice))

    def refused(changed: bytes, entity: bytes = b'["ab"]', layout: ViewLayout = NUMBERS) -> bool:
        return _is_refused(layout, [*[record] * others, changed], [*[b'["ab"]'] * others, entity])

    assert not refused(record)
    for place in range(len(record)):
        assert refused(record[:place] + bytes([record[place] ^ (1 << int(dice.integers(8)))]) + record[place + 1 :])
    for cut in range(len(record)):
        assert refused(record[:cut])
    for entity in (b'["ac"]', b'["a"]', b'["abc"]'):
        assert refused(record, entity)
    assert refused(record, layout=_layout(("mean", "price", 60)))


@pytest.mark.parametrize("others", [0, 3])
def test_record_that_does_not_add_up_is_refused_though_its_checksum_is_right(others: int) -> None:
    (record,) = encode_records(NUMBERS, _records(NUMBERS, b'["ab"]', np.random.default_rng(3)))

    def refused(body: bytes) -> bool:
        sealed = record[:4] + zlib.crc32(body).to_bytes(4, "little") + body
        return _is_refused(NUMBERS, [*[record] * others, sealed], [b'["ab"]'] * (others + 1))

    assert not refused(record[8:])
    for body in (record[8:-8], record[8:] + bytes(8), record[8:-4], record[8:48], record[8:56]):
        assert refused(body)
    of_tiles = 48  # the first family's word: the header's five and one of the entity stand before it
    for many in (2**31, 2**32 + 1, 2**63):
        assert refused(record[8:of_tiles] + many.to_bytes(8, "little") + record[of_tiles + 8 :])
