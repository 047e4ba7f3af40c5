"""A request crosses the wire: the server looks up the same values of the same types, and refuses the same."""

from __future__ import annotations

import enum
import json
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.errors import LookupRequestError
from headrace.lookup.request import EntityRows
from headrace.lookup.wire_request import at_from_json, key_types, request_to_json, rows_from_json
from headrace.plan import DType
from tests.lookup.conftest import VIEWS
from tests.lookup.test_wire import KEYS, TEXT, bits

DAY = datetime(2026, 1, 1, tzinfo=UTC)
TYPES = {
    "shop": DType.STRING,
    "buyer": DType.INT64,
    "member": DType.BOOL,
    "day": DType.TIMESTAMP,
    "born": DType.DATE,
    "price": DType.FLOAT64,
    "exact": DType.DECIMAL_2,
    "prices": DType.FLOAT64_LIST,
    "days": DType.TIMESTAMP_LIST,
}


def sent(rows: EntityRows, types: dict[str, DType] | None = None) -> Any:
    body = json.loads(json.dumps(request_to_json("desk", rows, None), allow_nan=False))
    assert body.pop("features") == "desk"
    return rows_from_json(types or {}, **body)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.dictionaries(TEXT, KEYS, max_size=3), max_size=3))
def test_any_rows_arrive_as_they_were(rows: list[dict[str, Any]]) -> None:
    assert bits(sent(EntityRows(rows=rows))) == bits(rows)


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(TEXT, st.lists(KEYS, min_size=2, max_size=2), min_size=1, max_size=3))
def test_any_columns_arrive_as_they_were(columns: dict[str, list[Any]]) -> None:
    assert bits(sent(EntityRows(columns))) == bits(columns)


def test_python_values_keep_their_types_whatever_the_keys_types_are() -> None:
    for value in (DAY, date(2026, 1, 1), "2026-01-01", 7, True, 2**60, Decimal("1.50"), b"\0"):
        for name, dtype in TYPES.items():
            if isinstance(value, str) and dtype is not DType.STRING:
                continue  # texts are how JSON writes times and dates
            if type(value) is int and dtype is DType.FLOAT64:
                continue  # 1 is how JavaScript writes 1.0
            (found,) = sent(EntityRows({name: [value]}), TYPES)[name]
            assert bits(found) == bits(value), (name, value)


@pytest.mark.parametrize(
    ("name", "written", "read"),
    [
        ("shop", "a", "a"),
        ("shop", "9007199254740993", "9007199254740993"),
        ("buyer", 7, 7),
        ("buyer", "9007199254740993", 2**53 + 1),
        ("buyer", "-9007199254740993", -(2**53) - 1),
        ("buyer", "7", "7"),
        ("buyer", "9007199254740991", "9007199254740991"),
        ("day", "2026-01-01T00:00:00Z", DAY),
        ("day", "2026-01-01T01:00:00+01:00", DAY.astimezone(timezone(timedelta(hours=1)))),
        ("day", "2026-01-01", datetime(2026, 1, 1)),  # noqa: DTZ001 the lookup refuses it: it has no zone
        ("born", "2026-01-01", date(2026, 1, 1)),
        ("price", 1, 1.0),
        ("price", "-Infinity", float("-inf")),
        ("exact", "1.50", Decimal("1.50")),
        ("prices", [1, "Infinity", None], [1.0, float("inf"), None]),
        ("days", ["2026-01-01T00:00:00Z"], [DAY]),
        ("unknown", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00Z"),
        ("unknown", {"timestamp": "2026-01-01T00:00:00+00:00"}, DAY),
    ],
)
def test_texts_are_read_by_the_type_of_the_column(name: str, written: Any, read: Any) -> None:
    columns = rows_from_json(TYPES, entities={name: [written, None]})
    assert bits(columns) == bits({name: [read, None]})
    assert bits(rows_from_json(TYPES, entity_rows=[{name: written}])) == bits([{name: read}])


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "The request has neither entities nor entity_rows."),
        ({"entities": {}, "entity_rows": []}, "The request has both entities and entity_rows."),
        ({"entities": []}, "The request's entities are no object of arrays."),
        ({"entities": {"shop": "a"}}, "The request's entities are no object of arrays."),
        ({"entity_rows": {"shop": ["a"]}}, "The request's entity_rows are no array of objects."),
        ({"entity_rows": ["a"]}, "The request's entity_rows are no array of objects."),
        ({"entities": {"day": ["soon"]}}, "The request has day='soon', which is no timestamp."),
        ({"entities": {"born": ["2026-13-01"]}}, "The request has born='2026-13-01', which is no date."),
        ({"entities": {"price": ["much"]}}, "The request has price='much', which is no float64."),
        ({"entities": {"exact": ["much"]}}, "The request has exact='much', which is no decimal_2."),
        ({"entities": {"shop": [{"a": 1}]}}, "The request has shop={'a': 1}, which is no value."),
        ({"entities": {"shop": [{}]}}, "The request has shop={}, which is no value."),
        (
            {"entities": {"shop": [{"timestamp": "soon"}]}},
            "The request has shop={'timestamp': 'soon'}, which is no value of the type timestamp.",
        ),
        (
            {"entities": {"shop": [{"bytes": "not base64"}]}},
            "The request has shop={'bytes': 'not base64'}, which is no value of the type bytes.",
        ),
    ],
)
def test_bad_rows_are_refused_by_name(body: dict[str, Any], message: str) -> None:
    with pytest.raises(LookupRequestError) as told:
        rows_from_json(TYPES, **body)
    assert told.value.what == message


def test_long_values_are_cut_in_messages() -> None:
    with pytest.raises(LookupRequestError) as told:
        rows_from_json(TYPES, entities={"day": ["x" * 10_000]})
    assert len(str(told.value)) < 400


class Shop(enum.StrEnum):
    FIRST = "a"


def test_an_enum_of_texts_is_sent_as_its_value() -> None:
    assert sent(EntityRows({"shop": [Shop.FIRST]})) == {"shop": ["a"]}


class Number(enum.IntEnum):
    ONE = 1


@pytest.mark.parametrize("value", [Number.ONE, {1}, object()])
def test_what_has_no_type_cannot_be_sent(value: Any) -> None:
    with pytest.raises(LookupRequestError, match="which cannot be sent"):
        sent(EntityRows({"shop": [value]}))


def test_time_is_iso_text_with_a_zone() -> None:
    body = request_to_json(["a:b"], EntityRows({"shop": ["a"]}), 1_767_225_600_000_001)
    assert body == {"features": ["a:b"], "entities": {"shop": ["a"]}, "at": "2026-01-01T00:00:00.000001Z"}
    assert at_from_json(body["at"]) == DAY + timedelta(microseconds=1)
    assert at_from_json(None) is None
    for text in ("soon", 5, ["2026-01-01T00:00:00Z"]):
        with pytest.raises(LookupRequestError, match="which is no time"):
            at_from_json(text)


def test_types_of_keys_are_those_of_the_views() -> None:
    found = key_types(view for view in VIEWS if view.name in ("pairs", "days"))
    assert found == {"shop": DType.STRING, "buyer": DType.INT64, "day": DType.TIMESTAMP}
