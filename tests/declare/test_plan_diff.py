"""What an apply would change, told so that one can decide."""

from __future__ import annotations

import json

from headrace.declare.plan_diff import PlanDiff, compare
from headrace.plan import Column, DType, Feature, FeatureRef, Plan, Source, View

HOUR = 3_600_000_000

SOURCE = Source(
    name="orders",
    topic="orders",
    model="events:Order",
    key="customer",
    timestamp_field="at",
    columns=(
        Column(name="customer", dtype=DType.STRING, nullable=False),
        Column(name="at", dtype=DType.TIMESTAMP, nullable=False),
        Column(name="price", dtype=DType.FLOAT64, nullable=False),
    ),
)
TOTAL = Feature(name="total", function="sum", column="price", window_us=HOUR, slide_us=HOUR // 60, dtype=DType.FLOAT64)
LAST = Feature(name="last", function="last", column="price", window_us=None, slide_us=None, dtype=DType.FLOAT64)
VIEW = View(name="spending", source="orders", entities=(SOURCE.columns[0],), features=(TOTAL, LAST))
PLAN = Plan(
    project="shop",
    sources={"orders": SOURCE},
    views={"spending": VIEW},
    services={"model": (FeatureRef(view="spending", feature="total"), FeatureRef(view="spending", feature="last"))},
)


def plan_with(**changes: object) -> Plan:
    return Plan.model_validate({**PLAN.model_dump(), **changes})


def view_with(**changes: object) -> View:
    return View.model_validate({**VIEW.model_dump(), **changes})


def told(diff: PlanDiff) -> list[tuple[str, str, str, tuple[str, ...]]]:
    return [(change.kind, change.name, change.action, change.details) for change in diff.changes]


def test_against_no_plan_everything_is_added() -> None:
    diff = compare(None, PLAN)
    assert told(diff) == [
        ("source", "orders", "added", ("topic orders, events:Order",)),
        ("view", "spending", "added", ("by customer from orders: total, last",)),
        ("service", "model", "added", ("2 features",)),
    ]
    assert (diff.old_hash, diff.new_hash, diff.replaced_views) == (None, PLAN.hash, ())


def test_the_same_plan_is_no_difference() -> None:
    diff = compare(PLAN, PLAN.model_copy(deep=True))
    assert not diff
    assert diff.old_hash == diff.new_hash


def test_what_is_gone_is_removed() -> None:
    diff = compare(PLAN, Plan(project="shop", sources={}, views={}))
    assert [change[:3] for change in told(diff)] == [
        ("source", "orders", "removed"),
        ("view", "spending", "removed"),
        ("service", "model", "removed"),
    ]


def test_a_changed_view_tells_its_features() -> None:
    slower = TOTAL.model_copy(update={"window_us": 24 * HOUR})
    count = Feature(name="count", function="count", column="*", window_us=HOUR, slide_us=HOUR, dtype=DType.INT64)
    diff = compare(PLAN, plan_with(views={"spending": view_with(features=(slower, count))}))
    assert told(diff) == [
        ("view", "spending", "changed", ()),
        ("feature", "spending:count", "added", ("count(*) 1h by 1h: int64",)),
        ("feature", "spending:last", "removed", ()),
        ("feature", "spending:total", "changed", ("sum(price) 1h by 1m: float64 → sum(price) 1d by 1m: float64",)),
    ]
    assert diff.replaced_views == ("spending",)


def test_a_changed_view_tells_its_keys_and_source() -> None:
    shop = Column(name="shop", dtype=DType.INT64, nullable=True)
    view = view_with(entities=(shop,), source="sales")
    assert told(compare(PLAN, plan_with(views={"spending": view})))[0] == (
        "view",
        "spending",
        "changed",
        ("source: orders → sales", "keys: customer (string) → shop (int64 | None)"),
    )


def test_features_in_another_order_are_another_view() -> None:
    view = view_with(features=(LAST, TOTAL))
    diff = compare(PLAN, plan_with(views={"spending": view}))
    assert told(diff) == [("view", "spending", "changed", ("features in another order",))]
    assert diff.replaced_views == ("spending",)


def test_a_changed_source_tells_its_settings_and_fields() -> None:
    source = SOURCE.model_copy(
        update={
            "topic": "sales",
            "key": None,
            "max_future_us": 60_000_000,
            "columns": (
                SOURCE.columns[0],
                SOURCE.columns[1],
                Column(name="price", dtype=DType.INT64, nullable=True),
                Column(name="items", dtype=DType.INT64),
            ),
        }
    )
    assert told(compare(PLAN, plan_with(sources={"orders": source}))) == [
        (
            "source",
            "orders",
            "changed",
            (
                "topic: orders → sales",
                "key: customer → None",
                "max_future: 1h → 1m",
                "field items added",
                "field price: float64 → int64 | None",
            ),
        )
    ]
    fewer = SOURCE.model_copy(update={"columns": SOURCE.columns[:2]})
    assert told(compare(PLAN, plan_with(sources={"orders": fewer})))[0][3] == ("field price removed",)


def test_a_changed_service_tells_its_features() -> None:
    total, last = PLAN.services["model"]
    other = FeatureRef(view="spending", feature="count")
    assert told(compare(PLAN, plan_with(services={"model": (total, other)}))) == [
        ("service", "model", "changed", ("spending:count added", "spending:last removed"))
    ]
    assert told(compare(PLAN, plan_with(services={"model": (last, total)}))) == [
        ("service", "model", "changed", ("features in another order",))
    ]


def test_a_difference_is_json() -> None:
    body = json.loads(json.dumps(compare(None, PLAN, note="It was damaged.").to_dict()))
    assert body["old_hash"] is None
    assert body["note"] == "It was damaged."
    assert body["changes"][0] == {
        "kind": "source",
        "name": "orders",
        "action": "added",
        "details": ["topic orders, events:Order"],
    }
