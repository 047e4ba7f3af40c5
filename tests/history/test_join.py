from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from headrace.aggregates import AGGREGATES as AGGREGATE_KINDS
from headrace.aggregates import Problem
from headrace.aggregates.sum import Sum
from headrace.errors import PlanError
from headrace.history import PointInTimeJoin
from headrace.history.limits import Limits
from headrace.plan import DType, Feature, View
from tests.examples import few_and_many
from tests.history.conftest import LogOf
from tests.history.oracle import Event, Row
from tests.history.rides import (
    DAY,
    SOURCE,
    assert_as_brute_force,
    counted,
    join,
    plan_of,
    ride,
    same,
    spine_of,
    view_of,
)

DELAYS = st.sampled_from([0, 0, 0, 0, 1, 3, 17, 60, 1000, -1, -5, -30])
LIMITS = st.builds(
    Limits,
    pairs=st.sampled_from([2, 1_000_000]),
    dense=st.sampled_from([0, 4]),
    settle_us=st.sampled_from([None, 0, 2, 20, 2000]),
    displaced=st.sampled_from([None, 0, 2]),
)
"""How an answer is found; never the answer."""

EXAMPLES = few_and_many(3, 20)

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
    for _ in range(draw(st.integers(0, 40))):
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
            born=draw(st.none() | st.dates()),
        )
        events.append(event)
    applied = st.dictionaries(st.integers(0, 2), st.integers(-1, 40))
    row = st.builds(
        Row,
        st.integers(-80, 1200) | st.integers(-80, 160),
        st.fixed_dictionaries({"city": cities, "zone": zones}),
        applied,
    )
    return events, draw(st.lists(row, min_size=1, max_size=25))


@EXAMPLES
def test_every_aggregate_is_what_brute_force_finds(log_of: LogOf, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        history=histories(),
        windows=st.lists(WINDOWS, min_size=1, max_size=2, unique=True),
        limits=LIMITS,
        composite=st.booleans(),
    )
    def check(
        history: tuple[list[Event], list[Row]],
        windows: list[tuple[int, int] | None],
        limits: Limits,
        composite: bool,
    ) -> None:
        events, rows = history
        view = view_of(*windows, entities=("city", "zone") if composite else ("city",))
        log = log_of(SOURCE, events)
        for as_of in ("known", "event", "evidence"):
            assert_as_brute_force(view, log, events, rows, as_of, limits)

    check()


@EXAMPLES
def test_filters_and_offsets_are_what_brute_force_finds(log_of: LogOf, examples: int) -> None:
    @settings(max_examples=examples, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        history=histories(),
        windows=st.lists(WINDOWS, min_size=1, max_size=2, unique=True),
        lag=st.integers(0, 3),
        limits=LIMITS,
    )
    def check(
        history: tuple[list[Event], list[Row]], windows: list[tuple[int, int] | None], lag: int, limits: Limits
    ) -> None:
        events, rows = history
        plain = view_of(*windows, entities=("city",))
        features = tuple(
            one.model_copy(update={"where": "shared" if number % 2 else None, "offset_us": lag * (one.slide_us or 0)})
            for number, one in enumerate(plain.features)
        )
        view = plain.model_copy(update={"features": features})
        log = log_of(SOURCE, events)
        for as_of in ("known", "event", "evidence"):
            assert_as_brute_force(view, log, events, rows, as_of, limits)

    check()


@pytest.mark.parametrize("as_of", ["known", "event"])
def test_gathering_by_blocks_is_gathering_event_by_event(log_of: LogOf, as_of: str) -> None:
    random = Random(as_of)
    events = []
    for offset in range(200):
        ts, late = random.randrange(-50, 300), random.choice([0, 0, 0, 2, 5, 40, -7])
        events.append(ride(ts, offset, known_at=ts + late, city=random.choice("ab"), seats=random.randrange(9)))
    rows = [Row(t, {"city": city}) for t in range(-60, 340, 9) for city in "abc"]
    gathered = [("first", DType.INT64), ("count_distinct", DType.INT64), ("var_pop", DType.FLOAT64)]
    windows = ((100, 10), (None, None))
    features = tuple(
        Feature(
            name=f"{function}_{number}",
            function=function,
            column="seats",
            window_us=window,
            slide_us=slide,
            dtype=dtype,
            params=AGGREGATE_KINDS[function].parameters(()),
        )
        for number, (window, slide) in enumerate(windows)
        for function, dtype in gathered
    )
    view = View(name="rides", source="rides", entities=SOURCE.columns[:1], features=features)
    log = log_of(SOURCE, events)
    wanted = join(view, log, rows, as_of, Limits(dense=1_000_000))
    assert wanted.column("rides__first_1").to_pylist() == [_first(events, row, as_of) for row in rows]
    for dense, settle_us, pairs in ((0, 0, 1_000), (0, 5, 7), (2, 50, 1_000_000)):
        found = join(view, log, rows, as_of, Limits(dense=dense, gather_settle_us=settle_us, pairs=pairs))
        for name in wanted.column_names:
            for one, other in zip(found.column(name).to_pylist(), wanted.column(name).to_pylist(), strict=True):
                assert same(one, other), name


