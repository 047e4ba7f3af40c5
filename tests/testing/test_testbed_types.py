"""Fields of every type give the same values online and from the log."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import pyarrow as pa
import pytest
from feast import Entity, ValueType
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, PastDate

from headrace import aggregation, event_source, stream_view
from headrace.errors import EventChangesError
from headrace.testing import Testbed
from tests.testing.market import NOON

Make = Callable[..., Testbed]
ROOT = Path(__file__).parents[2]
SYMBOLS = ["by_symbol:count_10m", "by_symbol:shares", "by_symbol:last_price"]
COUNT = "by_symbol__count_10m"


class Payment(BaseModel):
    card: str
    at: AwareDatetime
    cents: Annotated[int, BeforeValidator(lambda euros: round(float(euros) * 100))]


def test_event_of_a_model_that_converts_counts_as_converted_once(testbed: Make) -> None:
    card = Entity(name="card", value_type=ValueType.STRING)
    payments = event_source(name="payments", topic="payments", model=Payment, key="card", timestamp_field="at")
    spent = stream_view(
        name="spent", source=payments, entities=[card], aggregations=[aggregation("sum", "cents", name="cents")]
    )
    bed = testbed([spent, card])
    event = {"card": "c", "at": NOON, "cents": 12.34}
    bed.send("payments", [event])
    assert bed.online(["spent:cents"], [{"card": "c"}], at=NOON)["spent__cents"].to_pylist() == [1234]
    with pytest.raises(EventChangesError, match=r"Payment\.cents is 1234 here, and would be 123400"):
        bed.send("payments", [Payment(**event)])


class Level(Enum):
    LOW = 1
    HIGH = 2


class Item(BaseModel):
    name: str
    pieces: int


class Order(BaseModel):
    """Fields of every kind beside those that features use."""

    order_id: UUID
    at: AwareDatetime
    cents: int
    level: Level = Level.LOW
    items: list[Item] = []
    labels: set[str] = set()
    extra: dict[str, Any] | None = None
    raw: bytes = b"x"
    waited: timedelta = timedelta(seconds=90)
    opens: time = time(8, 30)
    address: IPv4Address | None = None
    due: date = date(2026, 1, 31)
    either: int | str = 0
    odd: Any = None


def test_fields_that_no_feature_uses_may_be_of_any_type(testbed: Make) -> None:
    order = Entity(name="order_id", value_type=ValueType.STRING)
    orders = event_source(name="orders", topic="orders", model=Order, key="order_id", timestamp_field="at")
    view = stream_view(
        name="by_id",
        source=orders,
        entities=[order],
        derived={"pieces": "CAST(items->'$[0].pieces' AS BIGINT)"},
        aggregations=[
            aggregation("sum", "cents", name="cents"),
            aggregation("last", "level", name="level"),
            aggregation("last", "address", name="address"),
            aggregation("min", "due", name="first_due"),
            aggregation("max", "due", name="last_due"),
            aggregation("count", "extra", name="extras"),
            aggregation("sum", "pieces", name="pieces"),
        ],
    )
    bed = testbed([view, order])
    key = uuid4()
    given = {"order_id": key, "at": NOON, "cents": 5, "items": [Item(name="a", pieces=3)], "either": "x", "raw": b"ab"}
    bed.send("orders", [given, Order(**given, level=Level.HIGH, extra={"a": [1, None]}, address="10.0.0.1")])
    bed.send("orders", [{"order_id": str(key), "at": NOON + timedelta(seconds=1), "cents": 1, "due": date(999, 1, 1)}])
    assert not bed.dead_letters()
    expected = {
        "cents": 11,
        "level": 1,
        "address": "10.0.0.1",
        "first_due": date(999, 1, 1),
        "last_due": date(2026, 1, 31),
        "extras": 1,
        "pieces": 6,
    }
    later = NOON + timedelta(minutes=1)
    online_row = bed.online(["by_id:*"], [{"order_id": str(key)}], at=later).to_pylist()[0]
    history_row = bed.history(["by_id:*"], [{"order_id": str(key), "event_timestamp": later}]).to_pylist()[0]
    for found in (online_row, history_row):
        assert {name: found[f"by_id__{name}"] for name in expected} == expected


class Sold(BaseModel):
    shop: str
    at: AwareDatetime
    price: Annotated[Decimal, Field(decimal_places=2)]
    tax: Decimal | None = Field(default=Decimal("0.5"), decimal_places=3)
    rate: Decimal = Decimal("1.123456789123")


DECIMALS = ("sum", "min", "max", "last", "first", "count", "count_distinct")


@pytest.mark.parametrize("store", ["memory", "lmdb"])
def test_decimals_are_exact_on_both_sides(testbed: Make, store: str) -> None:
    shop = Entity(name="shop", value_type=ValueType.STRING)
    sold = event_source(name="sold", topic="sold", model=Sold, key="shop", timestamp_field="at")
    minute = timedelta(minutes=1)
    view = stream_view(
        name="v",
        source=sold,
        entities=[shop],
        derived={"dear": "price > 10"},
        aggregations=[
            *(aggregation(function, "price", name=f"{function}_all") for function in DECIMALS),
            *(aggregation(function, "tax", window=10 * minute, slide=minute, name=function) for function in DECIMALS),
            aggregation("sum", "price", where="dear", name="dear"),
        ],
    )
    bed = testbed([view, shop], store=store)
    dice = random.Random(7)
    prices = [Decimal(dice.randint(-(10**12), 10**12)).scaleb(-2) for _ in range(40)] + [Decimal("0.1")] * 3
    taxes = [None if dice.random() < 0.2 else Decimal(dice.randint(-(10**6), 10**6)).scaleb(-3) for _ in prices]
    events: list[dict[str, Any]] = [
        {"shop": "a", "at": NOON + number * minute / 2, "price": price, "tax": tax}
        for number, (price, tax) in enumerate(zip(prices, taxes, strict=True))
    ]
    bed.send("sold", events[:20])
    bed.send("sold", [Sold(**event) for event in events[20:]])
    bed.send("sold", [{**events[0], "price": Decimal(10) ** 18}])  # more than 64 bits of hundredths
    assert [letter.field for letter in bed.dead_letters()] == ["price"]
    at = NOON + 20 * minute
    row = bed.online(["v:*"], [{"shop": "a"}], at=at).to_pylist()[0]
    same = bed.history(["v:*"], [{"shop": "a", "event_timestamp": at}]).to_pylist()[0]
    there = [
        tax
        for event, tax in zip(events, taxes, strict=True)
        if at - 9 * minute <= event["at"] <= at and tax is not None
    ]
    known = [price for event, price in zip(events, prices, strict=True) if event["at"] <= at]
    for found in (row, same):
        assert found["v__sum_all"] == sum(known)
        assert (found["v__min_all"], found["v__max_all"]) == (min(known), max(known))
        assert (found["v__first_all"], found["v__last_all"]) == (known[0], known[-1])
        assert found["v__dear"] == sum(price for price in known if price > 10)
        assert found["v__sum"] == sum(there)
        assert (found["v__min"], found["v__max"], found["v__last"]) == (min(there), max(there), there[-1])
        assert (found["v__count"], found["v__count_distinct"]) == (len(there), len(set(there)))
        assert all(isinstance(found[f"v__{name}"], Decimal) for name in ("sum", "min", "sum_all", "last_all"))
    assert {name: value for name, value in row.items() if name != "shop"} == {
        name: value for name, value in same.items() if name not in ("shop", "event_timestamp")
    }


class Stay(BaseModel):
    arrives: date
    at: AwareDatetime
    leaves: date | None = None
    booked: PastDate = date(2020, 2, 29)
    guests: int = 1


DATES = [
    *("min", "max", "last", "first", "count", "count_distinct"),
    *("approx_count_distinct", "last_n(3)", "first_n(2)", "distinct_n(3)", "top_k(2)"),
]


def nights(events: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {
        "until": [None if day is None else day + timedelta(days=1) for day in events["leaves"]],
        "week": [day - timedelta(days=day.weekday()) for day in events["arrives"]],
    }


@pytest.mark.parametrize("store", ["memory", "lmdb"])
def test_dates_are_dates_on_both_sides(testbed: Make, store: str) -> None:
    arrives = Entity(name="arrives", value_type=ValueType.STRING)  # Feast has no dates
    stays = event_source(name="stays", topic="stays", model=Stay, key="arrives", timestamp_field="at")
    minute = timedelta(minutes=1)
    view = stream_view(
        name="v",
        source=stays,
        entities=[arrives],
        derived={
            "month": "CAST(date_trunc('month', leaves) AS DATE)",
            "far": "leaves + CAST(3000000 * guests AS INTEGER)",
        },
        mode="python",
        udf=nights,  # type: ignore[arg-type]
        udf_columns={"until": date, "week": date},
        aggregations=[
            *(aggregation(text, "leaves", name=f"all_{number}") for number, text in enumerate(DATES)),
            *(
                aggregation(text, "leaves", window=10 * minute, slide=minute, name=f"window_{number}")
                for number, text in enumerate(DATES)
            ),
            aggregation("max", "month", name="month"),
            aggregation("max", "until", name="until"),
            aggregation("last", "week", name="week"),
            aggregation("last", "booked", name="booked"),
            aggregation("count", "far", name="far"),
            aggregation("count", "*", where="leaves >= DATE '2026-03-01'", name="spring"),
        ],
    )
    bed = testbed([view, arrives], store=store)
    dice, first = random.Random(8), date(2026, 1, 5)
    days = [None if dice.random() < 0.2 else first + timedelta(days=dice.randint(-40_000, 90)) for _ in range(40)]
    events: list[dict[str, Any]] = [
        {"arrives": first, "at": NOON + number * minute / 2, "leaves": day} for number, day in enumerate(days)
    ]
    bed.send("stays", events[:20])
    bed.send("stays", [Stay(**event) for event in events[20:]])
    bed.send("stays", [{**events[0], "arrives": date(1969, 12, 31)}])
    at = NOON + 20 * minute
    row = bed.online(["v:*"], [{"arrives": first}, {"arrives": date(2026, 1, 6)}], at=at).to_pylist()[0]
    keys: list[Any] = [first, "2026-01-05"]
    histories = [
        bed.history(["v:*"], pa.table({"arrives": [key], "event_timestamp": [at]})).to_pylist()[0] for key in keys
    ]
    known = [day for day in days if day is not None]
    recent = [day for event, day in zip(events, days, strict=True) if event["at"] >= at - 9 * minute and day]
    for found in (row, *histories):
        for prefix, there in (("all", known), ("window", recent)):
            assert [found[f"v__{prefix}_{number}"] for number in range(6)] == [
                min(there),
                max(there),
                there[-1],
                there[0],
                len(there),
                len(set(there)),
            ]
            assert found[f"v__{prefix}_7"] == there[-3:]
            assert found[f"v__{prefix}_8"] == there[:2]
        assert found["v__month"] == max(known).replace(day=1)
        assert found["v__until"] == max(known) + timedelta(days=1)
        assert (found["v__week"], found["v__booked"]) == (first, date(2020, 2, 29))
        assert found["v__far"] == 0  # past the year 9999
        assert found["v__spring"] == sum(day >= date(2026, 3, 1) for day in known)
    served = {name: value for name, value in row.items() if name != "arrives"}
    for trained in histories:
        assert served == {name: trained[name] for name in served}
