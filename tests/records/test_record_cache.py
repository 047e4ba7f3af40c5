"""Cached records give back what was last put, however often they are moved."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.source_partition import SourcePartition
from headrace.records.layout import Records, encode_records
from headrace.records.record_cache import RecordCache
from headrace.stores import RecordKey
from headrace.windows import NEVER, Tiles
from tests.records.test_layout import LAYOUT

Row = tuple[int, int, list[list[int]]]
"""Applied offset, newest tile dropped, and the tiles of each family."""

ROWS = st.tuples(
    st.integers(0, 1 << 40),
    st.integers(-5, 5) | st.just(NEVER),
    st.lists(st.lists(st.integers(-9, 9), unique=True, max_size=6).map(sorted), min_size=3, max_size=3),
)


def records_of(rows: dict[int, Row]) -> Records:
    """Records whose tiles' words and objects tell which record, tile and column they are of."""
    applied = np.array([row[0] for row in rows.values()], np.int64)
    dropped = np.array([row[1] for row in rows.values()], np.int64)
    tiles = []
    for number, family in enumerate(LAYOUT.families):
        places = [(at, name, tile) for at, (name, row) in enumerate(rows.items()) for tile in row[2][number]]
        group = np.array([at for at, *_ in places], np.int64)
        words = [
            [tile, applied[at], *(hash((name, tile, c)) for c in range(len(family.columns)))]
            for at, name, tile in places
        ]
        objects = []
        for c in family.objects:
            column = np.empty(len(places), object)
            kind = family.columns[c].kind
            texts = [f"{name}/{tile}/{c}/{applied[at]}" for at, name, tile in places]
            column[:] = texts if kind == "string" else [text.encode() for text in texts]
            objects.append(column)
        rows_ = np.array(words, np.int64).reshape(len(places), 2 + len(family.columns))
        tiles.append(Tiles(family, group, rows_, tuple(objects)))
    entities = [str(name).encode() for name in rows]
    return Records(entities, applied, applied + 1, applied + 2, [dropped] * len(tiles), tiles)


def key_of(name: int) -> RecordKey:
    return RecordKey("00112233445566aa", str(name).encode(), SourcePartition("orders", 0))


@given(st.lists(st.dictionaries(st.integers(0, 12), ROWS, min_size=1, max_size=8), max_size=12))
@settings(max_examples=25, deadline=None)
def test_what_is_taken_is_what_was_last_put(rounds: list[dict[int, Row]]) -> None:
    cache, held = RecordCache(LAYOUT), dict[int, Row]()
    for rows in rounds:
        numbers = cache.numbers(list(rows))
        assert [number is None for number in numbers] == [name not in held for name in rows]
        old = {name: number for name, number in zip(rows, numbers, strict=True) if number is not None}
        new = {name: row for name, row in rows.items() if name not in old}
        cache.add(list(new), [key_of(name) for name in new], records_of(new))
        if old:
            cache.put(np.array(list(old.values())), records_of({name: rows[name] for name in old}))
        held |= rows
        asked = list(held)[::-1]
        at = np.array(cache.numbers(asked), np.int64)
        assert [cache.keys[number] for number in at.tolist()] == [key_of(name) for name in asked]
        expected = records_of({name: held[name] for name in asked})
        assert encode_records(LAYOUT, cache.take(at)) == encode_records(LAYOUT, expected)


def test_records_that_grow_and_shrink_take_no_more_room_than_four_times_what_they_are() -> None:
    cache = RecordCache(LAYOUT)
    cache.add([0, 1], [key_of(0), key_of(1)], records_of({n: (0, NEVER, [[1], [1], [1]]) for n in (0, 1)}))
    tiles = list(range(3_000))
    for turn in range(7):
        many = records_of({turn % 2: (turn, NEVER, [tiles] * 3)})
        few = records_of({(turn + 1) % 2: (turn, NEVER, [[1]] * 3)})
        cache.put(np.array([turn % 2]), many)
        cache.put(np.array([(turn + 1) % 2]), few)
    one = len(encode_records(LAYOUT, cache.take(np.array([turn % 2])))[0])
    assert cache.nbytes < 5 * one


def test_what_is_taken_is_a_copy() -> None:
    cache = RecordCache(LAYOUT)
    cache.add([7], [key_of(7)], records_of({7: (3, NEVER, [[1, 2], [3], []])}))
    before = encode_records(LAYOUT, cache.take(np.array([0])))
    taken = cache.take(np.array([0]))
    taken.applied[:] = 9
    taken.tiles[0].rows[:] = -1
    assert encode_records(LAYOUT, cache.take(np.array([0]))) == before


def test_strings_and_long_keys_count() -> None:
    cache = RecordCache(LAYOUT)
    records = records_of({7: (3, NEVER, [[1, 2], [3], []])})
    for tiles in records.tiles:
        for column in tiles.objects:
            column[:] = "x" * 50_000
    cache.add([7], [RecordKey("00112233445566aa", b"k" * 3_000, SourcePartition("orders", 0))], records)
    objects = sum(len(tiles) * len(tiles.objects) for tiles in records.tiles)
    assert objects
    assert cache.nbytes > 50_000 * objects + 3_000
