"""On-demand views in the test bed: the same definition, the same function, online and in history."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from feast import FeatureService, Field, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Bool, Float64, Int64, String

from headrace.errors import LookupRequestError, OnDemandError, SpineError
from headrace.testing import Testbed
from tests.testing.market import account, at, by_account, by_symbol, symbol, trade, trades

Make = Callable[..., Testbed]

offer = RequestSource(name="offer", schema=[Field(name="offered", dtype=Float64), Field(name="lots", dtype=Int64)])


@on_demand_feature_view(  # type: ignore[untyped-decorator]
    sources=[by_symbol, by_account[["mean_price"]], offer],
    schema=[Field(name="premium", dtype=Float64), Field(name="volume", dtype=Int64)],
    mode="python",
)
def premium(inputs: dict[str, Any]) -> dict[str, Any]:
    def of(offered: float | None, last: float | None) -> float | None:
        return None if offered is None or not last else offered / last - 1

    return {
        "premium": [of(*pair) for pair in zip(inputs["offered"], inputs["last_price"], strict=True)],
        "volume": [
            (shares or 0) * lots for shares, lots in zip(inputs["by_symbol__shares"], inputs["lots"], strict=True)
        ],
    }


@on_demand_feature_view(  # type: ignore[untyped-decorator]
    sources=[by_symbol[["last_price", "shares"]], offer],
    schema=[Field(name="gap", dtype=Float64), Field(name="is_above", dtype=Bool), Field(name="twice", dtype=Int64)],
    mode="pandas",
)
def gap(inputs: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "gap": inputs["offered"] - inputs["last_price"],
            "is_above": inputs["offered"] > inputs["last_price"],
            "twice": inputs["shares"] * 2,
        }
    )


@on_demand_feature_view(  # type: ignore[untyped-decorator]
    sources=[by_symbol[["last_price"]], offer],
    schema=[Field(name="label", dtype=String)],
    mode="python",
    singleton=True,
    tags={"headrace.on_error": "null"},
)
def label(inputs: dict[str, Any]) -> dict[str, Any]:
    return {"label": f"{inputs['offered'] / inputs['last_price']:.3f}"}


desk = FeatureService(name="desk", features=[by_symbol[["shares"]], premium, gap, label])
DEFINITIONS = [symbol, account, trades, by_symbol, by_account, premium, gap, label, desk]


@pytest.fixture
def bed(testbed: Make) -> Testbed:
    return testbed(DEFINITIONS)


def test_online_and_history_agree_at_every_time(bed: Testbed) -> None:
    chance = random.Random(7)
    for minute in range(0, 60, 3):
        big = [2**53 + 1, 0, None]
        prices = [chance.choice([1.5, 0.0, -2.0, 1e300]) for _ in range(3)]
        sent = [
            trade(minute + n / 10, chance.choice("ABC"), chance.randrange(3), price, shares=chance.choice(big))
            for n, price in enumerate(prices)
        ]
        bed.send("trades", sent)
    rows = [
        {
            "symbol": chance.choice("ABCD"),
            "account": chance.randrange(4),
            "offered": chance.choice([1.0, 2.5, None, float("nan"), float("inf"), -0.0]),
            "lots": chance.choice([0, 1, 3]),
            "event_timestamp": at(chance.uniform(0, 60)),
        }
        for _ in range(60)
    ]
    joined = bed.history("desk", rows)
    problems = {(one.row, one.feature): one.reason for one in bed.problems}
    names = [name for name in joined.column_names if "__" in name]
    assert names == [
        "by_symbol__shares",
        "premium__premium",
        "premium__volume",
        "gap__gap",
        "gap__is_above",
        "gap__twice",
        "label__label",
    ]
    for number, row in enumerate(rows):
        moment: Any = row["event_timestamp"]
        found = bed.online(
            "desk", [{name: value for name, value in row.items() if name != "event_timestamp"}], at=moment
        )
        served = [repr(found.column(name)[0].as_py()) for name in names]
        assert served == [repr(joined.column(name)[number].as_py()) for name in names], row
        assert {one.feature: one.reason for one in bed.problems} == {
            feature: reason for (at_row, feature), reason in problems.items() if at_row == number
        }
    assert problems
    assert 2**54 + 2 in joined.column("gap__twice").to_pylist()


def test_features_in_the_view_alone_are_read_and_not_returned(bed: Testbed) -> None:
    bed.send("trades", [trade(0, "A", price=4.0, shares=3)])
    row = {"symbol": "A", "account": 1, "offered": 6.0, "lots": 2}
    assert bed.online(["premium:*"], [row], at=at(1)).to_pylist() == [
        {**row, "premium__premium": 0.5, "premium__volume": 6}
    ]
    spine = [{**row, "event_timestamp": at(1)}]
    assert bed.history(["premium:premium"], spine).column_names == [*row, "event_timestamp", "premium__premium"]


def test_failing_row_fails_both_or_is_null_on_both(bed: Testbed) -> None:
    bed.send("trades", [trade(0, "A", price=0.0, shares=3)])
    row = {"symbol": "A", "account": 1, "offered": 6.0, "lots": None}
    spine = [{**row, "event_timestamp": at(1)}]
    said = []
    asks: list[Callable[[], Any]] = [
        lambda: bed.online(["premium:premium"], [row], at=at(1)),
        lambda: bed.history(["premium:premium"], spine),
    ]
    for ask in asks:
        with pytest.raises(OnDemandError) as caught:
            ask()
        said.append(str(caught.value))
    assert said[0] == said[1]
    assert "for row 0: tests.testing.test_on_demand:premium failed: TypeError" in said[0]
    assert bed.online(["label:*"], [row], at=at(1)).column("label__label").to_pylist() == [None]
    online = bed.problems
    assert bed.history(["label:*"], spine).column("label__label").to_pylist() == [None]
    assert bed.problems == online
    assert "ZeroDivisionError" in online[0].reason


def test_missing_field_is_named_on_both_sides(bed: Testbed) -> None:
    with pytest.raises(
        LookupRequestError, match="Row 0 of entity_rows has no 'lots', which the on-demand view 'premium'"
    ):
        bed.online(["premium:*"], [{"symbol": "A", "account": 1, "offered": 1.0}], at=at(1))
    with pytest.raises(SpineError, match="The spine has no column 'lots', which the on-demand view 'premium' reads"):
        bed.history(["premium:*"], [{"symbol": "A", "account": 1, "offered": 1.0, "event_timestamp": at(1)}])
