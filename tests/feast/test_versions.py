"""Versions of stream views by name, online and offline: Feast's numbers, headrace's definitions."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from headrace.errors import LookupRequestError
from tests.feast.conftest import NOON
from tests.feast.repos import VIEWS, YAML, Shop, feast_apply, write_shop

VERSIONED = YAML.replace(
    "registry: ../.headrace/registry.db",
    "registry: {path: ../.headrace/registry.db, enable_online_feature_view_versioning: true}",
)
LONGER = 'aggregation("count", window=HOUR, slide=timedelta(minutes=1), name="orders_1h"),'
CHANGED = VIEWS.replace(LONGER, LONGER.replace("window=HOUR", "window=2 * HOUR") + LONGER.replace("orders_1h", "more"))


@pytest.fixture
def store(tmp_path: Path) -> Any:
    """A shop whose stream view was changed after it was applied; the store serves what was applied last."""
    repo = write_shop(tmp_path, {"feature_store.yaml": VERSIONED})
    (repo / "data").mkdir()
    pd.DataFrame({"customer": ["ann"], "at": [NOON], "created": [NOON], "score": [0.5], "level": [1]}).to_parquet(
        repo / "data" / "scores.parquet"
    )
    feast_apply(repo)
    write_shop(tmp_path, {"feature_store.yaml": VERSIONED, "views.py": CHANGED})
    found = feast_apply(repo)
    shop = Shop(repo)
    for minutes in (100, 50, 5):
        at = NOON - timedelta(minutes=minutes)
        shop.order({"customer": "ann", "shop": 7, "placed_at": at, "price": 1.0, "items": 1})
    shop.close()
    return found


def test_history_of_two_versions_stands_side_by_side(store: Any) -> None:
    frame = pd.DataFrame({"customer": ["ann"], "event_timestamp": [NOON]})
    features = ["spending@v0:orders_1h", "spending@v1:orders_1h"]
    found = store.get_historical_features(entity_df=frame, features=features, full_feature_names=True).to_df()
    assert found["spending@v0__orders_1h"].tolist() == [2]
    assert found["spending@v1__orders_1h"].tolist() == [3]


def test_the_version_that_is_served_may_be_named_and_another_is_refused(store: Any) -> None:
    rows = [{"customer": "ann"}]
    found = store.get_online_features(features=["spending@v1:orders_1h"], entity_rows=rows).to_dict()
    assert found["orders_1h"] == [3]
    with pytest.raises(LookupRequestError, match="spending@"):
        store.get_online_features(features=["spending@v0:orders_1h"], entity_rows=rows)


def test_history_without_a_frame_has_the_entities_of_the_version_asked_for(tmp_path: Path) -> None:
    repo = write_shop(tmp_path, {"feature_store.yaml": VERSIONED})
    feast_apply(repo)
    start = VIEWS.index("spending = ")
    end = VIEWS.index("pairs = ")
    by_shop = VIEWS[start:end].replace("[customer]", "[customer, shop]")
    by_shop = by_shop.replace('"last_n(3)", "items", name="items_3"', '"last_n(2)", "items", name="items_2"')
    write_shop(tmp_path, {"feature_store.yaml": VERSIONED, "views.py": VIEWS[:start] + by_shop + VIEWS[end:]})
    store = feast_apply(repo)
    shop = Shop(repo)
    at = NOON - timedelta(minutes=5)
    shop.order(*({"customer": "ann", "shop": one, "placed_at": at, "price": 1.0, "items": one} for one in (7, 8)))
    shop.close()

    def ask(feature: str) -> dict[str, list[Any]]:
        start = NOON - timedelta(hours=1)
        job = store.get_historical_features(features=[feature], start_date=start, end_date=NOON)
        return dict(job.to_arrow().drop_columns("event_timestamp").to_pydict())

    # The first version has one entity, and a feature that the live one lacks.
    assert ask("spending@v0:items_3") == {"customer": ["ann"], "items_3": [[7, 8]]}
    assert ask("spending@v0:orders_1h") == {"customer": ["ann"], "orders_1h": [2]}
    live = {"customer": ["ann", "ann"], "shop": [7, 8], "items_2": [[7], [8]]}
    assert ask("spending:items_2") == ask("spending@v1:items_2") == live
