"""A fetch becomes columns: good events stay in order, each bad one becomes a dead letter that says what and where."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import Annotated, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from headrace.events.dead_letter import DeadLetter
from headrace.events.decode import EventDecoder
from headrace.events.model_schema import columns_of
from headrace.events.raw_records import RawRecords
from headrace.plan import Source
from headrace.times import datetime_of

NOON_MS = 1_700_000_000_000
HOUR_US = 3_600_000_000


class Kind(str, Enum):  # noqa: UP042 there are such enums
    """No StrEnum: its str() is not its value."""

    WEB = "web"


class Order(BaseModel):
    """An order, with validators that break in every way that Python lets them."""

    model_config = ConfigDict(extra="forbid")

    at: datetime  # takes naive times: the decoder must not
    shop: Annotated[str, Field(pattern=r"^[a-z]+$")]
    pieces: Annotated[int, Field(gt=0)]
    price: float = 1.0
    gift: bool = False
    due: AwareDatetime | None = None
    kind: Kind | None = None
    note: str | None = None

    @field_validator("pieces")
    @classmethod
    def _break_pieces(cls, pieces: int) -> Any:
        if pieces == 13:
            msg = "no luck"
            raise ZeroDivisionError(msg)
        return {14: None, 15: "fifteen", 16: 10**5000}.get(pieces, pieces)

    @field_validator("note")
    @classmethod
    def _break_note(cls, note: str) -> Any:
        return {"surrogate": "\ud800", "number": 5}.get(note, note)

    @model_validator(mode="after")
    def _break_whole(self) -> Any:
        match self.note:
            case "no time":
                self.__dict__["at"] = None
            case "no fields":
                self.__dict__.clear()
            case "day":
                self.__dict__["at"] = self.at.date()
            case "nothing":
                return None
        return self


SOURCE = Source(
    name="orders",
    topic="orders",
    model="shop:Order",
    key="shop",
    timestamp_field="at",
    columns=columns_of(Order),
    max_future_us=HOUR_US,
)
DECODER = EventDecoder(SOURCE, Order)


@dataclass(frozen=True)
class Record:
    """A Kafka record, as far as decoding reads it."""

    value: bytes | None
    offset: int = 7
    partition: int = 2
    timestamp: int = NOON_MS
    key: bytes | None = b"key"


def order(**changes: Any) -> bytes:
    """The JSON of a good order dated at its record's timestamp, changed; what is changed to ... is left out."""
    fields = {"at": datetime_of(NOON_MS * 1000).isoformat(), "shop": "a", "pieces": 1, **changes}
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def dead(value: bytes | None) -> DeadLetter:
    """The dead letter of a record that stands between two good ones, which both hold."""
    records = [Record(order(pieces=1), 6), Record(value, 7), Record(order(pieces=2), 8)]
    batch, (letter,) = DECODER.decode(RawRecords.of(records))
    assert batch.offset.tolist() == [6, 8]
    assert batch.table.column("pieces").to_pylist() == [1, 2]
    assert letter.position == ("orders", 2, 7)
    assert (letter.key, letter.value, letter.recorded_at_ms) == (b"key", value, NOON_MS)
    assert letter.model == "shop:Order"
    return letter


