"""Online features of stream, push and on-demand views through Feast's FeatureStore."""

from __future__ import annotations

import asyncio
import textwrap
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from feast.errors import FeastObjectNotFoundException, RequestDataNotFoundInEntityRowsException

from headrace.errors import FeastStoreError, LookupRequestError
from headrace.lookup import FeatureClient
from tests.feast.conftest import NOON
from tests.feast.repos import Shop, feast_apply, write_shop

STREAM = ["spending:orders_1h", "spending:spent_1h", "spending:newest", "spending:items_3", "pairs:dearest"]
ROWS = [
    {"customer": "bob", "shop": 8},
    {"customer": "ann", "shop": 7},
    {"customer": "eve", "shop": 7},
    {"customer": "nobody", "shop": 1},
    {"customer": "bob", "shop": 8},
]


def pushed(customer: str, score: float | None, at: datetime, level: int = 1) -> pd.DataFrame:
    return pd.DataFrame({"customer": [customer], "at": [at], "created": [at], "score": [score], "level": [level]})


def score(store: Any, *customers: str) -> list[Any]:
    rows = [{"customer": customer} for customer in customers]
    found: list[Any] = store.get_online_features(features=["scores:score"], entity_rows=rows).to_dict()["score"]
    return found


def statuses(store: Any, feature: str, *customers: str) -> list[str]:
    from feast.protos.feast.serving.ServingService_pb2 import FieldStatus

    rows = [{"customer": customer, "shop": 8} for customer in customers]
    proto = store.get_online_features(features=[feature], entity_rows=rows).proto
    at = list(proto.metadata.feature_names.val).index(feature.partition(":")[2])
    return [FieldStatus.Name(status) for status in proto.results[at].statuses]


@pytest.fixture
def now() -> datetime:
    """Now by the shop's clock: the time of its newest record."""
    return NOON


def test_stream_views_give_what_a_feature_client_gives(shop: Shop, shop_store: Any) -> None:
    ours = shop_store.get_online_features(features=STREAM, entity_rows=ROWS, full_feature_names=True).to_dict()
    with FeatureClient(shop.project) as client:
        expected = client.get_online_features(STREAM, ROWS).to_dict()
    assert ours == expected
    assert ours["spending__spent_1h"][0] == 0.1 + 0.7
    assert ours["spending__orders_1h"] == [2, 2, 0, 0, 2]


def test_the_asynchronous_call_gives_the_same(shop_store: Any) -> None:
    asked = shop_store.get_online_features_async(features=STREAM, entity_rows=ROWS)
    assert asyncio.run(asked).to_dict() == shop_store.get_online_features(features=STREAM, entity_rows=ROWS).to_dict()


def test_online_read_gives_the_same(shop_store: Any) -> None:
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    view = shop_store.get_stream_feature_view("spending")
    keys = [EntityKey(join_keys=["customer"], entity_values=[Value(string_val=one)]) for one in ("ann", "nobody")]
    found = shop_store.provider.online_read(shop_store.config, view, keys, ["spent_1h", "orders_1h"])
    assert found[0][0] == NOON - timedelta(minutes=5)
    assert found[0][1]["spent_1h"].double_val == 2.5 + 0.2
    assert found[1][0] is None
    assert found[1][1]["orders_1h"].int64_val == 0


def test_statuses_say_why_a_value_is_null(shop_store: Any) -> None:
    # A count of 0 is a value. eve's only order is hours old.
    assert statuses(shop_store, "spending:orders_1h", "ann", "nobody", "eve") == ["PRESENT"] * 3
    found = statuses(shop_store, "spending:spent_1h", "ann", "nobody")
    assert found[0] == "PRESENT"
    assert statuses(shop_store, "pairs:dearest", "nobody") == ["NOT_FOUND"]


def test_a_service_has_stream_push_and_on_demand_features(shop_store: Any, now: datetime) -> None:
    shop_store.push("scores_push", pushed("ann", 0.5, now))
    rows = [{"customer": "ann", "shop": 7, "amount": 5.4}, {"customer": "nobody", "shop": 7, "amount": 1.0}]
    service = shop_store.get_feature_service("checkout")
    assert shop_store.get_online_features(features=service, entity_rows=rows).to_dict()["score"] == [0.5, None]
    features = ["judged:share", "judged:risk", "scores:score"]
    values = shop_store.get_online_features(features=features, entity_rows=rows).to_dict()
    assert values["score"] == [0.5, None]
    # Feast's singleton mode computes the first row of a request only.
    assert values["share"] == [5.4 / 2.7, None]
    assert values["risk"] == [0.5 * 5.4, None]
    assert "amount" not in values


