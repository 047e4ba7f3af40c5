"""Whatever a model does to its events, the worker reads the values that the producer's side saw, or nothing is sent."""

from __future__ import annotations

import hashlib
import json
import math
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    computed_field,
    field_serializer,
    field_validator,
    model_validator,
)

from headrace.errors import EventChangesError, EventError
from headrace.events.decode import EventDecoder
from headrace.events.formats.plain_models import plain_model
from headrace.events.model_schema import columns_of
from headrace.events.raw_records import RawRecords
from headrace.produce import EventEncoder
from tests.produce.examples import START, source_of


class Base(BaseModel):
    sensor: str = "s"
    at: AwareDatetime = START


def cents(euros: Any) -> int:
    return round(float(euros) * 100)


class Cents(Base):
    value: Annotated[int, BeforeValidator(cents)]


class Hashed(Base):
    value: Annotated[str, AfterValidator(lambda name: hashlib.sha256(name.encode()).hexdigest())]


class Prefixed(Base):
    value: Annotated[str, AfterValidator("shop-{}".format)]


class Folded(Base):
    value: Annotated[str, AfterValidator(str.casefold)]


class Upper(Base):
    value: Annotated[str, StringConstraints(to_upper=True, pattern="^[a-z]+$")]


class LocalTime(Base):
    """Berlin's local time, whatever zone it says."""

    value: Annotated[
        AwareDatetime, AfterValidator(lambda at: at.replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC))
    ]


class MadeAnew(Base):
    """An id for events that have none."""

    value: Annotated[int, BeforeValidator(cents)]
    id: str = Field(default_factory=lambda: uuid.uuid4().hex)
    seen: AwareDatetime = Field(default_factory=lambda: datetime.now(UTC))


class ByTwoNames(Base):
    value: float = Field(validation_alias="in", serialization_alias="out")


class WritesLess(Base):
    value: float

    @field_serializer("value")
    def rounded(self, value: float) -> float:
        return round(value, 1)


class KeptBack(Base):
    value: float = Field(default=7.0, exclude=True)


class Computes(Base):
    model_config = ConfigDict(extra="forbid")
    value: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def double(self) -> int:
        return 2 * self.value


class Renames(Base):
    """Takes what other producers call it, and writes to what it is given."""

    value: int

    @model_validator(mode="before")
    @classmethod
    def from_euros(cls, event: dict[str, Any]) -> dict[str, Any]:
        if "euros" in event:
            event["value"] = cents(event.pop("euros"))
        return event


class AddsUp(Base):
    value: int
    fee: int = 0

    @model_validator(mode="after")
    def with_fee(self) -> AddsUp:
        self.value += self.fee
        return self


class ByMode(Base):
    """Python numbers are euros, those of JSON are cents."""

    value: int

    @field_validator("value", mode="before")
    @classmethod
    def euros(cls, value: Any) -> Any:
        return cents(value) if isinstance(value, (float, Decimal)) else value


class Growing(Base):
    value: Annotated[int, AfterValidator(lambda value: min(value + 1, 3))]


class Colour(StrEnum):
    RED = "red"


class Listed(Base):
    value: Colour | Literal["blue"] | None


class Wide(Base):
    value: float
    more: int = 1


