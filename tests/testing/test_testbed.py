"""The test bed answers as the worker, the lookup SDK and the training join do, in whatever order a test asks."""

from __future__ import annotations

import random
import warnings
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID, uuid4

import pyarrow as pa
import pytest
from feast import Aggregation, Entity, FeatureService, ValueType
from pydantic import AwareDatetime, BaseModel, BeforeValidator, Field, PastDate

from headrace import aggregation, event_source, stream_view
from headrace.errors import ConfigError, EventChangesError, EventError, LookupRequestError, SpineError
from headrace.produce.partitioner import partition_of
from headrace.testing import Testbed
from tests.testing import market
from tests.testing.market import NOON, at, trade
from tests.worker.shop import PLAN, Sale

Make = Callable[..., Testbed]
ROOT = Path(__file__).parents[2]
SYMBOLS = ["by_symbol:count_10m", "by_symbol:shares", "by_symbol:last_price"]
COUNT = "by_symbol__count_10m"


@pytest.fixture(params=["memory", "lmdb"])
def bed(testbed: Make, request: pytest.FixtureRequest) -> Testbed:
    return testbed(market, store=request.param)


def online(bed: Testbed, minute: float, symbol: str = "A") -> list[Any]:
    row = bed.online(SYMBOLS, [{"symbol": symbol}], at=at(minute)).to_pylist()[0]
    return list(row.values())[1:]


def history(bed: Testbed, minute: float, symbol: str = "A", as_of: str = "known") -> list[Any]:
    table = bed.history(SYMBOLS, [{"symbol": symbol, "event_timestamp": at(minute)}], as_of=as_of)  # type: ignore[arg-type]
    return list(table.to_pylist()[0].values())[2:]


def test_late_event_counts_from_the_moment_it_is_known(bed: Testbed) -> None:
    bed.send("trades", [trade(0, price=5.0), trade(1, price=6.0)], known_at=[at(0), at(4)])
    assert [online(bed, minute)[0] for minute in (5, 3, 4, 0, 12)] == [2, 1, 2, 1, 0]
    assert [history(bed, minute)[0] for minute in (5, 3, 4, 0, 12)] == [2, 1, 2, 1, 0]
    assert [history(bed, minute, as_of="event")[0] for minute in (5, 3, 0)] == [2, 2, 1]
    assert online(bed, 3) == history(bed, 3) == [1, 1, 5.0]


def test_event_known_before_one_with_a_lower_offset_counts_at_once(bed: Testbed) -> None:
    bed.send("trades", [trade(0, price=1.0)], known_at=at(9), partition=0)
    bed.send("trades", [trade(0, price=2.0)], known_at=at(2), partition=0)
    assert online(bed, 3) == history(bed, 3) == [1, 1, 2.0]
    assert online(bed, 9) == history(bed, 9) == [2, 2, 2.0]
    assert online(bed, 1) == history(bed, 1) == [0, 0, None]


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


def test_known_at_counts_to_the_microsecond(bed: Testbed) -> None:
    known = at(2) + timedelta(microseconds=1)
    bed.send("trades", [trade(0)], known_at=known)
    names, key = SYMBOLS[:1], {"symbol": "A"}
    for moment, expected in ((at(2), 0), (known, 1)):
        assert bed.online(names, [key], at=moment)[COUNT].to_pylist() == [expected]
        spine = [{**key, "event_timestamp": moment}]
        assert bed.history(names, spine)[COUNT].to_pylist() == [expected]


def test_spine_with_a_column_called_like_a_feature_is_refused_as_in_training(bed: Testbed) -> None:
    with pytest.raises(SpineError, match=f"columns named like features: {COUNT}"):
        bed.history(SYMBOLS, [{"symbol": "A", "event_timestamp": NOON, COUNT: 1}])


def test_event_without_known_at_is_known_at_its_own_time(bed: Testbed) -> None:
    bed.send("trades", [trade(5)])
    assert [online(bed, minute)[0] for minute in (4.999, 5)] == [0, 1]


