"""The test bed answers as the worker, the lookup SDK and the training join do, in whatever order a test asks."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from feast import Aggregation, Entity, FeatureService, ValueType
from pydantic import AwareDatetime, BaseModel

from headrace import event_source, stream_view
from headrace.errors import ConfigError, EventError, LookupRequestError, SpineError
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
