from __future__ import annotations

import json
import math
from collections import OrderedDict
from datetime import datetime, timedelta, timezone
from enum import StrEnum
from typing import Any

import pytest
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from headrace.errors import EventError
from headrace.produce import EventEncoder
from tests.produce.examples import START, Reading, reading, source_of


@pytest.fixture
def encoder() -> EventEncoder:
    return EventEncoder(source_of("readings"), Reading)


def test_mapping_and_model_encode_to_the_same_json_and_key(encoder: EventEncoder) -> None:
    encoded = encoder.encode(reading(value=2))
    assert encoded.key == b"s1"
    assert json.loads(encoded.value) == {"sensor": "s1", "at": "2013-01-01T00:00:00Z", "value": 2.0, "count": 1}
    assert encoded.time == START
    assert encoder.encode(Reading(**reading(value=2))) == encoded
    assert encoder.encode(OrderedDict(reading(value=2))) == encoded
    assert encoder.encode_rows([reading(value=2), reading(value=2)], [0, 1]) == [encoded, encoded]


@pytest.mark.parametrize(
    ("event", "said"),
    [
        (reading(value="warm"), r"Reading\.value is 'warm': .*valid number"),
        (reading(value=2000), r"Reading\.value is 2000: .*less than or equal to 1000"),
        ({"sensor": "s1"}, r"Reading\.at is missing"),
        (reading(at="yesterday"), r"Reading\.at is 'yesterday'"),
        (reading(at=datetime(2013, 1, 1)), r"Reading\.at is .*timezone info"),  # noqa: DTZ001
        (reading(colour="red"), r"Reading\.colour is 'red'"),
        (reading(sensor=None, value="x"), r"Reading\.sensor is None: .* \(and 1 more\)"),
        (reading(count=2**63), r"Reading\.count is 9223372036854775808, which does not fit 64 bits"),
    ],
)
def test_bad_event_names_model_field_value_and_cure(encoder: EventEncoder, event: dict[str, Any], said: str) -> None:
    with pytest.raises(EventError, match=said) as raised:
        encoder.encode(event)
    assert raised.value.hint is not None
    assert "not" in raised.value.hint
    assert "sent" in raised.value.hint


def test_bad_row_is_told_by_its_number(encoder: EventEncoder) -> None:
    with pytest.raises(EventError, match=r"Reading\.value of row 1,234 is 'x'"):
        encoder.encode_rows([reading(), reading(value="x")], [7, 1234])


def test_instance_that_was_changed_after_its_validation_is_refused(encoder: EventEncoder) -> None:
    event = Reading(**reading())
    event.value = "warm"  # type: ignore[assignment]
    with pytest.raises(EventError, match=r"Reading\.value is 'warm'"):
        encoder.encode(event)
    with pytest.raises(EventError, match=r"Reading\.at is missing"):
        encoder.encode(Reading.model_construct(sensor="s1"))  # type: ignore[call-arg]


def test_instance_of_another_model_is_refused(encoder: EventEncoder) -> None:
    class Other(BaseModel):
        sensor: str

    with pytest.raises(EventError, match="A Other was sent to source 'readings-source', whose model is events:Reading"):
        encoder.encode(Other(sensor="s1"))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_nan_and_infinity_are_not_turned_into_null(number: float) -> None:
    class Free(BaseModel):
        sensor: str
        at: AwareDatetime
        value: float | None

    free = EventEncoder(source_of("readings", Free), Free)
    for event in (reading(value=number), Free(**reading(value=number))):
        found = Free.model_validate_json(free.encode(event).value).value
        assert found == number or (found is not None and math.isnan(found) and math.isnan(number))


def test_nan_is_refused_where_the_model_refuses_it() -> None:
    class Strict(BaseModel):
        model_config = ConfigDict(allow_inf_nan=False)
        sensor: str
        at: AwareDatetime
        value: float

    with pytest.raises(EventError, match=r"Strict\.value is nan"):
        EventEncoder(source_of("readings", Strict), Strict).encode(reading(value=math.nan))


def test_what_the_user_says_about_nan_is_kept() -> None:
    class Words(BaseModel):
        model_config = ConfigDict(ser_json_inf_nan="strings")
        sensor: str
        at: AwareDatetime
        value: float

    assert b'"NaN"' in EventEncoder(source_of("readings", Words), Words).encode(reading(value=math.nan)).value