GOOD = order()
HUGE = json.dumps({"at": "2020-01-01T00:00:00Z", "shop": "a"})[:-1].encode() + b', "pieces": ' + b"9" * 5000 + b"}"
BAD: dict[str, tuple[bytes | None, str | None, str]] = {
    # What the JSON is.
    "malformed": (GOOD[:-1], None, "Invalid JSON"),
    "empty": (b"", None, "value is empty"),
    "no JSON": (b"\x00\x01", None, "Invalid JSON"),
    "invalid UTF-8": (order(note="?").replace(b"?", b"\xff"), None, "Invalid JSON"),
    "a lone surrogate": (order(note="?").replace(b"?", rb"\ud800"), None, "Invalid JSON"),
    "a byte order mark": (b"\xef\xbb\xbf" + GOOD, None, "byte order mark"),
    "two events": (GOOD + b"," + GOOD, None, "trailing characters"),
    "two lines": (GOOD + b"\n" + GOOD, None, "trailing characters"),
    "half an event that another would close": (GOOD[:-1] + b',"note":"', None, "Invalid JSON"),
    "the end of an event that another began": (b'"},' + GOOD, None, "Invalid JSON"),
    "nested too deep": (b"[" * 100_000, None, "recursion limit"),
    "no value (a tombstone)": (None, None, "tombstone"),
    "null": (b"null", None, "should be an object"),
    "a list": (b"[" + GOOD + b"]", None, "should be an object"),
    "digits without end": (HUGE, None, "number out of range"),
    # What the model says.
    "wrong type": (order(price="dear"), "price", "should be a valid number(?s:.*)got 'dear'"),
    "float for int": (order(pieces=1.5), "pieces", "should be a valid integer"),
    "missing field": (order(shop=...), "shop", "Field required"),
    "null for a field that must be": (order(shop=None), "shop", "should be a valid string"),
    "forbidden value": (order(shop="A1"), "shop", "should match pattern(?s:.*)got 'A1'"),
    "a value out of range": (order(pieces=0), "pieces", "greater than 0"),
    "not a member": (order(kind="shop"), "kind", "should be 'web'"),
    "extra field": (order(colour="red"), "colour", "Extra inputs are not permitted"),
    "several at once": (order(shop="A1", pieces=0, price="x"), "shop", r"\(and 2 more\)"),
    "no time": (order(at="yesterday"), "at", "valid datetime"),
    "a naive time in an aware field": (order(due="2020-01-01T00:00:00"), "due", "timezone info"),
    # What the columns can hold.
    "naive time": (
        order(at="2020-01-01T00:00:00"),
        "at",
        "2020-01-01T00:00:00 has no time zone; send UTC, such as 2020-01-01T00:00:00Z",
    ),
    "int beyond 64 bits": (order(pieces=2**63), "pieces", "9223372036854775808 is no integer of 64 bits"),
    "before the calendar in UTC": (order(at="0001-01-01T00:00:00+14:00"), "at", "no time on the calendar in UTC"),
    "after the calendar in UTC": (order(due="9999-12-31T23:59:59-14:00"), "due", "no time on the calendar in UTC"),
    # What a user's validators do.
    "validator that raises": (order(pieces=13), None, "validation raised ZeroDivisionError: no luck"),
    "validator that forgets to return": (order(pieces=14), "pieces", "left no value"),
    "validator that returns another type": (order(pieces=15), "pieces", "'fifteen' is no integer of 64 bits"),
    "validator that returns what Python cannot write": (
        order(pieces=16),
        "pieces",
        "a value of type int is no integer",
    ),
    "validator that returns a lone surrogate": (order(note="surrogate"), "note", "is no text in UTF-8"),
    "validator that returns a number for a text": (order(note="number"), "note", "5 is no text in UTF-8"),
    "validator that loses the time": (order(note="no time"), "at", "left no value"),
    "validator that loses all fields": (order(note="no fields"), "at", "left no value"),
    "validator that returns a date": (order(note="day"), "at", "has no time zone"),
    "validator that returns nothing": (order(note="nothing"), None, "validation raised AttributeError"),
    # What the broker says.
    "far future": (
        order(at="2100-01-01T00:00:00Z"),
        "at",
        r"2100-01-01T00:00:00Z is more than 3600 s past the record's timestamp, 2023-11-14T22:13:20Z \(max_future",
    ),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_event_becomes_a_dead_letter_and_its_neighbours_hold(case: str) -> None:
    value, field, reason = BAD[case]
    letter = dead(value)
    assert letter.field == field
    assert pytest.RaisesExc(ValueError, match=reason).matches(ValueError(letter.reason)), letter.reason
    assert len(letter.reason) < 400


def test_good_event_becomes_a_row_of_typed_columns() -> None:
    value = order(price=2, gift=True, due="2020-02-29T01:00:00.000001+02:00", kind="web", note="ü \u0000")
    batch, letters = DECODER.decode(RawRecords.of([Record(value, offset=41, partition=3)]))
    assert letters == []
    assert batch.source is SOURCE
    assert batch.table.to_pylist() == [
        {
            "at": datetime_of(NOON_MS * 1000),
            "shop": "a",
            "pieces": 1,
            "price": 2.0,
            "gift": True,
            "due": datetime(2020, 2, 28, 23, 0, 0, 1, tzinfo=UTC),
            "kind": "web",
            "note": "ü \u0000",
        }
    ]
    assert batch.table.schema.names == [column.name for column in SOURCE.columns]
    assert [column.tolist() for column in (batch.ts_us, batch.partition, batch.offset)] == [[NOON_MS * 1000], [3], [41]]


@pytest.mark.parametrize(
    ("at", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1969-12-31T23:59:59.999999Z", -1),
        ("2013-01-01T05:00:00-05:00", 1_357_034_400_000_000),
        ("2013-01-01T10:00:00.0000019Z", 1_357_034_400_000_001),
        ("0001-01-01T00:00:00Z", -62_135_596_800_000_000),
        (1_357_034_400, 1_357_034_400_000_000),
    ],
)
def test_event_time_is_in_microseconds_utc(at: str | int, us: int) -> None:
    batch, letters = DECODER.decode(RawRecords.of([Record(order(at=at))]))
    assert (batch.ts_us.tolist(), letters) == ([us], [])
    assert batch.table.column("at").to_pylist() == [datetime_of(us)]


def test_ends_of_64_bits_nan_and_infinity_are_values() -> None:
    values = [
        order(pieces=2**63 - 1, price=math.nan),
        order(price=math.inf),
        order().replace(b"}", b', "price": 1e999}'),
    ]
    batch, letters = DECODER.decode(RawRecords.of([Record(value, offset) for offset, value in enumerate(values)]))
    assert letters == []
    assert batch.table.column("pieces").to_pylist() == [2**63 - 1, 1, 1]
    prices = batch.values("price")
    assert prices.valid.all()
    assert [str(price) for price in prices.data.tolist()] == ["nan", "inf", "inf"]


@pytest.mark.parametrize("max_future_us", [0, 1, HOUR_US])
@pytest.mark.parametrize("past_us", [-1, 0, 1])
def test_max_future_is_exact_to_the_microsecond(max_future_us: int, past_us: int) -> None:
    decoder = EventDecoder(SOURCE.model_copy(update={"max_future_us": max_future_us}), Order)
    at = datetime_of(NOON_MS * 1000 + max_future_us + past_us).isoformat()
    batch, letters = decoder.decode(RawRecords.of([Record(order(at=at))]))
    assert (len(batch), [letter.field for letter in letters]) == ((0, ["at"]) if past_us > 0 else (1, []))


def test_future_is_told_by_each_records_own_timestamp() -> None:
    at = datetime_of(NOON_MS * 1000 + HOUR_US).isoformat()
    records = [Record(order(at=at), offset, timestamp=NOON_MS + shift) for offset, shift in enumerate([0, -1, 1])]
    batch, letters = DECODER.decode(RawRecords.of(records))
    assert batch.offset.tolist() == [0, 2]
    assert batch.record_ts_us.tolist() == [NOON_MS * 1000, NOON_MS * 1000 + 1000]
    assert [letter.offset for letter in letters] == [1]


def test_known_at_is_the_records_timestamp_or_what_the_worker_says() -> None:
    records = [Record(order(), 0), Record(order(pieces=0), 1), Record(order(), 2, timestamp=NOON_MS + 9)]
    by_record, _ = DECODER.decode(RawRecords.of(records))
    assert by_record.known_us.tolist() == [NOON_MS * 1000, (NOON_MS + 9) * 1000]
    by_worker, _ = DECODER.decode(RawRecords.of(records), known_us=123)
    assert by_worker.known_us.tolist() == [123, 123]
    assert by_worker.record_ts_us.tolist() == by_record.record_ts_us.tolist() == by_record.known_us.tolist()


@pytest.mark.parametrize("records", [[], [Record(None)], [Record(order(note="no time"))]])
def test_fetch_without_a_good_event_is_an_empty_batch_of_the_same_columns(records: list[Record]) -> None:
    batch, letters = DECODER.decode(RawRecords.of(records))
    assert (len(batch), len(letters)) == (0, len(records))
    assert batch.table.schema == DECODER.decode(RawRecords.of([Record(order())]))[0].table.schema
    for column in (batch.ts_us, batch.partition, batch.offset, batch.record_ts_us, batch.known_us):
        assert (column.dtype, column.shape) == (np.dtype(np.int64), (0,))


@given(
    kinds=st.lists(st.sampled_from([None, None, *BAD]), max_size=30),
    partitions=st.lists(st.integers(0, 3), min_size=30, max_size=30),
)
@settings(max_examples=60, deadline=None)
def test_any_mix_of_good_and_bad_is_told_apart(kinds: list[str | None], partitions: list[int]) -> None:
    """Every good event is there, in order and at its place; every bad one is a dead letter with its bytes."""
    records = []
    for offset, (kind, partition) in enumerate(zip(kinds, partitions, strict=False)):
        moment = datetime_of(NOON_MS * 1000) - timedelta(seconds=offset)
        value = BAD[kind][0] if kind else order(at=moment.isoformat(), pieces=offset + 100)
        records.append(Record(value, offset, partition, key=b"%d" % offset))
    batch, letters = DECODER.decode(RawRecords.of(records))
    good = [record for record, kind in zip(records, kinds, strict=True) if kind is None]
    assert batch.offset.tolist() == [record.offset for record in good]
    assert batch.partition.tolist() == [record.partition for record in good]
    assert batch.table.column("pieces").to_pylist() == [record.offset + 100 for record in good]
    assert batch.ts_us.tolist() == [NOON_MS * 1000 - record.offset * 1_000_000 for record in good]
    bad = {record.offset: (record, kind) for record, kind in zip(records, kinds, strict=True) if kind is not None}
    assert sorted(letter.offset for letter in letters) == sorted(bad)
    for letter in letters:
        record, kind = bad[letter.offset]
        assert (letter.partition, letter.key, letter.value) == (record.partition, record.key, record.value)
        assert letter.field == BAD[str(kind)][1]
