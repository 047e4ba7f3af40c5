"""A shop's orders and refunds in a store, and a client to look them up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from headrace.config import Clock
from headrace.events.event_batch import ARROW_TYPES, EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.lookup import FeatureClient
from headrace.plan import Column, DType, Feature, FeatureRef, Plan, Source, View
from headrace.records.applier import Applier
from headrace.stores import CatalogueChange, OnlineStore, Position, open_store
from headrace.stores.memory import MemoryStore

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
DTYPES = {
    "at": DType.TIMESTAMP,
    "shop": DType.STRING,
    "buyer": DType.INT64,
    "member": DType.BOOL,
    "day": DType.TIMESTAMP,
    "price": DType.FLOAT64,
    "pieces": DType.INT64,
    "gift": DType.BOOL,
    "note": DType.STRING,
}


def _source(name: str) -> Source:
    columns = tuple(Column(name=column, dtype=dtype) for column, dtype in DTYPES.items())
    return Source(name=name, topic=f"{name}-topic", model="m:M", key=None, timestamp_field="at", columns=columns)


def _view(name: str, keys: list[str], features: list[tuple[str, str, str, int | None, int | None, DType]]) -> View:
    fields = ("name", "function", "column", "window_us", "slide_us", "dtype")
    return View(
        name=name,
        source="refunds" if name == "refunds" else "orders",
        entities=tuple(Column(name=key, dtype=DTYPES[key], nullable=False) for key in keys),
        features=tuple(Feature(**dict(zip(fields, feature, strict=True))) for feature in features),
    )


COUNT_60 = ("count_60", "count", "*", 60, 10, DType.INT64)
VIEWS = [
    _view(
        "shops",
        ["shop"],
        [
            COUNT_60,
            ("mean_price_60", "mean", "price", 60, 10, DType.FLOAT64),
            ("pieces_ever", "sum", "pieces", None, None, DType.INT64),
            ("max_pieces_60", "max", "pieces", 60, 10, DType.INT64),
            ("last_note", "last", "note", None, None, DType.STRING),
            ("last_gift", "last", "gift", None, None, DType.BOOL),
            ("newest", "max", "at", None, None, DType.TIMESTAMP),
            ("exact_5", "count", "*", 5, 1, DType.INT64),
        ],
    ),
    _view("windows", ["shop"], [COUNT_60, ("max_price_60", "max", "price", 60, 10, DType.FLOAT64)]),
    _view("buyers", ["buyer"], [COUNT_60]),
    _view("pairs", ["shop", "buyer"], [COUNT_60]),
    _view("members", ["member"], [COUNT_60]),
    _view("days", ["day"], [COUNT_60]),
    _view("refunds", ["shop"], [("refunds_ever", "count", "*", None, None, DType.INT64)]),
]


def _refs(*names: str) -> tuple[FeatureRef, ...]:
    return tuple(FeatureRef(view=name.split(":")[0], feature=name.split(":")[1]) for name in names)


PLAN = Plan(
    project="shop",
    sources={"orders": _source("orders"), "refunds": _source("refunds")},
    views={view.name: view for view in VIEWS},
    services={"desk": _refs("refunds:refunds_ever", "shops:count_60", "pairs:count_60")},
)


def at(us: int) -> datetime:
    return EPOCH + timedelta(microseconds=us)


def fill(
    store: OnlineStore,
    *events: Mapping[str, Any],
    source: str = "orders",
    partition: int = 0,
    first: int = 0,
    now: int | None = None,
    plan: Plan = PLAN,
) -> None:
    """Apply a fetch of one partition, its offsets counting from `first`.

    `at` and `known` are in µs; `known` is `at` by default.
    """
    n = len(events)

    def ints(values: list[int]) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        return np.array(values, np.int64)

    ts, known = ints([event["at"] for event in events]), ints([event.get("known", event["at"]) for event in events])
    table = pa.table(
        {name: pa.array([event.get(name) for event in events], ARROW_TYPES[dtype]) for name, dtype in DTYPES.items()}
    )
    declared = PLAN.sources[source]
    batch = EventBatch(declared, table, ts, ints([partition] * n), np.arange(first, first + n), known, known)
    position = Position(first + n - 1, int(known.max()), int(ts.max()))
    Applier(plan, store).apply([batch], {SourcePartition(declared.topic, partition): position}, now)


def order(us: int, **more: Any) -> dict[str, Any]:
    return {"at": us, "shop": "a", "buyer": 7, "member": True, "day": EPOCH, "price": 1.0, "pieces": 1, **more}


def serving(plan: Plan = PLAN, clock: Clock = Clock.RECORD) -> CatalogueChange:
    """What a worker writes that starts with an empty log."""
    return CatalogueChange().clock(clock).serve(plan.views.values())


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnlineStore]:
    """An empty store that belongs to the plan, on the record clock."""
    made = MemoryStore() if request.param == "memory" else open_store(f"lmdb:{tmp_path / 'online'}", writable=True)
    with made as opened:
        opened.change(serving())
        yield opened


@pytest.fixture
def client(store: OnlineStore) -> FeatureClient:
    return FeatureClient(plan=PLAN, store=store)
