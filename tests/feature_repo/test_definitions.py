"""This repository's definitions are those that its documentation promises, and plain Feast takes them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from feast import FeatureStore

from headrace.declare import compile_repo
from headrace.declare.feast_import import quiet_feast
from headrace.plan import Plan

SECOND = 1_000_000
MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR

# view: (topic, join keys, {feature: (function, column, window, slide, type)})
PROMISED: dict[str, tuple[str, tuple[str, ...], dict[str, tuple[str, str, int | None, int | None, str]]]] = {
    "origin_departures": (
        "departures",
        ("origin",),
        {
            "departures_30m": ("count", "*", 30 * MINUTE, 1, "int64"),
            "departures_1h": ("count", "*", HOUR, MINUTE, "int64"),
            "mean_dep_delay_1h": ("mean", "dep_delay", HOUR, MINUTE, "float64"),
            "max_dep_delay_1h": ("max", "dep_delay", HOUR, MINUTE, "float64"),
            "departures_24h": ("count", "*", DAY, 15 * MINUTE, "int64"),
            "mean_dep_delay_24h": ("mean", "dep_delay", DAY, 15 * MINUTE, "float64"),
            "cancelled_share_24h": ("mean", "cancelled", DAY, 15 * MINUTE, "float64"),
        },
    ),
    "carrier_departures": (
        "departures",
        ("carrier",),
        {
            "departures_7d": ("count", "*", 7 * DAY, HOUR, "int64"),
            "mean_dep_delay_7d": ("mean", "dep_delay", 7 * DAY, HOUR, "float64"),
            "min_dep_delay_7d": ("min", "dep_delay", 7 * DAY, HOUR, "float64"),
        },
    ),
    "origin_carrier_departures": (
        "departures",
        ("origin", "carrier"),
        {
            "departures_24h": ("count", "*", DAY, 15 * MINUTE, "int64"),
            "mean_dep_delay_24h": ("mean", "dep_delay", DAY, 15 * MINUTE, "float64"),
            "distance_24h": ("sum", "distance", DAY, 15 * MINUTE, "int64"),
            "last_dep_delay": ("last", "dep_delay", None, None, "float64"),
        },
    ),
    "origin_weather": (
        "weather",
        ("origin",),
        {
            "last_temp": ("last", "temp", None, None, "float64"),
            "last_wind_speed": ("last", "wind_speed", None, None, "float64"),
            "last_visib": ("last", "visib", None, None, "float64"),
            "last_precip": ("last", "precip", None, None, "float64"),
            "max_wind_speed_6h": ("max", "wind_speed", 6 * HOUR, HOUR, "float64"),
        },
    ),
}


@pytest.fixture(scope="module")
def plan(root: Path) -> Plan:
    return compile_repo(root / "feature_repo")


def test_the_views_are_those_promised(plan: Plan) -> None:
    found = {
        view.name: (
            plan.source_of(view).topic,
            view.join_keys,
            {
                made.name: (made.function, made.column, made.window_us, made.slide_us, made.dtype.value)
                for made in view.features
            },
        )
        for view in plan.views.values()
    }
    assert found == PROMISED


def test_both_topics_are_keyed_by_origin(plan: Plan) -> None:
    assert plan.project == "flights"
    assert {(source.topic, source.model, source.key, source.timestamp_field) for source in plan.sources.values()} == {
        ("departures", "events:Departure", "origin", "event_timestamp"),
        ("weather", "events:WeatherObservation", "origin", "event_timestamp"),
    }


def test_the_service_holds_all_features_in_their_order(plan: Plan) -> None:
    assert list(plan.services) == ["delay_model"]
    asked = [(ref.view, ref.feature) for ref in plan.resolve("delay_model")]
    assert asked == [(view, feature) for view, (_, _, features) in PROMISED.items() for feature in features]


@pytest.mark.slow
def test_plain_feast_takes_the_folder_on_a_fresh_clone(root: Path, tmp_path: Path) -> None:
    repo = tmp_path / "feature_repo"
    shutil.copytree(root / "feature_repo", repo, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "headrace.toml", tmp_path)
    env = {**os.environ, "PYTHONPATH": str(root / "src"), "NO_COLOR": "1"}
    feast = Path(sys.executable).with_name("feast")
    done = subprocess.run([feast, "apply"], cwd=repo, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert {file.name for file in tmp_path.iterdir()} == {"feature_repo", "headrace.toml", ".headrace"}
    with quiet_feast():
        store = FeatureStore(repo_path=str(repo))
        assert {view.name for view in store.list_stream_feature_views()} == set(PROMISED)
        assert [service.name for service in store.list_feature_services()] == ["delay_model"]
        assert {entity.name for entity in store.list_entities()} == {"origin", "carrier"}
