"""However a fetch is read (by Arrow, or by pydantic record by record), events and dead letters are the same."""

from __future__ import annotations

import json
import math
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

import pyarrow as pa
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator

from headrace.events.decode import EventDecoder
from headrace.events.event_batch import EventBatch
from headrace.events.formats.json import JsonFormat
from headrace.events.formats.json_arrow import PlainReader
from headrace.events.formats.plain_models import plain_model
from headrace.events.model_schema import columns_of
from headrace.events.raw_records import RawRecords
from headrace.plan import Source
from tests.examples import few_and_many

NOON_MS = 1_700_000_000_000


class Kind(StrEnum):
    """What an event is about."""

    WEB = "web"
    APP = "app"


class Payment(BaseModel):
    """A plain model: Arrow reads it."""

    event_id: str
    user: Annotated[str, Field(min_length=1, max_length=6)]
    amount: Annotated[float, Field(ge=-100)]
    pieces: Annotated[int, Field(gt=-10, le=10**15)] = 1
    paid: bool = False
    note: str | None = None
    kind: Kind | None = None
    code: Annotated[str, Field(pattern="^[a-z]*$")] | None = None
    colour: Literal["red", "blue"] = "red"
    ts: datetime
    due: AwareDatetime | None = None


class Strict(Payment):
    """The same, and nothing else in it."""

    model_config = ConfigDict(extra="forbid")


class Checked(Payment):
    """The same with a validator, which is called for one record after the other."""

    @field_validator("user")
    @classmethod
    def _no_eve(cls, user: str) -> str:
        if user == "eve":
            msg = "not eve"
            raise ValueError(msg)
        return user


class Sparse(BaseModel):
    """A required field that may be null, and a field with a default that may be null."""

    ts: datetime
    user: str
    score: float | None
    rank: int | None = 7


def source_of(model: type[BaseModel]) -> Source:
    return Source(
        name="payments",
        topic="payments",
        model=f"payments:{model.__name__}",
        key="user",
        timestamp_field="ts",
        columns=columns_of(model),
        max_future_us=3_600_000_000,
    )


MODELS: list[type[BaseModel]] = [Payment, Strict, Checked]
ALL: list[type[BaseModel]] = [*MODELS, Sparse]


def decoder_of(model: type[BaseModel], arrow_from: int) -> EventDecoder:
    return EventDecoder(source_of(model), model, JsonFormat(source_of(model), model, arrow_from=arrow_from))


BY_ARROW = {model: decoder_of(model, 1) for model in ALL}
BY_RECORD = {model: decoder_of(model, 10**9) for model in ALL}


def records_of(values: list[bytes | None]) -> RawRecords:
    n = len(values)
    return RawRecords(
        pa.array([0] * n, pa.int64()).to_numpy(),
        pa.array(range(n), pa.int64()).to_numpy(),
        pa.array([NOON_MS] * n, pa.int64()).to_numpy(),
        [b"k"] * n,
        values,
    )


def same(model: type[BaseModel], values: list[bytes | None]) -> None:
    """Fail unless all ways give the same."""
    records = records_of(values)
    wanted, refused = BY_RECORD[model].decode(records)
    batch, dead = BY_ARROW[model].decode(records)
    assert dead == refused
    assert batch.offset.tolist() == wanted.offset.tolist()
    assert batch.ts_us.tolist() == wanted.ts_us.tolist()
    assert batch.table.schema == wanted.table.schema
    assert written(batch) == written(wanted)


def written(batch: EventBatch) -> list[list[str]]:
    """Every value so that NaN is NaN and the sign of zero shows."""
    return [[repr(value) for value in column.to_pylist()] for column in batch.table.columns]


def payment(**changes: Any) -> dict[str, Any]:
    fields = {"event_id": "e1", "user": "ada", "amount": 12.5, "ts": NOON_MS, **changes}
    return {name: value for name, value in fields.items() if value is not ...}


def raw(**changes: str) -> bytes:
    """An event with some fields written as they are given."""
    fields = {name: json.dumps(value) for name, value in payment().items()} | changes
    return ("{" + ",".join(f'"{name}":{text}' for name, text in fields.items()) + "}").encode("utf-8", "surrogatepass")


