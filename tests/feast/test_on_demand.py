"""On-demand views through Feast's doors have the values of headrace's own: exact, whatever stands in other rows."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast import Field, RequestSource
from feast.on_demand_feature_view import OnDemandFeatureView, on_demand_feature_view
from feast.types import Int64

from headrace.errors import OnDemandError, TransformError
from headrace.feast.on_demand import compute_on_demand
from headrace.lookup import FeatureClient
from tests.feast.conftest import NOON
from tests.feast.repos import VIEWS, Shop, feast_apply, write_shop

BIG = 2**53 + 1
MOMENT = NOON - timedelta(minutes=5, microseconds=123_457)
ASKED = NOON - timedelta(microseconds=7)
KEPT = """
    asked = RequestSource(
        name="asked", schema=[Field(name="number", dtype=Int64), Field(name="at", dtype=UnixTimestamp)]
    )
    newest = stream_view(
        name="newest",
        source=orders,
        entities=[customer],
        aggregations=[aggregation("last", "items", name="items"), aggregation("last", "placed_at", name="placed")],
    )

    @on_demand_feature_view(
        sources=[newest, scores, asked],
        schema=[
            *(Field(name=name, dtype=Int64) for name in ("items_same", "level_same", "number_same")),
            *(Field(name=name, dtype=Int64) for name in ("placed_us", "asked_us")),
        ],
        mode="pandas",
    )
    def kept(inputs):
        return pd.DataFrame(
            {
                "items_same": inputs["items"],
                "level_same": inputs["level"],
                "number_same": inputs["number"],
                "placed_us": inputs["number"] * 0 + inputs["placed"].dt.microsecond,
                "asked_us": inputs["number"] * 0 + inputs["at"].dt.microsecond,
            }
        )

    @on_demand_feature_view(
        sources=[newest],
        schema=[Field(name="half", dtype=Int64)],
        mode="python",
        singleton=True,
        tags={"headrace.on_error": "null"},
    )
    def halved(inputs):
        return {"half": inputs["items"] // 2}

    @on_demand_feature_view(
        sources=[newest, asked], schema=[Field(name="known", dtype=Int64)], mode="python", singleton=True
    )
    def partly(inputs):
        return {} if inputs["number"] == 987_654 else {"known": inputs["items"]}
"""
FEATURES = [f"kept:{name}" for name in ("items_same", "level_same", "number_same", "placed_us", "asked_us")]
ROWS: list[dict[str, Any]] = [
    {"customer": "ann", "number": BIG, "at": ASKED},
    {"customer": "nobody", "number": None, "at": None},
]
# pandas gives the part of an Arrow time below a millisecond.
EXPECTED = {
    "items_same": [BIG, None],
    "level_same": [BIG, None],
    "number_same": [BIG, None],
    "placed_us": [MOMENT.microsecond % 1000, None],
    "asked_us": [ASKED.microsecond % 1000, None],
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, FeatureClient]]:
    """Feast's store and headrace's client of a shop with on-demand views of integers and times."""
    views = VIEWS.replace("import Float64, Int64, String", "import Float64, Int64, String, UnixTimestamp")
    repo: Path = write_shop(tmp_path_factory.mktemp("kept"), {"views.py": views + KEPT})
    (repo / "data").mkdir()
    rows = pd.DataFrame({"customer": ["ann"], "at": [NOON - timedelta(hours=1)], "score": [0.5], "level": [BIG]})
    rows = rows.assign(created=rows["at"])
    rows.to_parquet(repo / "data" / "scores.parquet")
    store = feast_apply(repo)
    shop = Shop(repo)
    shop.order({"customer": "ann", "shop": 7, "placed_at": MOMENT, "price": 1.0, "items": BIG})
    shop.order({"customer": "bob", "shop": 7, "placed_at": NOON, "price": 1.0, "items": 1})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Feast warns about its own views
        store.push("scores_push", rows)
    with FeatureClient(shop.project) as client:
        yield store, client
    shop.close()


def online(store: Any, features: list[str], rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    found = store.get_online_features(features=features, entity_rows=rows).to_dict()
    return {name.partition(":")[2]: found[name.partition(":")[2]] for name in features}


def history(store: Any, features: list[str], frame: pd.DataFrame) -> dict[str, list[Any]]:
    frame = frame.assign(event_timestamp=NOON)
    found = store.get_historical_features(entity_df=frame, features=features).to_arrow()
    return {name.partition(":")[2]: found[name.partition(":")[2]].to_pylist() for name in features}


def test_integers_beside_a_null_and_microseconds_are_the_same_at_every_door(kept: tuple[Any, FeatureClient]) -> None:
    store, client = kept
    own = client.get_online_features(FEATURES, ROWS).to_dict()
    assert {name: own[f"kept__{name}"] for name in EXPECTED} == EXPECTED
    assert online(store, FEATURES, ROWS) == EXPECTED
    frame = pd.DataFrame(ROWS).assign(number=pd.array([BIG, None], pd.Int64Dtype()))
    assert history(store, FEATURES, frame) == EXPECTED


def test_a_row_alone_has_the_values_that_it_has_beside_others(kept: tuple[Any, FeatureClient]) -> None:
    alone = {name: values[:1] for name, values in EXPECTED.items()}
    assert online(kept[0], FEATURES, ROWS[:1]) == alone
    assert history(kept[0], FEATURES, pd.DataFrame(ROWS[:1])) == alone
    nulls = {name: values[1:] for name, values in EXPECTED.items()}
    assert online(kept[0], FEATURES, ROWS[1:]) == nulls


def test_a_row_that_fails_is_null_where_the_view_says_so(kept: tuple[Any, FeatureClient]) -> None:
    rows = [{"customer": "ann"}, {"customer": "nobody"}]
    assert online(kept[0], ["halved:half"], rows) == {"half": [BIG // 2, None]}
    assert history(kept[0], ["halved:half"], pd.DataFrame(rows)) == {"half": [BIG // 2, None]}


def test_a_result_that_is_missing_in_one_row_is_an_error(kept: tuple[Any, FeatureClient]) -> None:
    rows = [{"customer": "ann", "number": 1, "at": ASKED}, {"customer": "ann", "number": 987_654, "at": ASKED}]
    with pytest.raises(OnDemandError, match="row 1: .* returned no 'known'"):
        online(kept[0], ["partly:known"], rows)
    with pytest.raises(OnDemandError, match="row 1: .* returned no 'known'"):
        history(kept[0], ["partly:known"], pd.DataFrame(rows))


NUMBERS = RequestSource(name="numbers", schema=[Field(name="number", dtype=Int64)])


def of_feast(function: Any, **options: Any) -> OnDemandFeatureView:
    """A view that no plan has."""
    decorated = on_demand_feature_view(sources=[NUMBERS], schema=[Field(name="same", dtype=Int64)], **options)
    made: OnDemandFeatureView = decorated(function)
    return made


def test_feast_s_own_function_is_given_exact_integers_beside_a_null() -> None:
    def same(inputs: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"same": inputs["number"] + 0})

    view = of_feast(same, mode="pandas")
    assert compute_on_demand(view, {"number": [BIG, None]}, 2) == {"same": [BIG, None]}
    assert compute_on_demand(view, {"number": [None]}, 1) == {"same": [None]}


def test_feast_s_own_function_of_one_row_leaves_nothing_out() -> None:
    def same(inputs: dict[str, Any]) -> dict[str, Any]:
        return {"same": inputs["number"]} if inputs["number"] else {}

    view = of_feast(same, mode="python", singleton=True)
    with pytest.raises(TransformError, match="gave no 'same' for row 1"):
        compute_on_demand(view, {"number": [BIG, 0]}, 2)