CASES: list[tuple[type[Base], dict[str, Any]]] = [
    (Cents, {"value": 12.34}),
    (Cents, {"value": Decimal("12.34")}),
    (Cents, {"value": 0}),
    (Hashed, {"value": "anna"}),
    (Prefixed, {"value": "1"}),
    (Folded, {"value": "STRASSE"}),
    (Folded, {"value": "Straße"}),
    (Upper, {"value": "abc"}),
    (LocalTime, {"value": datetime(2026, 7, 1, 12, tzinfo=UTC)}),
    (LocalTime, {"value": "2026-07-01T12:00:00+05:00"}),
    (MadeAnew, {"value": 12.34}),
    (MadeAnew, {"value": 12.34, "id": "a"}),
    (ByTwoNames, {"in": 1.5}),
    (WritesLess, {"value": 1.25}),
    (WritesLess, {"value": 1.5}),
    (KeptBack, {"value": 1.5}),
    (KeptBack, {}),
    (Computes, {"value": 4}),
    (Renames, {"euros": 12.34}),
    (Renames, {"value": 5}),
    (AddsUp, {"value": 5, "fee": 2}),
    (AddsUp, {"value": 5}),
    (ByMode, {"value": 12.34}),
    (Growing, {"value": 1}),
    (Growing, {"value": 3}),
    (Listed, {"value": "red"}),
    (Listed, {"value": "blue"}),
    (Listed, {"value": Colour.RED}),
    (Listed, {"value": None}),
    (Wide, {"value": math.nan}),
    (Wide, {"value": -math.inf}),
    (Wide, {"value": 0.1 + 0.2, "more": -(2**63)}),
    (Wide, {"value": 1e308, "more": 2**53 + 1}),
]


def read(model: type[BaseModel], value: bytes) -> dict[str, Any]:
    """What the worker makes of a record."""
    source = source_of("readings", model)
    decoder = EventDecoder(source, model)
    here = np.zeros(1, np.int64)
    batch, dead = decoder.decode(RawRecords(here, here, here + 2**41, [None], [value]))
    assert not dead, dead[0].reason
    (row,) = batch.table.to_pylist()
    return dict(row)


def columns(event: BaseModel) -> dict[str, Any]:
    return {field: event.__dict__[field] for field in type(event).model_fields}


def agree(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    def same(a: Any, b: Any) -> bool:
        return a == b or (isinstance(a, float) and isinstance(b, float) and math.isnan(a) and math.isnan(b))

    return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("model", "event"), CASES)
def test_mapping_means_for_the_worker_what_the_model_made_of_it(model: type[Base], event: dict[str, Any]) -> None:
    encoder = EventEncoder(source_of("readings", model), model)
    before = dict(event)
    for encode in (
        encoder.encode,
        lambda one: encoder.encode_many([one])[0],
        lambda one: encoder.encode_rows([one], [0])[0],
    ):
        found = read(model, encode(event).value)
        expected = columns(model.model_validate(dict(event)))
        for made in {"id", "seen"} - event.keys():
            expected.pop(made, None)
            found.pop(made, None)
        assert agree(found, expected)
        assert event == before or any(isinstance(value, float) and math.isnan(value) for value in event.values())


NO_WAY_BACK = {"Cents", "Hashed", "Prefixed", "LocalTime", "MadeAnew", "AddsUp", "Growing"}
"""Whose instances do not say what they were made from. (Those of `Upper` are refused by their own model.)"""


@pytest.mark.parametrize(("model", "event"), CASES)
def test_instance_means_for_the_worker_what_it_holds_or_is_refused(model: type[Base], event: dict[str, Any]) -> None:
    encoder = EventEncoder(source_of("readings", model), model)
    instance = model.model_validate(dict(event))
    try:
        value = encoder.encode(instance).value
    except EventChangesError as error:
        refusal: EventError = error
    except EventError as error:
        refusal = error
    else:
        assert agree(read(model, value), columns(instance))
        return
    assert model is Upper or (model.__name__ in NO_WAY_BACK and isinstance(refusal, EventChangesError))
    assert f"{model.__name__}.value is" in refusal.what
    assert refusal.hint is not None


def test_refusal_names_the_field_and_both_values() -> None:
    encoder = EventEncoder(source_of("readings", Cents), Cents)
    with pytest.raises(
        EventChangesError, match=r"events:Cents\.value is 1234 here, and would be 123400 for the stream"
    ):
        encoder.encode(Cents(value=12.34))


def test_mapping_that_cannot_be_sent_as_what_it_means_is_refused() -> None:
    class Drawn(Base):
        value: Annotated[str, AfterValidator(lambda _: uuid.uuid4().hex)]

    encoder = EventEncoder(source_of("readings", Drawn), Drawn)
    with pytest.raises(EventChangesError, match=r"events:Drawn\.value is '.*' here, and would be"):
        encoder.encode({"value": "x"})
    with pytest.raises(EventError, match=r"Drawn\.value"):
        encoder.encode_rows([{"value": "x"}], [0])