def reads(model: type[BaseModel], values: list[bytes | None]) -> bool:
    """Whether Arrow reads a fetch."""
    plain = plain_model(model, columns_of(model))
    return plain is not None and PlainReader(plain).table(values) is not None


def test_arrow_reads_what_is_ordinary() -> None:
    values: list[bytes | None] = [
        json.dumps(
            payment(event_id=f"é{n}", amount=n / 7, pieces=n, paid=bool(n % 2), kind="web", code="ab"),
            ensure_ascii=False,
        ).encode()
        for n in range(50)
    ]
    assert reads(Payment, values)
    assert not reads(Checked, values)
    same(Payment, values)
    iso: list[bytes | None] = [
        raw(ts='"2023-11-14T22:13:20.25Z"', due='"2023-11-14T22:13:20Z"'),
        raw(ts='"2020-02-29T00:00:00Z"'),
    ]
    assert reads(Payment, iso)
    same(Payment, iso)


NUMBERS = [
    "0", "-0", "0.0", "-0.0", "1", "1.0", "1.5", "-1", "1e2", "1E+2", "1e-400", "1e400", "-1e400", "NaN",
    "Infinity", "-Infinity", "Inf", "nan",
    "01", "+1", "1.", ".5", "0x1",
    "1_0", str(2**53), str(2**53 + 1), str(2**63 - 1), str(2**63), str(-(2**63)), str(10**30), "9" * 4290,
    "9" * 4400, "0.1", "0.30000000000000004", "2.2250738585072011e-308", "123456789.123456789012345",
    "9007199254740993.0", "true", '"1"',
    '"1.5"', '" 1"', '"nan"', "null", "[]", "[1]", "{}", '{"a":1}', '""',
]  # fmt: skip
TIMES = [
    "0", "1", "-1", "20000000000", "20000000001", "-20000000001", "1700000000", "1700000000.5", "1700000000000",
    "1700000000000.5",
    "253402300799999", "253402300800000", "1e12", str(2**63), '"1700000000000"', '"2023-11-14T22:13:20Z"',
    '"2023-11-14T22:13:20"',
    '"2023-11-14t22:13:20z"', '"2023-11-14 22:13:20Z"', '"2023-11-14_22:13:20Z"', '"2023-11-14T22:13:20.123456Z"',
    '"2023-11-14T22:13:20.1234567Z"', '"2023-11-14T22:13:20.Z"',
    '"2023-11-14T22:13:20+00:00"', '"2023-11-14T22:13:20-05:00"', '"2023-11-14T22:13Z"', '"2023-11-14"',
    '"2023-11-14T24:00:00Z"',
    '"2023-11-14T22:13:60Z"', '"2023-02-29T00:00:00Z"', '"2023-13-01T00:00:00Z"', '"0000-01-01T00:00:00Z"',
    '"0001-01-01T00:00:00Z"', '"1000-01-01T00:00:00Z"',
    '"9999-12-31T23:59:59.999999Z"', '"0001-01-01T00:00:00+14:00"', '"2023-11-14T22:13:20Z "', '"now"', "true", "null",
]  # fmt: skip
TEXTS = [
    '"a"', '"ada lovelace"', '""', '"é"', '"\\u00e9"', '"\\ud800"', '"\\udc00"', '"\\ud83d\\ude00"', '"😀😀😀😀😀😀"',
    '"a\\"b"', '"a\\\\"', '"a\nb"',
    '"a\tb"', '"a\\nb"', '"\x00"', '"\x7f"', '"\u2028"', '"{"', '"}"', '"["', '"},{"', '"Inf"', "'a'", "a", "1",
    "null", '"\ud800"', '"' + "x" * 5000 + '"',
    '"web"', '"WEB"', '"red"', '"green"', '"abc"', '"abc\\n"', '"ABC"',
]  # fmt: skip
BY_FIELD = {
    "event_id": TEXTS, "user": TEXTS, "note": TEXTS, "kind": TEXTS, "code": TEXTS, "colour": TEXTS,
    "other": [*TEXTS, *NUMBERS], "amount": NUMBERS,
    "pieces": NUMBERS, "paid": [*NUMBERS, "false", '"yes"', '"on"'], "ts": TIMES, "due": TIMES,
}  # fmt: skip