def test_time_without_a_zone_is_refused_as_the_stream_would() -> None:
    class Naive(BaseModel):
        sensor: str
        at: datetime

    with pytest.raises(EventError, match=r"Naive\.at is 2013-01-01T00:00:00, which has no time zone(?s:.*)00Z"):
        EventEncoder(source_of("readings", Naive), Naive).encode(reading(at="2013-01-01T00:00:00"))


def test_missing_event_time_is_refused() -> None:
    class Timeless(BaseModel):
        sensor: str
        at: AwareDatetime | None = None

    with pytest.raises(EventError, match=r"Timeless\.at is missing: it is the event time"):
        EventEncoder(source_of("readings", Timeless), Timeless).encode({"sensor": "s1"})


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("kind", "value", "key"),
    [
        (int, 7, b"7"),
        (bool, True, b"True"),
        (str, "köln", "köln".encode()),
        (Colour, "red", b"red"),
        (str | None, None, None),
    ],
)
def test_key_is_the_text_of_its_field(kind: Any, value: object, key: bytes | None) -> None:
    class Keyed(BaseModel):
        sensor: kind
        at: AwareDatetime

    keyed = EventEncoder(source_of("readings", Keyed), Keyed)
    assert keyed.encode(reading(sensor=value)).key == key
    assert keyed.encode(reading(sensor=value)).key == key


def test_source_without_a_key_has_none() -> None:
    assert EventEncoder(source_of("readings", key=None), Reading).encode(reading()).key is None


def test_aliases_are_written_as_they_are_read() -> None:
    class Aliased(BaseModel):
        sensor: str
        at: AwareDatetime
        value: float = Field(alias="v")

    aliased = EventEncoder(source_of("readings", Aliased), Aliased)
    assert aliased.encode(reading(v=1)).value == aliased.encode(Aliased(**reading(v=1))).value
    assert Aliased.model_validate_json(aliased.encode(reading(v=1)).value).value == 1


def test_other_name_for_writing_is_left_out_where_the_stream_would_not_read_it() -> None:
    class OneWay(BaseModel):
        sensor: str
        at: AwareDatetime
        value: float = Field(validation_alias="in", serialization_alias="out")

    one_way = EventEncoder(source_of("readings", OneWay), OneWay)
    event = reading(**{"in": 1})
    for given in (event, OneWay(**event)):
        assert OneWay.model_validate_json(one_way.encode(given).value).value == 1


def test_text_that_utf_8_cannot_hold_is_refused(encoder: EventEncoder) -> None:
    with pytest.raises(EventError, match="events:Reading cannot be written as JSON"):
        encoder.encode(reading(sensor="\ud800"))


@pytest.mark.parametrize("as_instance", [False, True])
def test_offset_with_seconds_is_the_same_moment_for_the_stream(encoder: EventEncoder, *, as_instance: bool) -> None:
    at = datetime(1880, 1, 1, tzinfo=timezone(timedelta(minutes=53, seconds=28)))  # Berlin's local mean time
    event = reading(at=at)
    encoded = encoder.encode(Reading(**event) if as_instance else event)
    assert Reading.model_validate_json(encoded.value).at == at == encoded.time


def test_time_off_the_calendar_in_utc_is_refused(encoder: EventEncoder) -> None:
    with pytest.raises(
        EventError, match=r"Reading\.at is 0001-01-01T00:00:00\+14:00, which is no time on the calendar"
    ):
        encoder.encode(reading(at=datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))))


def test_extra_fields_of_an_open_model_are_kept() -> None:
    class Open(BaseModel):
        model_config = ConfigDict(extra="allow")
        sensor: str
        at: AwareDatetime

    opened = EventEncoder(source_of("readings", Open), Open)
    assert json.loads(opened.encode(Open(**reading(colour="red"))).value)["colour"] == "red"


def test_source_whose_fields_the_model_lacks_is_refused() -> None:
    with pytest.raises(EventError, match="no field 'city', the key of source"):
        EventEncoder(source_of("readings", key="city"), Reading)
    source = source_of("readings").model_copy(update={"timestamp_field": "when"})
    with pytest.raises(EventError, match="no field 'when', the timestamp_field of source"):
        EventEncoder(source, Reading)
