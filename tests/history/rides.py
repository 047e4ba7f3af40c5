"""Rides in a city: a source, views of it with every aggregate, a spine, and the join of them beside the brute force."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa

from headrace.history import PointInTimeJoin
from headrace.history.limits import Limits
from headrace.log import LogSnapshot
from headrace.plan import Column, DType, Feature, Plan, Source, View
from tests.history.conftest import EPOCH
from tests.history.oracle import Event, Row, brute_force

DAY = 86_400_000_000

SOURCE = Source(
    name="rides",
    topic="rides",
    model="events:Ride",
    key="city",
    timestamp_field="at",
    columns=(
        Column(name="city", dtype=DType.STRING),
        Column(name="zone", dtype=DType.INT64),
        Column(name="at", dtype=DType.TIMESTAMP),
        Column(name="seats", dtype=DType.INT64),
        Column(name="price", dtype=DType.FLOAT64),
        Column(name="shared", dtype=DType.BOOL),
        Column(name="driver", dtype=DType.STRING),
        Column(name="born", dtype=DType.DATE),
    ),
)

AGGREGATES = [
    ("count", "*", DType.INT64),
    ("count", "driver", DType.INT64),
    ("count", "born", DType.INT64),
    ("sum", "seats", DType.INT64),
    ("sum", "shared", DType.INT64),
    ("sum", "price", DType.FLOAT64),
    ("mean", "seats", DType.FLOAT64),
    ("mean", "shared", DType.FLOAT64),
    ("mean", "price", DType.FLOAT64),
    *((function, column, dtype) for function in ("min", "max") for column, dtype in [
        ("seats", DType.INT64), ("price", DType.FLOAT64), ("shared", DType.BOOL), ("at", DType.TIMESTAMP),
        ("driver", DType.STRING), ("born", DType.DATE)
    ]),
    *(("last", column.name, column.dtype) for column in SOURCE.columns[2:]),
]  # fmt: skip


def view_of(*windows: tuple[int, int] | None, entities: tuple[str, ...] = ("city", "zone")) -> View:
    """A view with every aggregate over each window (length, slide); None is a lifetime."""
    features = tuple(
        Feature(
            name=f"{function}_{'all' if column == '*' else column}_{number}",
            function=function,
            column=column,
            window_us=window and window[0],
            slide_us=window and window[1],
            dtype=dtype,
        )
        for number, window in enumerate(windows)
        for function, column, dtype in AGGREGATES
    )
    return View(
        name="rides", source="rides", entities=tuple(SOURCE.column(name) for name in entities), features=features
    )


def plan_of(*views: View) -> Plan:
    return Plan(project="test", sources={"rides": SOURCE}, views={view.name: view for view in views})


def at(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def ride(ts: int, offset: int = 0, **given: Any) -> Event:
    """An event of city a, zone 1; known the moment it happened unless `known_at` says otherwise."""
    known_at, partition = given.pop("known_at", ts), given.pop("partition", 0)
    values = {
        "city": "a",
        "zone": 1,
        "at": at(ts),
        "seats": None,
        "price": None,
        "shared": None,
        "driver": None,
        "born": None,
        **given,
    }
    return Event(ts, known_at, partition, offset, values)


def spine_of(rows: Sequence[Row]) -> pa.Table:
    names = {"city": pa.string(), "zone": pa.int64()}
    keys = {
        name: pa.array([row.keys.get(name) for row in rows], kind)
        for name, kind in names.items()
        if all(name in row.keys for row in rows)
    }
    return pa.table({"event_timestamp": pa.array([row.t for row in rows], pa.timestamp("us", "UTC")), **keys})


def join(
    view: View, log: LogSnapshot, rows: Sequence[Row], as_of: str = "known", limits: Limits | None = None
) -> pa.Table:
    plan = plan_of(view)
    evidence = [{view.name: row.applied} for row in rows] if as_of == "evidence" else None
    engine = PointInTimeJoin(plan, {"rides": log}, threads=1, limits=limits)
    return engine.join(spine_of(rows), plan.resolve(f"{view.name}:*"), as_of=as_of, evidence=evidence).table


def assert_as_brute_force(
    view: View,
    log: LogSnapshot,
    events: Sequence[Event],
    rows: Sequence[Row],
    as_of: str,
    limits: Limits | None = None,
) -> None:
    found = join(view, log, rows, as_of, limits)
    for feature in view.features:
        values = found.column(f"{view.name}__{feature.name}").to_pylist()
        for number, row in enumerate(rows):
            wanted = brute_force(feature, view.join_keys, events, row, as_of)
            assert same(values[number], wanted), f"{feature}, row {number} {row}, as of {as_of}: {values[number]!r}"


def same(found: Any, wanted: Any) -> bool:
    if isinstance(found, float) and isinstance(wanted, int | float) and not isinstance(wanted, bool):
        if math.isnan(wanted):
            return math.isnan(found)
        return found == wanted or math.isclose(found, wanted, rel_tol=1e-9)
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)


def counted(name: str, window_us: int, slide_us: int) -> Feature:
    return Feature(name=name, function="count", column="*", window_us=window_us, slide_us=slide_us, dtype=DType.INT64)