ODD: list[bytes | None] = [
    None, b"", b" ", b"\n", b"null", b"[]", b"{}", b"{", b"}", b"{}{}", raw() + raw(), raw() + b"," + raw(),
    raw() + b"\n" + raw(), raw() + b"\r" + raw(),
    b"[" + raw() + b"]", b"\xef\xbb\xbf" + raw(), raw() + b" ", b" " + raw(), raw() + b"\x00", raw() + b"\x00}",
    raw()[:-1], raw()[:-1] + b',"x":{}', raw()[:-1] + b',"x":[{}',
    b'{"y":1}]}', raw()[:-1] + b',"x":"}', b'{","z":1}', raw()[:-1] + b',"x":{"y":1}', b'{"z":1}}',
    raw()[:-1] + b',"user":"bob"}',
    raw()[:-1] + b',"user":null}', raw()[:-1] + b',"x":1,"x":2}', raw()[:-1] + b',"us\\u0065r":"bob"}',
    raw()[:-1] + b",}", raw().replace(b":", b" : "),
    raw().replace(b",", b",\n"), raw().replace(b",", b",\t"), raw().replace(b",", b",\r"), raw().replace(b"ada",
    b"a\xff"), raw().replace(b"ada", b"\xed\xa0\x80"),
    raw()[:-1] + b',"x":' + b"[" * 300 + b"]" * 300 + b"}", raw()[:-1] + b"/**/}", b"{'a':1}",
    raw()[:-1] + b',"":1}', raw()[:-1] + b',"Event_id":1}',
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("name", BY_FIELD)
def test_each_way_to_write_a_field_is_read_alike(model: type[BaseModel], name: str) -> None:
    for text in BY_FIELD[name]:
        same(model, [raw(**{name: text})])
        same(model, [raw(), raw(**{name: text}), raw(user='"bob"')])


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
@pytest.mark.parametrize("name", ["event_id", "user", "amount", "pieces", "paid", "note", "colour", "ts", "due"])
def test_fields_that_are_left_out_are_read_alike(model: type[BaseModel], name: str) -> None:
    without = json.dumps(payment(**{name: ...})).encode()
    same(model, [without])
    same(model, [raw(), without])


@pytest.mark.slow
@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_no_two_records_mend_each_other(model: type[BaseModel]) -> None:
    for one in ODD:
        same(model, [one])
        for other in ODD:
            same(model, [one, other])
            same(model, [raw(), one, other])


def fields(name: str) -> st.SearchStrategy[str]:
    return st.sampled_from(BY_FIELD[name])


USUAL = st.builds(
    lambda amount, pieces, user, later: raw(
        amount=json.dumps(amount), pieces=str(pieces), user=json.dumps(user), ts=str(NOON_MS + later)
    ),
    st.floats(),
    st.integers(-20, 2**64),
    st.text(max_size=8),
    st.integers(-(10**13), 10**8),
)
STRANGE = st.dictionaries(st.sampled_from(list(BY_FIELD)), st.none(), max_size=4).flatmap(
    lambda names: st.fixed_dictionaries({name: fields(name) for name in names}).map(lambda changes: raw(**changes))
)


@few_and_many(50, 400)
def test_any_fetch_is_read_alike(examples: int) -> None:
    @given(
        st.sampled_from(MODELS),
        st.lists(st.one_of(USUAL, USUAL, USUAL, STRANGE, st.sampled_from(ODD)), min_size=1, max_size=5),
    )
    @settings(max_examples=examples, deadline=None)
    def check(model: type[BaseModel], values: list[bytes | None]) -> None:
        same(model, values)

    check()


@few_and_many(60, 400)
def test_bytes_that_are_damaged_anywhere_are_read_alike(examples: int) -> None:
    @given(st.sampled_from(MODELS), st.lists(USUAL, min_size=1, max_size=3), st.data())
    @settings(max_examples=examples, deadline=None)
    def check(model: type[BaseModel], values: list[bytes], data: st.DataObject) -> None:
        check_damaged(model, values, data)

    check()


def check_damaged(model: type[BaseModel], values: list[bytes], data: st.DataObject) -> None:
    row = data.draw(st.integers(0, len(values) - 1))
    value = values[row]
    at = data.draw(st.integers(0, len(value)))
    length = data.draw(st.integers(0, 3))
    put = data.draw(
        st.one_of(
            st.binary(max_size=3),
            st.sampled_from([b"{", b"}", b"},{", b"}{", b"\n", b",", b'"', b"[", b"]", b"\\", b"e", b"-", b"."]),
        )
    )
    damaged: list[bytes | None] = [*values[:row], value[:at] + put + value[at + length :], *values[row + 1 :]]
    same(model, damaged)


@pytest.mark.slow
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=50), st.integers(0, 30))
@settings(max_examples=200, deadline=None)
def test_floats_are_the_same_to_the_last_bit(amounts: list[float], digits: int) -> None:
    values: list[bytes | None] = [
        raw(amount=f"{math.fabs(amount):.{digits}f}") for amount in amounts if abs(amount) < 1e16
    ]
    assume(values)
    same(Payment, values)