def _first(events: Sequence[Event], row: Row, as_of: str) -> Any:
    counted = [
        e
        for e in events
        if e.values["city"] == row.keys["city"] and (e.ts if as_of == "event" else e.known_at) <= row.t
    ]
    return min(counted, key=lambda e: (e.ts, e.partition, e.offset)).values["seats"] if counted else None


@pytest.mark.parametrize("settle_us", [None, 0, 7, 60])
@pytest.mark.parametrize("windows", [((30, 10), (50, 1)), ((64, 64), (200, 25))])
def test_late_events_are_found_in_gaps_of_any_length(
    log_of: LogOf, windows: tuple[tuple[int, int], ...], settle_us: int | None
) -> None:
    random = Random(f"{windows} {settle_us}")
    events = []
    for offset in range(80):
        ts = random.randrange(-40, 220)
        late = random.choice([0, 0, random.randrange(1, 10), random.randrange(1, 150), -random.randrange(1, 30)])
        price, driver = random.choice([None, random.random()]), random.choice([None, str(offset)])
        events.append(ride(ts, offset, known_at=ts + late, city=random.choice("ab"), price=price, driver=driver))
    rows = [Row(t, {"city": city}) for t in range(-30, 290, 3) for city in "ab"]
    wanted = ("count_all", "sum_price", "min_price", "max_price", "last_driver")
    view = view_of(*windows, entities=("city",))
    chosen = tuple(one for one in view.features if one.name.rpartition("_")[0] in wanted)
    view = View(name="rides", source="rides", entities=view.entities, features=chosen)
    log = log_of(SOURCE, events)
    assert_as_brute_force(view, log, events, rows, "known", Limits(settle_us=settle_us))


def test_window_slides_by_its_slide(log_of: LogOf) -> None:
    #   slide 10, window 30: at 39 the tiles from 10 to 40 count, at 40 those from 20 to 50
    #   ───┬─────────┬─────────┬──────┬──┬─────────┬────▶
    #     10        20        30     38 40        60
    #      e1                         e2, known at 31 already
    events = [ride(10, 0), ride(38, 1, known_at=31)]
    view = View(name="rides", source="rides", entities=SOURCE.columns[:1], features=(counted("n", 30, 10),))
    rows = [Row(t, {"city": "a"}) for t in (9, 10, 30, 31, 39, 40, 59, 60)]
    assert join(view, log_of(SOURCE, events), rows).column(0).to_pylist() == [0, 1, 1, 2, 2, 1, 1, 0]


def test_late_event_counts_from_when_it_was_known(log_of: LogOf) -> None:
    events = [ride(10, 0, known_at=15, price=1.0, driver="x"), ride(12, 1, price=2.0, driver="y")]
    view = view_of((100, 10), None, entities=("city",))
    found = join(view, log_of(SOURCE, events), [Row(t, {"city": "a"}) for t in (12, 14, 15)])
    assert found.column("rides__sum_price_0").to_pylist() == [2.0, 2.0, 3.0]
    assert found.column("rides__min_price_0").to_pylist() == [2.0, 2.0, 1.0]
    assert found.column("rides__last_driver_0").to_pylist() == ["y", "y", "y"]
    assert found.column("rides__min_price_1").to_pylist() == [2.0, 2.0, 1.0]


def test_event_known_after_its_window_never_counts(log_of: LogOf) -> None:
    view = view_of((10, 10), entities=("city",))
    found = join(view, log_of(SOURCE, [ride(5, known_at=30)]), [Row(t, {"city": "a"}) for t in (5, 9, 30, 31)])
    assert found.column("rides__count_all_0").to_pylist() == [0, 0, 0, 0]


def test_entity_never_seen_reads_zeros_and_nulls(log_of: LogOf) -> None:
    view = view_of((10, 10), None, entities=("city",))
    found = join(view, log_of(SOURCE, [ride(5)]), [Row(6, {"city": "elsewhere"})]).to_pylist()[0]
    for feature in view.features:
        nothing = 0 if feature.function in ("count", "sum") else None
        assert found[f"rides__{feature.name}"] == nothing


@pytest.mark.parametrize("as_of", ["known", "event", "evidence"])
def test_log_without_files_reads_zeros_and_nulls(log_of: LogOf, as_of: str) -> None:
    view = view_of((10, 10), None)
    found = join(view, log_of(SOURCE, []), [Row(6, {"city": "a", "zone": 1}, {0: 5})], as_of)
    assert found.column("rides__count_all_0").to_pylist() == [0]
    assert found.column("rides__last_at_1").to_pylist() == [None]
    assert (
        found.schema == join(view, log_of(SOURCE, [ride(5)]), [Row(6, {"city": "a", "zone": 1}, {0: 5})], as_of).schema
    )


def test_empty_spine_gives_typed_empty_columns(log_of: LogOf) -> None:
    found = join(view_of(None), log_of(SOURCE, [ride(5)]), [Row(6, {"city": "a", "zone": 1})]).schema
    plan = plan_of(view_of(None))
    spine = spine_of([Row(6, {"city": "a", "zone": 1})]).slice(0, 0)
    empty = PointInTimeJoin(plan, {"rides": log_of(SOURCE, [])}).join(spine, plan.resolve("rides:*")).table
    assert empty.schema == found
    assert empty.num_rows == 0


