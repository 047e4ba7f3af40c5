"""A plan with one of everything."""

from __future__ import annotations

from typing import Any

from headrace.plan import Column, DType, Feature, FeatureRef, Plan, Source, View

HOUR_US = 3_600_000_000

_COUNT = Feature(
    name="count_1h", function="count", column="*", window_us=HOUR_US, slide_us=60_000_000, dtype=DType.INT64
)
_LAST = Feature(name="last_price", function="last", column="price", window_us=None, slide_us=None, dtype=DType.FLOAT64)
_SHOP = Column(name="shop", dtype=DType.STRING, nullable=False)
_REGION = Column(name="region", dtype=DType.INT64)
_AT = Column(name="at", dtype=DType.TIMESTAMP, nullable=False)
_ORDERS = Source(
    name="orders",
    topic="orders-topic",
    model="events:Order",
    key="shop",
    timestamp_field="at",
    columns=(_SHOP, _REGION, _AT, Column(name="price", dtype=DType.FLOAT64)),
)


def _view(name: str, entities: tuple[Column, ...], features: tuple[Feature, ...]) -> View:
    return View(name=name, source="orders", entities=entities, features=features, input=_ORDERS.input_of(features))


PLAN = Plan(
    project="shop",
    sources={
        "orders": _ORDERS,
        "refunds": Source(
            name="refunds",
            topic="refunds-topic",
            model="events:Refund",
            key=None,
            timestamp_field="at",
            columns=(_AT,),
            max_future_us=0,
        ),
    },
    views={
        "shops": _view("shops", (_SHOP, _REGION), (_COUNT, _LAST)),
        "buyers": _view("buyers", (_REGION,), (_COUNT,)),
    },
    services={
        "desk": (FeatureRef(view="buyers", feature="count_1h"), FeatureRef(view="shops", feature="last_price")),
        "empty": (),
    },
)


def body() -> dict[str, Any]:
    """The plan as JSON, to change."""
    return PLAN.model_dump(mode="json")