def test_a_newer_event_time_wins_and_at_an_equal_one_the_later_write(shop_store: Any, now: datetime) -> None:
    shop_store.push("scores_push", pushed("cas", 1.0, now - timedelta(minutes=2)))
    shop_store.push("scores_push", pushed("cas", 2.0, now - timedelta(minutes=3)))
    assert score(shop_store, "cas") == [1.0]  # Feast's stores would give 2.0
    shop_store.push("scores_push", pushed("cas", 3.0, now - timedelta(minutes=2)))
    assert score(shop_store, "cas") == [3.0]
    asyncio.run(shop_store.push_async("scores_push", pushed("cas", 4.0, now)))
    assert score(shop_store, "cas") == [4.0]


def test_a_row_older_than_its_ttl_is_not_served(shop_store: Any, now: datetime) -> None:
    shop_store.write_to_online_store("scores", pushed("dan", 1.0, now - timedelta(days=1, seconds=5)))
    shop_store.write_to_online_store("scores", pushed("dot", 1.0, now - timedelta(hours=23)))
    assert score(shop_store, "dan", "dot", "nobody") == [None, 1.0, None]  # Feast's stores would give 1.0 twice
    assert statuses(shop_store, "scores:score", "dan", "dot", "nobody") == ["OUTSIDE_MAX_AGE", "PRESENT", "NOT_FOUND"]


def test_a_null_is_a_null(shop_store: Any, now: datetime) -> None:
    shop_store.write_to_online_store("scores", pushed("fay", None, now))
    assert score(shop_store, "fay") == [None]
    assert statuses(shop_store, "scores:score", "fay") == ["NULL_VALUE"]


def test_feast_and_headrace_read_the_same_rows(shop: Shop, shop_store: Any, now: datetime) -> None:
    shop_store.write_to_online_store("scores", pushed("gus", 0.75, now, level=2))
    with FeatureClient(shop.project) as client:
        answer = client.get_online_features(["scores:score", "scores:level"], [{"customer": "gus"}]).to_dict()
    assert answer["scores__score"] == [0.75]
    assert answer["scores__level"] == [2]


def test_materialize_skips_stream_views_and_fills_the_others(shop_store: Any, now: datetime) -> None:
    shop_store.materialize(start_date=NOON - timedelta(days=3), end_date=NOON)
    view = shop_store.get_feature_view("scores")
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    keys = [EntityKey(join_keys=["customer"], entity_values=[Value(string_val="bob")])]
    stored = shop_store.provider.online_store._open(shop_store.config)  # noqa: SLF001 our own
    one = stored.formats(view)[0]
    (row,) = stored.rows().read(one.rows_id, [one.entity(["customer"], keys[0].entity_values)])
    assert row.event_us == int((NOON - timedelta(hours=2)).timestamp()) * 1_000_000
    assert one.decode(row.values)["score"].double_val == 0.5


def test_a_stream_view_is_not_written(shop_store: Any) -> None:
    frame = pd.DataFrame(
        {
            "customer": ["ann"],
            "placed_at": [NOON],
            "orders_1h": [1],
            "spent_1h": [1.0],
            "newest": [NOON],
            "items_3": [[1]],
        }
    )
    with pytest.raises(FeastStoreError, match="headrace computes its features from events"):
        shop_store.write_to_online_store("spending", frame)


@pytest.mark.parametrize(
    ("features", "rows", "said"),
    [
        (["spending:orders_1h"], [{"shop": 8}], "no 'customer'"),
        (["spending:orders_1h"], [{"customer": None}], "Row 0 of entity_rows has no 'customer'"),
        (["scores:score"], [{"customer": "a"}, {"customer": None}], "Row 1 of entity_rows has no 'customer'"),
        (["pairs:dearest"], [{"customer": "a", "shop": "x"}], "'shop' that is no INT64"),
        (["spending:orders_1h"], {"customer": "ann"}, "one value where a column"),
        (["pairs:dearest"], {"customer": ["a", "b"], "shop": [1]}, "differ in length"),
        (["spending"], [{"customer": "a"}], "names no feature"),
        ([], [{"customer": "a"}], "names no features"),
        (["spending:never"], [{"customer": "a"}], "no feature named 'never'"),
        (["spending@v1:spent_1h"], [{"customer": "a"}], "versions of views are switched off"),
        (["spending:spent_1h", "spending:spent_1h"], [{"customer": "a"}], "Two features of the request"),
    ],
)
def test_a_wrong_request_says_what_is_wrong(shop_store: Any, features: Any, rows: Any, said: str) -> None:
    with pytest.raises(LookupRequestError, match=said):
        shop_store.get_online_features(features=features, entity_rows=rows)