def test_rows_come_in_the_order_of_the_spine(log_of: LogOf) -> None:
    events = [ride(ts, ts) for ts in range(100)]
    rows = [Row(t, {"city": "a"}) for t in (70, 3, 3, 99, 0)]
    view = View(name="rides", source="rides", entities=SOURCE.columns[:1], features=(counted("n", 1000, 1000),))
    assert join(view, log_of(SOURCE, events), rows).column(0).to_pylist() == [71, 4, 4, 100, 1]


def test_only_files_of_dates_in_reach_are_read(log_of: LogOf) -> None:
    events = [ride(day * DAY + 5, day) for day in range(10)]
    log = log_of(SOURCE, events)
    view = View(name="rides", source="rides", entities=SOURCE.columns[:1], features=(counted("n", 2 * DAY, DAY // 4),))
    gone = {file.path for file in log.files if file.date.day not in (4, 5, 6)}
    kept = tuple(replace(file, path="/nowhere" if file.path in gone else file.path) for file in log.files)
    found = join(view, replace(log, files=kept), [Row(5 * DAY + 5, {"city": "a"})])
    assert found.column(0).to_pylist() == [2]


def test_order_of_last_is_time_then_partition_then_offset(log_of: LogOf) -> None:
    events = [
        ride(5, 9, partition=0, driver="early offset, low partition"),
        ride(5, 3, partition=1, driver="first of partition 1"),
        ride(5, 4, partition=1, driver="last"),
        ride(5, 5, partition=1, driver=None),
        ride(4, 6, partition=2, driver="earlier"),
    ]
    found = join(view_of((10, 10), None, entities=("city",)), log_of(SOURCE, events), [Row(6, {"city": "a"})])
    assert found.column("rides__last_driver_0").to_pylist() == ["last"]
    assert found.column("rides__last_driver_1").to_pylist() == ["last"]


@pytest.mark.parametrize("as_of", ["known", "event", "evidence"])
def test_sum_of_integers_past_64_bits_is_null_alone(log_of: LogOf, as_of: str) -> None:
    events = [ride(5, 0, seats=2**62), ride(6, 1, seats=2**62)]
    view = view_of((10, 10), entities=("city",))
    rows = [Row(5, {"city": "a"}, {0: 0}), Row(7, {"city": "a"}, {0: 1}), Row(7, {"city": "b"})]
    evidence = [{view.name: row.applied} for row in rows] if as_of == "evidence" else None
    plan = plan_of(view)
    engine = PointInTimeJoin(plan, {"rides": log_of(SOURCE, events)}, threads=1)
    found = engine.join(spine_of(rows), plan.resolve(f"{view.name}:*"), as_of=as_of, evidence=evidence)
    assert found.table.column("rides__sum_seats_0").to_pylist() == [2**62, None, 0]
    assert found.table.column("rides__mean_seats_0").to_pylist() == [2.0**62, 2.0**62, None]
    assert found.problems == [Problem(1, "rides__sum_seats_0", str(Sum.null_reason))]
    # In parts from disk, rows keep their places.
    parts = PointInTimeJoin(plan, {"rides": log_of(SOURCE, events)}, threads=1, limits=Limits(parts=3))
    again = parts.join(spine_of(rows), plan.resolve(f"{view.name}:*"), as_of=as_of, evidence=evidence)
    assert again.problems == found.problems
    assert again.table.equals(found.table)


def test_sum_of_integers_at_the_edge_of_64_bits_is_exact(log_of: LogOf) -> None:
    events = [ride(5, 0, seats=2**62), ride(6, 1, seats=2**62 - 1), ride(7, 2, seats=-(2**63))]
    view = view_of((10, 10), entities=("city",))
    found = join(view, log_of(SOURCE, events), [Row(t, {"city": "a"}) for t in (6, 7)])
    assert found.column("rides__sum_seats_0").to_pylist() == [2**63 - 1, -1]


def test_small_values_are_exact_beside_huge_ones(log_of: LogOf) -> None:
    prices = [1e300, 1e-300, 0.1, 0.2]
    events = [ride(10 * number, number, price=price) for number, price in enumerate(prices)]
    view = view_of((1, 1), (20, 10), entities=("city",))
    found = join(view, log_of(SOURCE, events), [Row(t, {"city": "a"}) for t in (0, 10, 20, 30)])
    assert found.column("rides__sum_price_0").to_pylist() == prices
    assert found.column("rides__sum_price_1").to_pylist() == [1e300, 1e300, 0.1, 0.1 + 0.2]


def test_function_of_another_version_is_refused(log_of: LogOf) -> None:
    feature = Feature(name="a", function="mode", column="seats", window_us=30, slide_us=10, dtype=DType.INT64)
    view = View(name="rides", source="rides", entities=SOURCE.columns[:1], features=(feature,))
    with pytest.raises(PlanError, match="version does not know: mode"):
        join(view, log_of(SOURCE, []), [Row(6, {"city": "a"})])
