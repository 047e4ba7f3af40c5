"""An answer crosses the wire, as JSON and as Arrow, equal to the bit."""

from __future__ import annotations

import dataclasses
import json
import pickle
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.errors import LookupRequestError, ServerError
from headrace.events.columns import Values
from headrace.events.source_partition import SourcePartition
from headrace.lookup import FeatureClient, OnlineFeatures, Status, ViewAnswer
from headrace.lookup.request import EntityRows
from headrace.lookup.response import Block, FeatureValues, maker
from headrace.lookup.wire import (
    answer_from_arrow,
    answer_from_json,
    answer_to_arrow,
    answer_to_json,
    positions_from_json,
    positions_to_json,
)
from headrace.plan import DType
from headrace.stores import OnlineStore, Position
from headrace.times import CALENDAR_DAYS, CALENDAR_US
from tests.lookup.conftest import PLAN, fill, order

Crossing = Callable[[OnlineFeatures], OnlineFeatures]


def as_json(answer: OnlineFeatures) -> OnlineFeatures:
    return answer_from_json(json.loads(json.dumps(answer_to_json(answer), allow_nan=False)))


def as_orjson(answer: OnlineFeatures) -> OnlineFeatures:
    orjson = pytest.importorskip("orjson")  # the server's
    return answer_from_json(orjson.loads(orjson.dumps(answer_to_json(answer))))


def as_arrow(answer: OnlineFeatures) -> OnlineFeatures:
    return answer_from_arrow(answer_to_arrow(answer))


def bits(value: Any) -> Any:
    """A value with its type, floats by their bits, times by their text: equal only if nothing changed."""
    if isinstance(value, float):
        return ("float", struct.pack(">d", value))
    if isinstance(value, list | tuple):
        return ("list", [bits(one) for one in value])
    if isinstance(value, dict):
        return ("dict", [(name, bits(one)) for name, one in value.items()])
    if isinstance(value, datetime):
        return ("datetime", value.isoformat(), value.utcoffset())
    if isinstance(value, Decimal):
        return ("decimal", value.as_tuple())
    return (type(value).__name__, value)


def check_same(found: OnlineFeatures, sent: OnlineFeatures) -> None:
    for name in ("at_us", "at", "plan_hash", "topics", "dtypes", "origin", "problems"):
        assert getattr(found, name) == getattr(sent, name), name
    assert [bits(row) for row in found.entity_rows] == [bits(row) for row in sent.entity_rows]
    assert bits(found.to_dict()) == bits(sent.to_dict())
    assert found.statuses() == sent.statuses()
    assert bits(found.records()) == bits(sent.records())
    assert list(found.values) == list(sent.values)
    for name in sent.values:
        ours, theirs = sent.values[name], found.values[name]
        assert theirs.valid.tolist() == ours.valid.tolist()
        assert bits(Block((), *theirs).known()) == bits(Block((), *ours).known())
    assert list(found.views) == list(sent.views)
    for name, view in sent.views.items():
        assert found.views[name].status == view.status
        assert {type(status) for status in found.views[name].status} <= {Status}
        assert found.views[name].newest_event_us == view.newest_event_us
        assert found.views[name].applied == view.applied


class Known(ViewAnswer):
    def __init__(self, status: list[Status], newest: list[int | None], applied: list[dict[int, int]]) -> None:
        self.status, self.newest_event_us, self.applied = status, newest, applied


INT64 = st.integers(-(2**63), 2**63 - 1)
NANS = st.sampled_from([0x7FF8000000000000, 0xFFF8000000000000, 0x7FF8000000000ABC]).map(
    lambda word: struct.unpack(">d", struct.pack(">Q", word))[0]
)
FLOATS = st.one_of(st.floats(), NANS, st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308]))
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
TIMES = st.integers(*CALENDAR_US)
OF: dict[DType, st.SearchStrategy[Any]] = {
    DType.INT64: INT64,
    DType.FLOAT64: FLOATS,
    DType.BOOL: st.integers(0, 1),
    DType.STRING: TEXT,
    DType.TIMESTAMP: TIMES,
    DType.DATE: st.integers(*CALENDAR_DAYS),
    DType.JSON: TEXT,
} | {dtype: INT64 for dtype in DType if dtype.scale is not None}
OF |= {dtype: st.lists(OF[dtype.element], max_size=3) for dtype in DType if dtype.element is not None}
OF[DType.BOOL_LIST] = st.lists(st.booleans(), max_size=3)

