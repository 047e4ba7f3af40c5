"""The flights of this repository through Feast's FeatureStore: the values of headrace's own clients, to the bit."""

from __future__ import annotations

import shutil
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from headrace.lookup import FeatureClient
from headrace.training import TrainingClient
from streams.flights import departures_table, weather_table
from tests.feast.repos import Filled, feast_apply

ROOT = Path(__file__).parents[2]
EVENTS = 1_500


@pytest.fixture(scope="module")
def flights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Filled]:
    """The first flights and observations of the year, in a copy of this repository's project."""
    root = tmp_path_factory.mktemp("flights")
    shutil.copy(ROOT / "headrace.toml", root)
    shutil.copytree(ROOT / "feature_repo", root / "feature_repo", ignore=shutil.ignore_patterns("__pycache__"))
    feast_apply(root / "feature_repo")
    filled = Filled(root / "feature_repo")
    departures = departures_table().sort_by("event_timestamp").slice(0, EVENTS).to_pylist()
    until = departures[-1]["event_timestamp"]
    weather = weather_table().sort_by("event_timestamp").slice(0, EVENTS).to_pylist()
    filled.send("departures", departures)
    filled.send("weather", [event for event in weather if event["event_timestamp"] <= until])
    yield filled
    filled.close()


@pytest.fixture(scope="module")
def store(flights: Filled) -> Any:
    from feast import FeatureStore

    return FeatureStore(repo_path=str(flights.project.repo))


def bits(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """The values, floats by their bits."""
    return {
        name: [struct.pack("<d", value) if isinstance(value, float) else value for value in values]
        for name, values in columns.items()
    }


def test_feast_s_store_gives_what_a_feature_client_gives(flights: Filled, store: Any) -> None:
    rows = [
        {"origin": origin, "carrier": carrier} for origin in ("EWR", "JFK", "LGA", "EWR") for carrier in ("UA", "B6")
    ]
    service = store.get_feature_service("delay_model")
    ours = store.get_online_features(features=service, entity_rows=rows, full_feature_names=True).to_dict()
    with FeatureClient(flights.project) as client:
        expected = client.get_online_features("delay_model", rows).to_dict()
    assert bits(ours) == bits(expected)
    assert len(ours) == 2 + 19
    assert any(value for value in ours["origin_departures__departures_24h"])


def test_feast_s_history_gives_what_a_training_client_gives(flights: Filled, store: Any) -> None:
    table = departures_table().sort_by("event_timestamp").slice(300, EVENTS - 300)
    frame = table.select(["origin", "carrier", "event_timestamp"]).to_pandas().sample(frac=1, random_state=3)
    service = store.get_feature_service("delay_model")
    ours = store.get_historical_features(entity_df=frame, features=service, full_feature_names=True).to_df()
    own = TrainingClient(flights.project).get_historical_features(frame, "delay_model").to_df()
    assert ours.index.equals(frame.index)
    pd.testing.assert_frame_equal(ours.reset_index(drop=True), own, check_dtype=False, check_exact=True)
