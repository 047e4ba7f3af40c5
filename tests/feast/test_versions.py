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