KEYS = st.one_of(
    INT64,
    TEXT,
    st.booleans(),
    FLOATS,
    st.none(),
    st.datetimes(timezones=st.sampled_from([UTC, timezone(timedelta(hours=-3, minutes=30))])),
    st.dates(),
    st.binary(max_size=5),
    st.decimals(allow_nan=False, allow_infinity=False),
    st.lists(FLOATS, max_size=2),
    st.dictionaries(TEXT, INT64, max_size=2),
)


@st.composite
def computed(draw: st.DrawFn, dtype: DType, rows: int) -> Values:
    values = draw(st.lists(st.one_of(st.none(), OF[dtype]), min_size=rows, max_size=rows))
    valid = np.array([value is not None for value in values], np.bool_)
    if dtype.element is not None or dtype in (DType.STRING, DType.JSON):
        data = np.empty(rows, object)
        data[:] = None
        for row, value in enumerate(values):
            data[row] = value
        return Values(data, valid)
    kind = np.float64 if dtype is DType.FLOAT64 else np.int64
    return Values(np.array([0 if value is None else value for value in values], kind), valid)


@st.composite
def entity_rows(draw: st.DrawFn, rows: int) -> EntityRows:
    names = draw(st.lists(TEXT, min_size=1, max_size=3, unique=True))
    if draw(st.booleans()):
        one_kind = st.sampled_from([INT64, TEXT, st.booleans(), FLOATS, st.datetimes(timezones=st.just(UTC)), KEYS])
        return EntityRows({name: draw(st.lists(draw(one_kind), min_size=rows, max_size=rows)) for name in names})
    return EntityRows(rows=draw(st.lists(st.dictionaries(st.sampled_from(names), KEYS), min_size=rows, max_size=rows)))


@st.composite
def answers(draw: st.DrawFn) -> OnlineFeatures:
    rows = draw(st.integers(0, 4))
    names = draw(st.lists(st.sampled_from(["shops", "shops__x", "days", "ö"]), min_size=1, max_size=3, unique=True))
    dtypes: dict[str, DType] = {}
    values: dict[str, Values] = {}
    problems: dict[str, dict[int, str]] = {}
    for number in range(draw(st.integers(1, 5))):
        name = f"{draw(st.sampled_from(names))}__f{number}"
        dtypes[name] = draw(st.sampled_from(list(DType)))
        values[name] = draw(computed(dtypes[name], rows))
        null = [row for row in range(rows) if not values[name].valid[row]]
        problems[name] = {row: draw(TEXT) for row in null if draw(st.booleans())}
    blocks = [Block(((name,),), *column, problems[name]) for name, column in values.items()]
    views = {
        name: Known(
            draw(st.lists(st.sampled_from(list(Status)), min_size=rows, max_size=rows)),
            draw(st.lists(st.one_of(st.none(), INT64), min_size=rows, max_size=rows)),
            draw(st.lists(st.dictionaries(st.integers(-5, 99), INT64, max_size=2), min_size=rows, max_size=rows)),
        )
        for name in names
    }
    return OnlineFeatures(
        at_us=draw(TIMES),
        plan_hash=draw(TEXT),
        topics={name: draw(TEXT) for name in names if draw(st.booleans())},
        entity_rows=draw(entity_rows(rows)),
        dtypes=dtypes,
        values=FeatureValues({name: maker(dtype) for name, dtype in dtypes.items()}, blocks),
        views=dict(views),
        origin=draw(TEXT),
    )


@pytest.mark.parametrize("cross", [as_json, as_orjson, as_arrow])
def test_any_answer_crosses_the_wire_equal_to_the_bit(cross: Crossing) -> None:
    @settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
    @given(answers())
    def crosses(answer: OnlineFeatures) -> None:
        check_same(cross(answer), answer)

    crosses()


@pytest.mark.parametrize("cross", [as_json, as_orjson, as_arrow])
def test_a_real_answer_crosses_the_wire(store: OnlineStore, client: FeatureClient, cross: Crossing) -> None:
    fill(store, order(5, gift=False, note="ü", price=-0.0, pieces=2**62), order(6, shop="b", price=None, pieces=None))
    rows: dict[str, Any] = {"shop": ["a", "b", "never"], "buyer": [7, 7, 7]}
    answer = client.get_online_features(["shops:*", "desk"], rows)
    found = cross(answer)
    check_same(found, answer)
    assert found.to_arrow().equals(answer.to_arrow())
    assert found.to_df().equals(answer.to_df())
    check_same(pickle.loads(pickle.dumps(found)), answer)  # noqa: S301 our own bytes
    check_same(cross(found), answer)


