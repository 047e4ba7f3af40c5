"""Events made from a model are events that the model accepts."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from enum import Enum, StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, HttpUrl, ValidationError, field_validator

from headrace.declare.sample_events import sample_events


class Channel(StrEnum):
    WEB = "web"
    APP = "app"


class Level(Enum):
    LOW = 1
    HIGH = 2


class Item(BaseModel):
    name: str
    count: Annotated[int, Field(gt=0)]


class Order(BaseModel):
    customer: Annotated[str, Field(min_length=3, max_length=5)]
    placed_at: AwareDatetime
    price: Annotated[float, Field(gt=0, lt=5)]
    items: Annotated[int, Field(ge=10, multiple_of=5)]
    channel: Channel
    level: Level
    kind: Literal["a", "b"]
    country: Annotated[str, Field(pattern="^[A-Z]{2}$")]
    paid: bool
    note: str | None
    either: int | str
    basket: list[Item]
    by_name: dict[str, Item]
    pair: tuple[int, str]
    tag: UUID
    day: date
    took: timedelta
    amount: Decimal
    link: HttpUrl
    code: Annotated[str, Field(alias="Code")]
    few: Annotated[list[int], Field(min_length=3, max_length=3)]
    low: Annotated[int, Field(lt=-100)]
    small: Annotated[float, Field(ge=0.1, le=0.2)]
    spare: str = "x"

    @field_validator("items")
    @classmethod
    def not_ten(cls, items: int) -> int:
        if items == 10:
            msg = "not ten"
            raise ValueError(msg)
        return items


def test_made_events_are_valid_and_differ() -> None:
    made = sample_events(Order)
    valid: list[Order] = []
    refused: set[str] = set()
    for event in made:
        try:
            valid.append(Order.model_validate_json(event))
        except ValidationError as error:
            refused |= {str(one["loc"][0]) for one in error.errors()}
    assert refused == {"items"}  # a validator of the model's own may refuse some
    assert len(made) == 52
    assert len(valid) > 30
    for field in ("channel", "level", "kind", "paid", "note", "either", "price", "items", "placed_at", "customer"):
        assert len({getattr(one, field) for one in valid}) > 1, field
    assert None in {one.note for one in valid}


class Coded(BaseModel):
    code: Annotated[str, Field(pattern="^[0-9]{3}-[A-Z]{7}$")]


class Shown(BaseModel):
    code: Annotated[str, Field(pattern="^[0-9]{3}-[A-Z]$", examples=["123-A"])]


def test_where_no_value_can_be_made_there_are_no_events() -> None:
    assert sample_events(Coded) == []


def test_examples_come_first() -> None:
    assert set(sample_events(Shown)) == {b'{"code": "123-A"}'}
