from __future__ import annotations

import subprocess
import sys

import pytest

from headrace.history import join_plan
from headrace.history.join_plan import AsOf, Group, JoinPlan, State, StateKind, TimeBounds, plan_joins
from headrace.plan import Column, DType, Feature, FeatureRef, Plan, Source, View

HOUR = 3_600_000_000


def feature(
    name: str, function: str, column: str, window_us: int | None = None, slide_us: int | None = None
) -> Feature:
    return Feature(
        name=name, function=function, column=column, window_us=window_us, slide_us=slide_us, dtype=DType.INT64
    )


def plan_of(*features: Feature) -> Plan:
    columns = (Column(name="user", dtype=DType.STRING), Column(name="x", dtype=DType.INT64))
    source = Source(name="s", topic="s", model="m:M", key=None, timestamp_field="at", columns=columns)
    view = View(name="v", source="s", entities=columns[:1], features=features)
    return Plan(project="p", sources={"s": source}, views={"v": view})


def test_features_of_one_window_share_a_group_and_states() -> None:
    plan = plan_of(
        feature("n", "count", "*", HOUR, 1),
        feature("mean", "mean", "x", HOUR, 1),
        feature("sum", "sum", "x", HOUR, 1),
        feature("other_slide", "sum", "x", HOUR, 60),
        feature("ever", "last", "x"),
    )
    (found,) = plan_joins(plan, plan.resolve("v:*"), AsOf.KNOWN)
    assert [(g.number, g.window_us, g.slide_us, len(g.features)) for g in found.groups] == [
        (1, HOUR, 1, 3),
        (2, HOUR, 60, 1),
        (3, None, None, 1),
    ]
    assert found.groups[0].states == (State(StateKind.ROWS), State(StateKind.SUM, "x"), State(StateKind.COUNT, "x"))
    assert found.columns == ("x",)
    assert found.needs_order


def test_features_keep_the_order_asked_for() -> None:
    plan = plan_of(feature("a", "count", "*", HOUR, 1), feature("b", "count", "*"), feature("c", "count", "*", HOUR, 1))
    (found,) = plan_joins(plan, [FeatureRef(view="v", feature=name) for name in ("c", "b", "a")], AsOf.KNOWN)
    assert [one.name for one in found.features] == ["c", "b", "a"]
    assert not found.needs_order


@pytest.mark.parametrize(("as_of", "until_us"), [(AsOf.KNOWN, 119), (AsOf.EVIDENCE, 119), (AsOf.EVENT, 112)])
def test_bounds_reach_from_where_the_first_window_opens_to_where_the_last_tile_ends(as_of: AsOf, until_us: int) -> None:
    #  slide 10, window 30, first moment 57 (tile 50–60), last moment 112 (tile 110–120)
    assert Group(number=1, window_us=30, slide_us=10).bounds(57, 112, as_of) == TimeBounds(30, until_us)


def test_bounds_floor_before_1970() -> None:
    assert Group(number=1, window_us=30, slide_us=10).bounds(-57, -52, AsOf.KNOWN) == TimeBounds(-80, -51)


def test_lifetime_reaches_all_of_time() -> None:
    assert Group(number=1, window_us=None, slide_us=None).bounds(57, 112, AsOf.KNOWN) == TimeBounds(None, None)
    assert Group(number=1, window_us=None, slide_us=None).bounds(57, 112, AsOf.EVENT) == TimeBounds(None, 112)


def test_one_lifetime_makes_the_whole_view_reach_all_of_time() -> None:
    plan = plan_of(feature("a", "count", "*", 30, 10), feature("b", "count", "*"))
    for as_of, until_us in ((AsOf.KNOWN, None), (AsOf.EVENT, 112)):
        (found,) = plan_joins(plan, plan.resolve("v:*"), as_of)
        assert found.bounds(57, 112) == TimeBounds(None, until_us)


def test_widest_window_decides() -> None:
    plan = plan_of(feature("a", "count", "*", 30, 10), feature("b", "count", "*", 100, 100))
    (found,) = plan_joins(plan, plan.resolve("v:*"), AsOf.KNOWN)
    assert found.bounds(157, 157) == TimeBounds(100, 199)


def test_plan_is_json() -> None:
    plan = plan_of(feature("a", "mean", "x", 30, 10), feature("b", "first", "x"))
    (found,) = plan_joins(plan, plan.resolve("v:*"), AsOf.EVIDENCE)
    assert [len(found.groups), len(found.gathered)] == [1, 1]
    assert JoinPlan.model_validate_json(found.model_dump_json()) == found


def test_plan_imports_no_engine() -> None:
    code = f"""
import runpy, sys
runpy.run_path({join_plan.__file__!r})
assert not {{"numpy", "pyarrow", "duckdb"}} & set(sys.modules), "an engine was imported"
"""
    subprocess.run([sys.executable, "-c", code], check=True)