def test_every_part_of_an_answer_is_known_to_the_wire() -> None:
    """Who adds a field to an answer adds it to wire.py and wire_arrow.py, and then to this list."""
    fields = {field.name for field in dataclasses.fields(OnlineFeatures)}
    known = {"at_us", "plan_hash", "topics", "entity_rows", "dtypes", "values", "views", "origin"}
    assert fields == known
    parts = {name for name in vars(ViewAnswer) if not name.startswith("_")}
    assert parts == {"status", "newest_event_us", "applied"}


def test_json_is_as_the_documentation_shows_it(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5, price=float("nan"), pieces=2**53))
    asked = ["shops:count_60", "shops:mean_price_60", "shops:pieces_ever", "shops:newest"]
    data = answer_to_json(client.get_online_features(asked, [{"shop": "a"}, {"shop": "b"}]))
    assert json.loads(data.pop("origin")) is not None
    assert data == {
        "format": 1,
        "at": "1970-01-01T00:00:00.000005Z",
        "at_us": 5,
        "plan": PLAN.hash,
        "entities": {"shop": ["a", "b"]},
        "entity_types": {"shop": "string"},
        "features": {
            "shops__count_60": [1, 0],
            "shops__mean_price_60": ["NaN", None],
            "shops__pieces_ever": ["9007199254740992", 0],
            "shops__newest": ["1970-01-01T00:00:00.000005Z", None],
        },
        "types": {
            "shops__count_60": "int64",
            "shops__mean_price_60": "float64",
            "shops__pieces_ever": "int64",
            "shops__newest": "timestamp",
        },
        "views": {
            "shops": {
                "topic": "orders-topic",
                "status": ["present", "unknown_key"],
                "newest_event_us": [5, None],
                "evidence": [{"0": 0}, {}],
            }
        },
        "problems": [],
    }


def test_arrow_has_columns_that_any_reader_can_use(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5))
    answer = client.get_online_features(["shops:count_60"], {"shop": ["a", "b"]})
    table = pa.ipc.open_stream(answer_to_arrow(answer)).read_all()
    assert table.to_pydict() == {
        "shop": ["a", "b"],
        "shops__count_60": [1, 0],
        "shops:status": ["present", "unknown_key"],
        "shops:newest_event": [datetime(1970, 1, 1, 0, 0, 0, 5, UTC), None],
        "shops:evidence": [[(0, 0)], []],
    }


def test_rows_of_the_request_are_taken_where_they_are_given(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5))
    rows = EntityRows({"shop": ["a"], "day": [date(2026, 1, 1)]})
    answer = client.get_online_features(["shops:count_60"], {"shop": ["a"]})
    assert answer_from_json(answer_to_json(answer), rows).entity_rows is rows
    assert answer_from_arrow(answer_to_arrow(answer), rows).entity_rows is rows


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"format": 2}, "The answer has the format 2; this headrace reads the format 1."),
        ({"hello": "world"}, "This is no answer of a headrace server: {'hello': 'world'}"),
        ([], "This is no answer of a headrace server: []"),
        ({"format": 1}, "The answer cannot be read (KeyError: 'types')."),
    ],
)
def test_what_is_no_answer_is_refused(data: Any, message: str) -> None:
    with pytest.raises(ServerError) as told:
        answer_from_json(data)
    assert told.value.what == message
    assert told.value.hint


@pytest.mark.parametrize("stream", [b"", b"<html>", b"\xff" * 100])
def test_what_is_no_arrow_stream_is_refused(stream: bytes) -> None:
    with pytest.raises(ServerError, match="This is no answer of a headrace server"):
        answer_from_arrow(stream)


def test_an_arrow_stream_of_another_program_is_refused() -> None:
    sink = pa.BufferOutputStream()
    table = pa.table({"a": [1]})
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(ServerError, match="This is no answer of a headrace server: None"):
        answer_from_arrow(sink.getvalue().to_pybytes())


def test_a_value_that_cannot_be_sent_is_named(store: OnlineStore, client: FeatureClient) -> None:
    fill(store, order(5))
    answer = client.get_online_features(["shops:count_60"], [{"shop": "a", "what": {1}}])
    with pytest.raises(LookupRequestError, match=r"entity_rows has what=\{1\}, a set, which cannot be sent"):
        answer_to_json(answer)


def test_positions_cross_the_wire() -> None:
    now = datetime(2026, 1, 1, 12, 0, 0, 123456, UTC)
    positions = {SourcePartition("orders", 3): Position(2**40, 2**60, -5), SourcePartition("ö", 0): Position(0, 0, 0)}
    assert positions_from_json(json.loads(json.dumps(positions_to_json(now, positions)))) == (now, positions)
    with pytest.raises(ServerError):
        positions_from_json({"format": 1})
