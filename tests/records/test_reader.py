"""Numbers read for a lookup are those that the codec reads; what is not sound is left to those who can say why."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from headrace.plan import Column, DType, Feature, Source, View
from headrace.records.layout import Records, decode_records, encode_records
from headrace.records.reader import Numbers, Shape, numbers_of, read_numbers
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


def _told(numbers: Numbers, shape: Shape) -> list[object]:
    """All that is in them, as Python values."""
    found: list[object] = [list(numbers.applied), list(numbers.newest_ts_us)]
    for number, (first, n_tiles) in enumerate(zip(numbers.first, numbers.n_tiles, strict=True)):
        table = numbers.tables[shape.run_of(number)]
        assert table.shape[1] == shape.widths[number]
        assert all(start + many < len(table) for start, many in zip(first, n_tiles, strict=True))
        found += [table[start : start + many].tolist() for start, many in zip(first, n_tiles, strict=True)]
    return found


@pytest.mark.parametrize("layout", [NUMBERS, TEXTS])
@pytest.mark.parametrize("count", [1, 2, 5])
@pytest.mark.parametrize("seed", range(15))
def test_numbers_are_those_that_the_codec_reads(layout: ViewLayout, count: int, seed: int) -> None:
    dice = np.random.default_rng(seed)
    entities = [f'["{"x" * int(dice.integers(0, 20))}"]'.encode() for _ in range(count)]
    encoded = [encode_records(layout, _records(layout, entity, dice))[0] for entity in entities]
    shape = Shape.of(layout)
    numbers = read_numbers(shape, encoded, entities)
    assert numbers is not None
    assert _told(numbers, shape) == _told(numbers_of(shape, decode_records(layout, encoded, entities)), shape)


@pytest.mark.parametrize("others", [0, 3])
@pytest.mark.parametrize("seed", range(3))
def test_record_that_is_not_sound_is_left_to_who_can_say_why(seed: int, others: int) -> None:
    dice = np.random.default_rng(seed)
    (record,) = encode_records(NUMBERS, _records(NUMBERS, b'["ab"]', dice))

    def read(changed: bytes, entity: bytes = b'["ab"]', layout: ViewLayout = NUMBERS) -> Numbers | None:
        return read_numbers(Shape.of(layout), [*[record] * others, changed], [*[b'["ab"]'] * others, entity])

    assert read(record) is not None
    for place in range(len(record)):
        assert (
            read(record[:place] + bytes([record[place] ^ (1 << int(dice.integers(8)))]) + record[place + 1 :]) is None
        )
    for cut in range(len(record)):
        assert read(record[:cut]) is None
    for entity in (b'["ac"]', b'["a"]', b'["abc"]'):
        assert read(record, entity) is None
    assert read(record, layout=_layout(("mean", "price", 60))) is None


@pytest.mark.parametrize("others", [0, 3])
def test_record_that_is_checked_but_does_not_add_up_is_left_to_who_can_say_why(others: int) -> None:
    (record,) = encode_records(NUMBERS, _records(NUMBERS, b'["ab"]', np.random.default_rng(3)))

    def read(body: bytes) -> Numbers | None:
        sealed = record[:4] + zlib.crc32(body).to_bytes(4, "little") + body
        return read_numbers(Shape.of(NUMBERS), [*[record] * others, sealed], [b'["ab"]'] * (others + 1))

    assert read(record[8:]) is not None
    for body in (record[8:-8], record[8:] + bytes(8), record[8:-4], record[8:48], record[8:56]):
        assert read(body) is None
    of_tiles = 48  # the first family's word: the header's five and one of the entity stand before it
    for many in (2**31, 2**32 + 1, 2**63):
        assert read(record[8:of_tiles] + many.to_bytes(8, "little") + record[of_tiles + 8 :]) is None


def test_no_records_are_left_to_the_codec() -> None:
    assert read_numbers(Shape.of(NUMBERS), [], []) is None
