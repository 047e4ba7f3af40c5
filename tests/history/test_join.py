from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import patch

import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.history import PointInTimeJoin
from headrace.history.query import Delays
from headrace.log import LogSnapshot
from headrace.plan import Column, DType, Feature, Plan, Source, View
from tests.history.conftest import EPOCH, LogOf
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
    ),
)

AGGREGATES = [
    ("count", "*", DType.INT64),
    ("count", "driver", DType.INT64),
    ("sum", "seats", DType.INT64),
    ("sum", "shared", DType.INT64),
    ("sum", "price", DType.FLOAT64),
    ("mean", "seats", DType.FLOAT64),
    ("mean", "shared", DType.FLOAT64),
    ("mean", "price", DType.FLOAT64),
    *((function, column, dtype) for function in ("min", "max") for column, dtype in [
        ("seats", DType.INT64), ("price", DType.FLOAT64), ("shared", DType.BOOL), ("at", DType.TIMESTAMP)
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


def join(view: View, log: LogSnapshot, rows: Sequence[Row], as_of: str = "known") -> pa.Table:
    plan = plan_of(view)
    evidence = [{view.name: row.applied} for row in rows] if as_of == "evidence" else None
    engine = PointInTimeJoin(plan, {"rides": log}, threads=1)
    return engine.features(spine_of(rows), plan.resolve(f"{view.name}:*"), as_of=as_of, evidence=evidence)


def assert_as_brute_force(
    view: View, log: LogSnapshot, events: Sequence[Event], rows: Sequence[Row], as_of: str
) -> None:
    found = join(view, log, rows, as_of)
    for feature in view.features:
        values = found.column(f"{view.name}__{feature.name}").to_pylist()
        for number, row in enumerate(rows):
            wanted = brute_force(feature, view.join_keys, events, row, as_of)
            where = f"{feature.function}({feature.column}) over {feature.window_us}/{feature.slide_us}, row {number} {row}, as of {as_of}"
            assert same(values[number], wanted), f"{where}: {values[number]!r}, not {wanted!r}"


def same(found: Any, wanted: Any) -> bool:
    if isinstance(found, float) and isinstance(wanted, int | float) and not isinstance(wanted, bool):
        if math.isnan(wanted):
            return math.isnan(found)
        return found == wanted or math.isclose(found, wanted, rel_tol=1e-9)
    return found == wanted and isinstance(found, bool) == isinstance(wanted, bool)


DELAYS = st.sampled_from([0, 0, 0, 0, 1, 3, 17, 60, 1000, -1, -5, -30])
WINDOWS = st.sampled_from([(1, 1), (9, 1), (7, 7), (30, 10), (60, 15), (500, 5), None])


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Event], list[Row]]:
    cities, zones = st.sampled_from(["a", "b", "ž\u0301 '\"", ""]), st.sampled_from([1, 2])
    floats = st.one_of(
        st.sampled_from([0.0, 0.1, 0.2, -7.5, 1e-300, 5e-324, 1e300, -1e300, 1e16]),
        st.floats(-1e6, 1e6),
        st.sampled_from([math.nan, math.inf, -math.inf]) if draw(st.booleans()) else st.nothing(),
    )
    offsets = [0, 0, 0]
    events = []
    for _ in range(draw(st.integers(0, 25))):
        partition = draw(st.integers(0, 2))
        offsets[partition] += draw(st.integers(1, 3))
        ts = draw(st.integers(-60, 120))
        event = ride(
            ts,
            offsets[partition],
            partition=partition,
            known_at=ts + draw(DELAYS),
            city=draw(st.none() | cities),
            zone=draw(zones),
            seats=draw(st.none() | st.integers(-9, 9) | st.integers(-(2**57), 2**57)),
            price=draw(st.none() | floats),
            shared=draw(st.none() | st.booleans()),
            driver=draw(st.none() | st.sampled_from(["x", "y", ""])),
        )
        events.append(event)
    applied = st.dictionaries(st.integers(0, 2), st.integers(-1, 30))
    row = st.builds(
        Row,
        st.integers(-80, 1200) | st.integers(-80, 160),
        st.fixed_dictionaries({"city": cities, "zone": zones}),
        applied,
    )
    return events, draw(st.lists(row, min_size=1, max_size=12))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    history=histories(),
    windows=st.lists(WINDOWS, min_size=1, max_size=2, unique=True),
    settle_us=st.sampled_from([None, 0, 2, 20, 2000]),
    composite=st.booleans(),
)
def test_every_aggregate_is_what_brute_force_finds(
    log_of: LogOf,
    history: tuple[list[Event], list[Row]],
    windows: list[tuple[int, int] | None],
    settle_us: int | None,
    composite: bool,
) -> None:
    events, rows = history
    view = view_of(*windows, entities=("city", "zone") if composite else ("city",))
    log = log_of(SOURCE, events)
    for as_of in ("known", "event", "evidence"):
        if settle_us is None or as_of != "known":
            assert_as_brute_force(view, log, events, rows, as_of)
        else:  # how long the frame waits changes how an answer is found, never the answer
            with patch("headrace.history.join._delays", return_value=Delays(settle_us, gaps=True)):
                assert_as_brute_force(view, log, events, rows, as_of)
