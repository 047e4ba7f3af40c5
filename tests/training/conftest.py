from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from headrace import Dataset
from headrace.config import Project
from headrace.log import EventLog
from headrace.plan import Column, DType, Feature, FeatureRef, Plan, Source, View, write_plan

MINUTE = 60_000_000
START = datetime(2013, 1, 1, tzinfo=UTC)
START_US = 1_356_998_400_000_000

SOURCE = Source(
    name="rides",
    topic="rides",
    model="events:Ride",
    key="city",
    timestamp_field="at",
    columns=(
        Column(name="city", dtype=DType.STRING),
        Column(name="price", dtype=DType.FLOAT64),
        Column(name="seats", dtype=DType.INT64),
        Column(name="at", dtype=DType.TIMESTAMP),
    ),
)


def feature(name: str, function: str, column: str, dtype: DType, minutes: int | None = None) -> Feature:
    window = None if minutes is None else minutes * MINUTE
    slide = None if minutes is None else MINUTE
    return Feature(name=name, function=function, column=column, window_us=window, slide_us=slide, dtype=dtype)


VIEW = View(
    name="city_rides",
    source="rides",
    entities=(SOURCE.columns[0],),
    features=(
        feature("n_10m", "count", "*", DType.INT64, 10),
        feature("mean_price_10m", "mean", "price", DType.FLOAT64, 10),
        feature("seats_10m", "sum", "seats", DType.INT64, 10),
        feature("last_at", "last", "at", DType.TIMESTAMP),
        feature("max_price", "max", "price", DType.FLOAT64),
    ),
)


def plan_of(*views: View) -> Plan:
    """A plan with these views, and a service of the first one's first five features."""
    return Plan(
        project="test",
        sources={"rides": SOURCE},
        views={view.name: view for view in views},
        services={"model": tuple(FeatureRef(view=views[0].name, feature=one.name) for one in views[0].features[:5])},
    )


def with_one_more(name: str, view: View) -> View:
    """The view with one more feature, under another name or its own."""
    features = (*view.features, feature("more", "count", "*", DType.INT64))
    return View(name=name, source=view.source, entities=view.entities, features=features)


PLAN = plan_of(VIEW)


def rides(partition: int, offsets: Sequence[int]) -> pa.Table:
    """One ride a minute by offset, in city a (partition 0) or b (partition 1), each known 30 seconds later."""
    offset = np.array(offsets, np.int64)
    ts = START_US + offset * MINUTE
    return pa.table(
        {
            "city": pa.array(["ab"[partition]] * len(offset)),
            "price": pa.array(offset * 0.1 + partition),
            "seats": pa.array(offset % 5),
            "at": pa.array(ts, pa.timestamp("us", "UTC")),
            "_ts_us": pa.array(ts),
            "_known_at_us": pa.array(ts + MINUTE // 2),
            "_partition": pa.array(np.full(len(offset), partition), pa.int32()),
            "_offset": pa.array(offset),
            "_record_ts_us": pa.array(ts),
        }
    )


def spine_of(minutes: Sequence[float], cities: Sequence[str]) -> pa.Table:
    moments = [START + timedelta(minutes=minute) for minute in minutes]
    return pa.table(
        {
            "city": pa.array(list(cities), pa.string()),
            "event_timestamp": pa.array(moments, pa.timestamp("us", "UTC")),
            "label": pa.array([minute % 2 == 0 for minute in minutes], pa.bool_()),
        }
    )


SPINE = spine_of(range(60), ["a", "b"] * 30)
HALVES = Dataset(
    name="rides",
    features="model",
    spine=lambda _: SPINE,
    label="label",
    splits={"train": START + timedelta(minutes=30), "test": None},
)
"""An hour of rows in two splits."""


@pytest.fixture
def bare_project(tmp_path: Path) -> Project:
    """A project with a plan and nothing logged."""
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    project = Project.load(tmp_path)
    write_plan(PLAN, project.plan_file)
    return project


@pytest.fixture
def project(bare_project: Project) -> Project:
    """A project with an hour of rides in two cities."""
    log = EventLog(bare_project.log_path, SOURCE)
    log.append(pa.concat_tables([rides(0, range(60)), rides(1, range(60))]), {0: 59, 1: 59})
    return bare_project