def test_instance_that_was_changed_to_what_its_validator_would_change_is_refused() -> None:
    encoder = EventEncoder(source_of("readings", Folded), Folded)
    event = Folded(value="a")
    event.value = "B"
    with pytest.raises(EventChangesError, match=r"events:Folded\.value is 'B' here, and would be 'b'"):
        encoder.encode(event)


@pytest.mark.parametrize(
    ("model", "is_trusted"),
    [(Wide, True), (Listed, False), (Cents, False), (WritesLess, False), (KeptBack, False), (Upper, False)],
)
def test_only_a_model_that_changes_nothing_is_spared_the_second_reading(model: type[Base], *, is_trusted: bool) -> None:
    plain = plain_model(model, columns_of(model))
    assert (plain is not None and plain.reads_back) is is_trusted


_VALIDATORS: list[Callable[[int], int]] = [
    abs,
    lambda number: number * 100,
    lambda number: number // 2,
    lambda number: min(number + 1, 3),
    lambda number: -number,
    lambda number: number,
]
_SERIALIZERS: list[Callable[[int], Any] | None] = [None, str, lambda number: number + 1, lambda number: number * 1.0]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(_VALIDATORS),
    st.sampled_from(_VALIDATORS),
    st.sampled_from(_SERIALIZERS),
    st.integers(-1000, 1000),
    st.booleans(),
)
def test_no_pair_of_validators_and_serializers_makes_another_value_of_an_event(
    before: Callable[[int], int],
    after: Callable[[int], int],
    written: Callable[[int], Any] | None,
    number: int,
    as_instance: bool,  # noqa: FBT001
) -> None:
    kind = Annotated[int, BeforeValidator(lambda given: before(int(given))), AfterValidator(after)]

    class Model(Base):
        value: kind

        if written is not None:

            @field_serializer("value")
            def writes(self, value: int) -> Any:
                assert written is not None
                return written(value)

    encoder = EventEncoder(source_of("readings", Model), Model)
    event = Model(value=number) if as_instance else {"value": number}
    wanted = after(before(number))
    try:
        value = encoder.encode(event).value
    except EventChangesError:
        assert as_instance  # as a mapping, what was given always reads back
        assert after(before(wanted)) != wanted
    else:
        assert Model.model_validate_json(value).value == wanted


_ZONES = st.one_of(
    st.just(UTC),
    st.sampled_from(["Europe/Berlin", "America/St_Johns", "Africa/Monrovia", "Pacific/Apia"]).map(ZoneInfo),
    st.integers(-86_399, 86_399).map(lambda seconds: timezone(timedelta(seconds=seconds))),
)


@pytest.mark.slow
@settings(max_examples=200, deadline=None)
@given(
    st.datetimes(datetime(2, 1, 1), datetime(9998, 12, 31), timezones=_ZONES),  # noqa: DTZ001
    st.floats(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_plain_events_read_back_to_the_bit(at: datetime, value: float, more: int, sensor: str) -> None:
    encoder = EventEncoder(source_of("readings", Wide), Wide)
    event = {"at": at, "value": value, "more": more, "sensor": sensor}
    found = Wide.model_validate_json(encoder.encode(event).value)
    assert found.at.astimezone(UTC) == at.astimezone(UTC)  # `==` says no to times that a zone skips
    assert np.array([found.value]).view(np.int64) == np.array([value]).view(np.int64) or math.isnan(value)
    assert (found.more, found.sensor) == (more, sensor)
    assert encoder.encode(Wide(**event)) == encoder.encode(event)


def test_raw_mapping_is_what_is_sent_where_converted_values_would_be_converted_again() -> None:
    encoder = EventEncoder(source_of("readings", Cents), Cents)
    assert json.loads(encoder.encode({"value": 12.34}).value) == {"value": 12.34}