SPARSE = [
    b'{"ts":1700000000000,"user":"a","score":1.5}',
    b'{"ts":1700000000000,"user":"a","score":null}',
    b'{"ts":1700000000000,"user":"score"}',
    b'{"ts":1700000000000,"user":"a","score":null,"rank":null}',
    b'{"ts":1700000000000,"user":"a","score":2,"rank":3}',
    b'{"ts":1700000000000,"user":"a","x":{"score":1}}',
    b'{"ts":1700000000000,"user":"\\"score\\":","score":1}',
    b'{"ts":1700000000000,"user":"a","\\"score":1}',
    b'{"ts":1700000000000,"user":"a","sc\\u006fre":null}',
    b'{"ts":1700000000000,"user":"a","score" : null}',
    b'{"ts":1700000000000,"user":"a","x":"score:"}',
    b'{"ts":1700000000000,"user":"a","score":null,"score":null}',
    b'{"ts":1700000000000,"user":"\\"score\\":"}',
    b'{"ts":1700000000000,"user":"{","score":null}',
]


@given(st.lists(st.sampled_from(SPARSE), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_null_and_a_field_that_is_left_out_are_told_apart(values: list[bytes]) -> None:
    same(Sparse, list(values))


def test_arrow_reads_nulls_that_were_written_and_defaults_that_were_not() -> None:
    assert reads(Sparse, [SPARSE[4], SPARSE[4].replace(b'"score":2', b'"score":null')])
    assert not reads(Sparse, [SPARSE[0], SPARSE[1]])  # is the rank that is null one that was left out?
    assert reads(Sparse, [SPARSE[0], SPARSE[0]])
    assert not reads(Sparse, [SPARSE[0], SPARSE[2]])


class Defaulted(BaseModel):
    """A default that is made by a function."""

    ts: datetime
    tags: str = Field(default_factory=lambda: "x")


class Aliased(BaseModel):
    """A field of another name."""

    ts: datetime
    user: str = Field(alias="userId")


class Initialised(BaseModel):
    """Something is done after validation."""

    ts: datetime

    def model_post_init(self, context: Any, /) -> None:
        """Count."""


class Lax(BaseModel):
    """Numbers are taken for texts."""

    model_config = ConfigDict(coerce_numbers_to_str=True)
    ts: datetime
    user: str


@pytest.mark.parametrize("model", [Defaulted, Aliased, Initialised, Lax, Checked])
def test_models_that_are_not_plain_are_left_to_pydantic(model: type[BaseModel]) -> None:
    assert plain_model(model, columns_of(model)) is None


def test_validators_see_records_in_order_and_none_behind_one_that_fails() -> None:
    seen: list[str] = []

    class Watched(Payment):
        @field_validator("user")
        @classmethod
        def _watch(cls, user: str) -> str:
            seen.append(user)
            return user

    decoder = EventDecoder(source_of(Watched), Watched)
    users = [f"u{n}" for n in range(40)]
    batch, dead = decoder.decode(records_of([raw(user=json.dumps(user)) for user in users]))
    assert (len(batch), dead, seen) == (40, [], users)