def test_send_after_a_lookup_may_be_known_before_it(bed: Testbed) -> None:
    bed.send("trades", [trade(1)])
    assert online(bed, 6)[0] == 1
    bed.send("trades", [trade(2)], known_at=at(3))
    assert [online(bed, minute)[0] for minute in (6, 2)] == [2, 1]


def test_restart_between_the_online_write_and_the_log_loses_and_doubles_nothing(bed: Testbed) -> None:
    bed.send("trades", [trade(0), trade(1, "B")])
    bed.restart()
    assert history(bed, 3) == online(bed, 3) == [1, 1, 1.0]
    bed.send("trades", [trade(2, price=7.0, shares=None)])
    bed.restart()
    bed.restart()
    assert history(bed, 3) == online(bed, 3) == [2, 1, 7.0]
    assert history(bed, 1) == online(bed, 1)


@pytest.mark.parametrize("from_offset", [0, 1, 5])
def test_replay_changes_nothing(bed: Testbed, from_offset: int) -> None:
    bed.send("trades", [trade(minute, price=minute) for minute in range(4)], partition=0)
    bed.send("trades", [{"symbol": 3}], partition=0)
    before = online(bed, 5), history(bed, 5), bed.dead_letters()
    bed.replay(from_offset=from_offset)
    bed.send("trades", [trade(4)], partition=0)
    bed.replay(from_offset=from_offset)
    assert (online(bed, 3.5), history(bed, 3.5)) == ([4, 4, 3.0], [4, 4, 3.0])
    assert (before[0][0], online(bed, 5)[0], history(bed, 5)[0]) == (4, 5, 5)
    assert bed.dead_letters() == before[2]


def test_refused_event_is_a_dead_letter_and_the_others_count(bed: Testbed) -> None:
    bed.send("trades", [trade(0), {**trade(1), "shares": "many"}, b"{", trade(90)], known_at=at(2), partition=1)
    letters = bed.dead_letters()
    assert [(letter.partition, letter.offset, letter.field) for letter in letters] == [
        (1, 1, "shares"),
        (1, 2, None),
        (1, 3, "traded_at"),
    ]
    assert "max_future" in letters[2].reason
    assert online(bed, 3)[0] == history(bed, 3)[0] == 1


def test_rows_come_back_in_the_order_given_with_keys_and_named_columns(bed: Testbed) -> None:
    bed.send("trades", [trade(0, "A", 1, 2.0), trade(1, "B", 2, 4.0)])
    rows = [{"symbol": name, "account": number} for name, number in (("B", 1), ("A", 2), ("none", 3), ("B", 2))]
    answer = bed.online("desk", rows, at=at(2))
    assert answer.column_names == [
        "symbol",
        "account",
        COUNT,
        "by_symbol__shares",
        "by_symbol__last_price",
        "by_account__mean_price",
    ]
    assert answer["by_symbol__last_price"].to_pylist() == [4.0, 2.0, None, 4.0]
    assert answer["by_account__mean_price"].to_pylist() == [2.0, 4.0, None, 4.0]
    spine = pa.table({"when": pa.array([at(2)] * 4, pa.timestamp("us", "UTC"))})
    for name in ("symbol", "account"):
        spine = spine.append_column(name, [[row[name] for row in rows]])
    recomputed = bed.history("desk", spine, time_column="when")
    assert recomputed.column_names == ["when", *answer.column_names]
    assert recomputed.drop_columns("when").to_pylist() == answer.to_pylist()
    assert bed.history("desk", spine.to_pandas(), time_column="when").to_pylist() == recomputed.to_pylist()


def test_partition_follows_the_key_as_kafka_has_it(testbed: Make) -> None:
    bed = testbed(market, partitions=3)
    bed.send("trades", [{**trade(0, name), "price": "x"} for name in "ABCDEF"])
    assert [(letter.key, letter.partition) for letter in bed.dead_letters()] == sorted(
        ((name.encode(), partition_of(name.encode(), 3)) for name in "ABCDEF"), key=lambda one: (one[1], one[0])
    )