def test_unknown_views_and_missing_request_data_are_feast_s_own_errors(shop_store: Any) -> None:
    with pytest.raises(FeastObjectNotFoundException):
        shop_store.get_online_features(features=["never:x"], entity_rows=[{"customer": "a"}])
    with pytest.raises(RequestDataNotFoundInEntityRowsException):
        shop_store.get_online_features(features=["judged:share"], entity_rows=[{"customer": "a"}])


def test_no_rows_give_no_values(shop_store: Any) -> None:
    found = shop_store.get_online_features(features=[*STREAM, "scores:score"], entity_rows=[]).to_dict()
    assert set(found) == {"customer", "shop", *(name.partition(":")[2] for name in [*STREAM, "scores:score"])}
    assert all(values == [] for values in found.values())


def test_rows_without_a_time_or_a_key_are_refused(shop_store: Any, now: datetime) -> None:
    with pytest.raises(FeastStoreError, match="Row 0 of the rows for 'scores' has no event time"):
        shop_store.write_to_online_store(
            "scores", pushed("a", 1.0, now).assign(at=pd.Series([pd.NaT], dtype="datetime64[ns, UTC]"))
        )
    with pytest.raises(FeastStoreError, match="Row 0 of the rows for 'scores' has no 'customer'"):
        shop_store.write_to_online_store("scores", pushed("a", 1.0, now).assign(customer=None))


def test_naive_times_of_pushed_rows_are_utc(shop_store: Any, now: datetime) -> None:
    shop_store.write_to_online_store("scores", pushed("hal", 1.0, now.replace(tzinfo=None)))
    shop_store.write_to_online_store("scores", pushed("hal", 2.0, now - timedelta(seconds=1)))
    assert score(shop_store, "hal") == [1.0]


VERSIONED = """
    from feast import Entity, FeatureView, Field, FileSource, PushSource, ValueType
    from feast.types import Float64, Int64

    customer = Entity(name="customer", join_keys=["customer"], value_type=ValueType.STRING)
    scores = FeatureView(
        name="scores",
        entities=[customer],
        schema=[Field(name="score", dtype=Float64){more}],
        source=PushSource(
            name="scores_push", batch_source=FileSource(name="s", path="scores.parquet", timestamp_field="at")
        ),
    )
"""
VERSIONED_YAML = """
project: versioned
provider: local
registry: {path: registry.db, enable_online_feature_view_versioning: true}
online_store: {type: headrace.feast.HeadraceOnlineStore}
offline_store: {type: headrace.feast.HeadraceOfflineStore}
entity_key_serialization_version: 3
"""


@pytest.fixture
def versioned(tmp_path: Path) -> Any:
    """A repo without a headrace.toml whose view has had two versions, each with rows of its own."""
    now = datetime.now(UTC)
    repo = tmp_path / "feature_repo"
    repo.mkdir()
    (repo / "feature_store.yaml").write_text(VERSIONED_YAML)
    pd.DataFrame({"customer": ["a"], "at": [now], "score": [0.0], "level": [0]}).to_parquet(repo / "scores.parquet")
    versions: list[tuple[str, dict[str, list[float]]]] = [
        ("", {"score": [1.0]}),
        (', Field(name="level", dtype=Int64)', {"score": [2.0], "level": [5]}),
    ]
    for more, row in versions:
        (repo / "views.py").write_text(textwrap.dedent(VERSIONED.replace("{more}", more)))
        store = feast_apply(repo)
        store.write_to_online_store("scores", pd.DataFrame({"customer": ["a"], "at": [now], **row}))
    return store


def test_versions_of_a_view_are_served_by_name(versioned: Any) -> None:
    rows = [{"customer": "a"}]
    newest = versioned.get_online_features(features=["scores:score", "scores:level"], entity_rows=rows).to_dict()
    assert (newest["score"], newest["level"]) == ([2.0], [5])
    both = versioned.get_online_features(
        features=["scores@v0:score", "scores@v1:score"], entity_rows=rows, full_feature_names=True
    ).to_dict()
    assert (both["scores@v0__score"], both["scores@v1__score"]) == ([1.0], [2.0])


def test_stream_views_need_a_headrace_project(tmp_path: Path) -> None:
    repo = write_shop(tmp_path)
    (tmp_path / "headrace.toml").unlink()
    (repo / "data").mkdir()
    with pytest.raises(Exception, match="there is no headrace.toml"):
        feast_apply(repo)


def test_a_row_dated_after_now_does_not_count_yet(shop: Shop, shop_store: Any, now: datetime) -> None:
    shop_store.write_to_online_store("scores", pushed("ida", 1.0, now + timedelta(seconds=1)))
    assert score(shop_store, "ida") == [None]
    assert statuses(shop_store, "scores:score", "ida") == ["NULL_VALUE"]
    with FeatureClient(shop.project) as client:
        assert client.get_online_features(["scores:score"], [{"customer": "ida"}]).to_dict()["scores__score"] == [None]
