"""One record read alone is the record that is read among many; what is not sound is left to those who can say why."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from headrace.online.codec import Records, decode_records, encode_records
from headrace.online.one_record import decode_one
from headrace.plan import Column, DType, Feature, Source, View
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


@pytest.mark.parametrize("seed", range(40))
def test_record_read_alone_is_the_one_read_among_many(seed: int) -> None:
    dice = np.random.default_rng(seed)
    entity = f'["{"x" * int(dice.integers(0, 20))}"]'.encode()
    (record,) = encode_records(NUMBERS, _records(NUMBERS, entity, dice))
    alone, many = decode_one(NUMBERS, record, entity), decode_records(NUMBERS, [record], [entity])
    assert alone is not None
    assert list(alone.entities) == list(many.entities)
    for name in ("applied", "known_through_us", "newest_ts_us"):
        assert getattr(alone, name).tolist() == getattr(many, name).tolist()
    assert [one.tolist() for one in alone.dropped] == [one.tolist() for one in many.dropped]
    for one, other in zip(alone.tiles, many.tiles, strict=True):
        assert one.group.tolist() == other.group.tolist()
        assert one.rows.tolist() == other.rows.tolist()


def test_record_with_strings_is_left_to_the_other_path() -> None:
    (record,) = encode_records(TEXTS, _records(TEXTS, b"[1]", np.random.default_rng(1)))
    assert decode_one(TEXTS, record, b"[1]") is None


@pytest.mark.parametrize("seed", range(5))
def test_record_that_is_not_sound_is_left_to_who_can_say_why(seed: int) -> None:
    dice = np.random.default_rng(seed)
    (record,) = encode_records(NUMBERS, _records(NUMBERS, b'["ab"]', dice))
    for place in range(len(record)):
        changed = record[:place] + bytes([record[place] ^ (1 << int(dice.integers(8)))]) + record[place + 1 :]
        assert decode_one(NUMBERS, changed, b'["ab"]') is None
    for cut in range(len(record)):
        assert decode_one(NUMBERS, record[:cut], b'["ab"]') is None
    for entity in (b'["ac"]', b'["a"]', b'["abc"]'):
        assert decode_one(NUMBERS, record, entity) is None
    assert decode_one(_layout(("mean", "price", 60)), record, b'["ab"]') is None


def test_record_that_is_checked_but_does_not_add_up_is_left_to_who_can_say_why() -> None:
    (record,) = encode_records(NUMBERS, _records(NUMBERS, b'["ab"]', np.random.default_rng(3)))

    def sealed(body: bytes) -> bytes:
        return record[:4] + zlib.crc32(body).to_bytes(4, "little") + body

    assert decode_one(NUMBERS, sealed(record[8:]), b'["ab"]') is not None
    for body in (record[8:-8], record[8:] + bytes(8), record[8:-4], record[8:48], record[8:56]):
        assert decode_one(NUMBERS, sealed(body), b'["ab"]') is None
    of_tiles = 48  # the first family's word: the header's five and one of the entity stand before it
    for many in (2**31, 2**32 + 1, 2**63):
        lying = record[8:of_tiles] + many.to_bytes(8, "little") + record[of_tiles + 8 :]
        assert decode_one(NUMBERS, sealed(lying), b'["ab"]') is None