def test_partitions_take_turns_where_the_source_has_no_key(testbed: Make) -> None:
    class Tick(BaseModel):
        meter: int
        at: AwareDatetime

    meter = Entity(name="meter", join_keys=["meter"], value_type=ValueType.INT64)
    ticks = event_source(name="ticks", model=Tick, topic="ticks", timestamp_field="at")
    view = stream_view(
        name="meters",
        source=ticks,
        entities=[meter],
        aggregations=[Aggregation(function="max", column="at", name="newest")],
    )
    bed = testbed([view, meter], partitions=2)
    assert bed.plan.sources["ticks"].model.endswith("<locals>.Tick")
    bed.send("ticks", [{"meter": 1, "at": at(minute)} for minute in range(3)] + [b"?"] * 2, known_at=NOON)
    assert [letter.position for letter in bed.dead_letters()] == [("ticks", 0, 2), ("ticks", 1, 1)]
    answer = bed.online(["meters:newest"], {"meter": [1]}, at=NOON)
    assert answer["meters__newest"].to_pylist() == [at(2)]


def test_feature_repo_and_plan_serve_as_well(testbed: Make) -> None:
    flights = testbed(ROOT / "feature_repo")
    assert "departures" in flights.plan.sources
    shop = testbed(PLAN, models={"sales": Sale}, partitions=1)
    shop.send("sales", [Sale(shop="ü", sold_at=NOON, price=2.5, pieces=3)])
    assert shop.online(["shop_sales:pieces_ever"], [{"shop": "ü"}], at=NOON)["shop_sales__pieces_ever"].to_pylist() == [
        3
    ]


def test_wrong_use_is_told_with_its_cure(testbed: Make, bed: Testbed) -> None:
    with pytest.raises(ConfigError, match="models="):
        testbed(PLAN)
    with pytest.raises(ConfigError, match="stream_view"):
        testbed([market.symbol])
    with pytest.raises(ConfigError, match="partitions"):
        testbed(market, partitions=0)
    with pytest.raises(EventError, match="Sources: trades"):
        bed.send("trade", [])
    with pytest.raises(EventError, match="There is no partition 2"):
        bed.send("trades", [trade(0)], partition=2)
    with pytest.raises(EventError, match="known_at has 2 times"):
        bed.send("trades", [trade(0)], known_at=[NOON, NOON])
    with pytest.raises(EventError, match="no time zone"):
        bed.send("trades", [trade(0)], known_at=datetime(2024, 5, 1))  # noqa: DTZ001 what is refused
    with pytest.raises(LookupRequestError, match="no time zone"):
        bed.online(SYMBOLS, [{"symbol": "A"}], at=datetime(2024, 5, 1))  # noqa: DTZ001


def test_objects_are_as_before_after_a_bed_was_made_of_them(testbed: Make) -> None:
    before = dict(market.trades.tags)
    testbed(market)
    assert market.trades.tags == before


def test_feature_service_objects_and_frames_are_taken(testbed: Make) -> None:
    whole = FeatureService(name="whole", features=[market.by_symbol])
    with warnings.catch_warnings(action="ignore"):  # Feast says again that stream views are experimental
        part = FeatureService(name="part", features=[market.by_symbol[["shares"]]])
    bed = testbed([*vars(market).values(), whole, part])
    bed.send("trades", [trade(0)])
    frame = pa.table({"symbol": ["A"]}).to_pandas()
    assert bed.online(part, frame, at=at(1)).column_names == ["symbol", "by_symbol__shares"]
    assert bed.online([part, whole], frame, at=at(1)).equals(bed.online(["part", "whole"], frame, at=at(1)))
    spine = frame.assign(event_timestamp=at(1))
    assert (
        bed.history(part, spine).column("by_symbol__shares").to_pylist()
        == bed.online(part, frame, at=at(1)).column(1).to_pylist()
    )
    assert bed.history(part, []).column_names == ["event_timestamp", "symbol", "by_symbol__shares"]
