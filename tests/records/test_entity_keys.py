"""An entity has the same key from one row or many, from a worker's Arrow columns or a lookup's Python values."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from itertools import product
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.lookup.request import entity_columns
from headrace.plan import DType
from headrace.records.applier import Applier
from headrace.records.entity_keys import entity_key, entity_keys, entity_values
from headrace.stores.memory import MemoryStore
from tests.records.test_applier_keys import NAMES, batch_of, plan_of

ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b", "\f": "\\f"}


def plain_key(values: Sequence[object]) -> bytes:
    """The definition, character by character."""
    return ("[" + ",".join(map(plain_value, values)) + "]").encode("utf-8", "surrogatepass")


def plain_value(value: object) -> str:
    if isinstance(value, str):
        return '"' + "".join(ESCAPES.get(c, f"\\u{ord(c):04x}" if ord(c) < 32 else c) for c in value) + '"'
    return f"{value}".lower() if isinstance(value, bool) else f"{value}"


ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20) | st.text(st.characters(max_codepoint=130))
INT64 = st.integers(-(2**63), 2**63 - 1) | st.sampled_from([-(2**63), 2**63 - 1, 0, -1])
COLUMNS = {"text": ANY_TEXT, "number": INT64, "flag": st.booleans(), "mixed": ANY_TEXT | INT64 | st.booleans()}


@pytest.mark.parametrize(
    "kinds", [*([kind] for kind in COLUMNS), ["text", "number"], ["flag", "text", "number"]], ids=",".join
)
@given(data=st.data())
def test_keys_of_columns_are_those_of_the_definition(kinds: list[str], data: st.DataObject) -> None:
    rows = data.draw(st.lists(st.tuples(*(COLUMNS[kind] for kind in kinds)), max_size=20))
    expected = list(map(plain_key, rows))
    assert entity_keys(list(zip(*rows, strict=True))) == expected
    assert list(map(entity_key, rows)) == expected
    assert list(map(entity_values, expected)) == list(map(list, rows))
    assert len(set(expected)) == len({tuple((type(value), value) for value in row) for row in rows})


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": st.text(st.characters(codec="utf-8"), max_size=20)
    | st.sampled_from(["", "a", "ü", '"', "\\", "a\x00", "\n"]),
    "number": INT64,
    "flag": st.booleans(),
    "moment": st.datetimes(timezones=st.just(UTC)) | st.sampled_from([EPOCH, EPOCH - timedelta(microseconds=1)]),
    "day": st.dates() | st.sampled_from([date.min, date.max, date(1969, 12, 31)]),
}


@pytest.mark.parametrize("entities", [*([name] for name in NAMES), list(NAMES)], ids=",".join)
@given(data=st.data())
@settings(max_examples=50, deadline=None)
def test_lookup_asks_for_the_keys_that_the_worker_writes(entities: list[str], data: st.DataObject) -> None:
    assert set(VALUES) == set(NAMES)  # every type that a join key may have
    plan = plan_of(entities)
    rows = data.draw(st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=10))
    store = MemoryStore()
    Applier(plan, store).apply([batch_of([(*(row[name] for name in NAMES), 0) for row in rows], 0)], {}, 0)
    written = set(store.entities(plan.views["v"].hash))
    table = pa.table({name: [row[name] for row in rows] for name in entities})
    columns = {name: [row[name] for row in rows] for name in entities}
    for asked in (rows, columns, table):
        (keys,) = entity_columns(asked, plan.views.values())[1].values()
        assert set(keys) == written
        assert keys == [keys[rows.index(row)] for row in rows]


def test_every_type_that_a_join_key_may_have_is_tested() -> None:
    refused = {DType.FLOAT64, DType.JSON}  # see `declare.views`; so are decimals and lists
    plain = {dtype for dtype in DType if dtype.scale is None and dtype.element is None}
    assert set(NAMES.values()) == plain - refused


@pytest.mark.parametrize(
    ("values", "key"),
    [
        (["EWR"], b'["EWR"]'),
        (["EWR", 1, True], b'["EWR",1,true]'),
        ([1], b"[1]"),
        (["1"], b'["1"]'),
        (["ü"], '["ü"]'.encode()),
        ([-(2**63)], b"[-9223372036854775808]"),
    ],
)
def test_key_is_compact_json_that_keeps_types_apart(values: list[object], key: bytes) -> None:
    assert entity_key(values) == key


def test_values_that_look_alike_together_have_different_keys() -> None:
    parts: list[object] = ["a", "a,b", 'a","b', "ab", "", "\n", "]\n[", 1, True, "1", "true", "\ud800", "?"]
    rows = [[one] for one in parts] + [list(pair) for pair in product(parts, parts)]
    assert len(set(map(entity_key, rows))) == len(rows)


class Shop(str, Enum):  # noqa: UP042 there are such enums
    """Its str() is not its value."""

    A = "a"


def test_enum_of_texts_is_written_as_its_text() -> None:
    assert entity_keys([[Shop.A, "b"]]) == [b'["a"]', b'["b"]']


@pytest.mark.parametrize("value", [None, 1.0, b"a", EPOCH])
def test_value_of_another_type_is_refused(value: object) -> None:
    with pytest.raises(TypeError, match="cannot hold"):
        entity_key([value])
