"""Feast's own calls for a stream view's features say whom to ask instead."""

from __future__ import annotations

import asyncio
import textwrap
from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pytest
from feast import FeatureStore

from headrace.config import Project
from headrace.declare import apply
from headrace.errors import FeastStoreError
from tests.declare.conftest import YAML, write_repo

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
PLUGGED = YAML.replace("provider: local", "provider: headrace.declare.stores.HeadraceProvider").replace(
    "online_store: null", "online_store: {type: headrace.declare.stores.HeadraceOnlineStore}"
)
VIEWS = """
    from datetime import timedelta
    from feast import Entity, FeatureView, Field, FileSource, ValueType
    from feast.types import Float64
    from headrace import aggregation, event_source, stream_view
    from events import Order

    customer = Entity(name="customer", value_type=ValueType.STRING)
    orders = event_source(name="orders", model=Order, topic="orders", key="customer", timestamp_field="placed_at")
    spending = stream_view(
        name="spending", source=orders, entities=[customer], aggregations=[aggregation("sum", "price", name="total")]
    )
    scores = FeatureView(
        name="scores",
        entities=[customer],
        ttl=timedelta(days=10),
        schema=[Field(name="score", dtype=Float64)],
        source=FileSource(name="scores", path="scores.parquet", timestamp_field="at"),
    )
"""


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    root = tmp_path_factory.mktemp("plugged")
    repo = write_repo(root, {"feature_store.yaml": PLUGGED, "views.py": textwrap.dedent(VIEWS)})
    scores = pd.DataFrame({"customer": ["a"], "at": [NOW - timedelta(days=1)], "score": [0.5]})
    scores.to_parquet(repo / "scores.parquet")
    assert apply(Project.load(root)).plan.views.keys() == {"spending"}
    return FeatureStore(repo_path=str(repo))


def rows() -> pd.DataFrame:
    return pd.DataFrame({"customer": ["a"], "event_timestamp": [NOW]})


def online(store: FeatureStore) -> Any:
    return store.get_online_features(features=["spending:total"], entity_rows=[{"customer": "a"}])


def online_async(store: FeatureStore) -> Any:
    asked = store.get_online_features_async(features=["spending:total"], entity_rows=[{"customer": "a"}])
    return asyncio.run(asked)


def history(store: FeatureStore) -> Any:
    return store.get_historical_features(entity_df=rows(), features=["spending:total"])


def materialized(store: FeatureStore) -> Any:
    return store.materialize(start_date=NOW - timedelta(days=1), end_date=NOW, feature_views=["spending"])


def written(store: FeatureStore) -> Any:
    frame = pd.DataFrame({"customer": ["a"], "total": [1.0], "placed_at": [NOW]})
    return store.write_to_online_store("spending", frame)


@pytest.mark.filterwarnings("ignore")  # Feast's own
@pytest.mark.parametrize(
    ("call", "instead"),
    [
        (online, "headrace.FeatureClient().get_online_features(features, entity_rows)"),
        (online_async, "headrace.FeatureClient().get_online_features(features, entity_rows)"),
        (history, "headrace.TrainingClient().get_historical_features(spine, features)"),
        (materialized, "`headrace stream` keeps online features fresh"),
        (written, "`headrace stream` keeps online features fresh"),
    ],
)
def test_a_call_of_feasts_names_what_to_call_instead(store: FeatureStore, call: Any, instead: str) -> None:
    with pytest.raises(FeastStoreError) as raised:
        call(store)
    assert instead in str(raised.value.hint)


@pytest.mark.filterwarnings("ignore")  # Feast's own
def test_training_data_of_ordinary_views_comes_from_feast(store: FeatureStore) -> None:
    found = store.get_historical_features(entity_df=rows(), features=["scores:score"]).to_df()
    assert found["score"].tolist() == [0.5]
