"""Orders of shops, a plan with every kind of window over them, and stores and clients of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from headrace.config import Clock
from headrace.errors import StoreUnavailableError
from headrace.events.event_batch import EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.lookup import FeatureClient
from headrace.plan import Column, DType, Feature, Plan, Source, View
from headrace.stores import CatalogueChange, Position, RecordKey
from headrace.stores.base import NOTHING
from headrace.stores.memory import MemoryStore

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SOURCE = Source(
    name="orders",
    topic="orders",
    model="events:Order",
    key="shop",
    timestamp_field="at",
    columns=(
        Column(name="shop", dtype=DType.STRING, nullable=True),
        Column(name="at", dtype=DType.TIMESTAMP, nullable=False),
        Column(name="price", dtype=DType.FLOAT64),
        Column(name="pieces", dtype=DType.INT64),
        Column(name="gift", dtype=DType.BOOL),
        Column(name="note", dtype=DType.STRING),
    ),
)
SHAPES: dict[str, tuple[int | None, int | None]] = {
    "sliding": (60, 10),
    "tumbling": (30, 30),
    "exact": (25, 1),
    "lifetime": (None, None),
}
FUNCTIONS = [
    ("count", "*", DType.INT64),
    ("count", "price", DType.INT64),
    ("sum", "pieces", DType.INT64),
    ("sum", "price", DType.FLOAT64),
    ("mean", "gift", DType.FLOAT64),
    ("mean", "price", DType.FLOAT64),
    ("min", "price", DType.FLOAT64),
    ("max", "price", DType.FLOAT64),
    ("max", "pieces", DType.INT64),
    ("min", "at", DType.TIMESTAMP),
    ("last", "note", DType.STRING),
    ("last", "gift", DType.BOOL),
]
VIEW = View(
    name="shop_orders",
    source="orders",
    entities=(Column(name="shop", dtype=DType.STRING, nullable=False),),
    features=tuple(
        Feature(
            name=f"{function}_{column.replace('*', 'all')}_{shape}",
            function=function,
            column=column,
            window_us=w,
            slide_us=s,
            dtype=d,
        )
        for shape, (w, s) in SHAPES.items()
        for function, column, d in FUNCTIONS
    ),
)
PLAN = Plan(project="shop", sources={"orders": SOURCE}, views={VIEW.name: VIEW})


@dataclass(frozen=True)
class Order:
    shop: str | None
    at: int
    known: int
    price: float | None
    pieces: int | None
    gift: bool | None
    note: str | None
    partition: int
    offset: int


def batch_of(orders: list[Order]) -> EventBatch:
    table = pa.table(
        {
            "shop": pa.array([o.shop for o in orders], pa.string()),
            "at": pa.array([o.at for o in orders], pa.int64()).cast(pa.timestamp("us", "UTC")),
            "price": pa.array([o.price for o in orders], pa.float64()),
            "pieces": pa.array([o.pieces for o in orders], pa.int64()),
            "gift": pa.array([o.gift for o in orders], pa.bool_()),
            "note": pa.array([o.note for o in orders], pa.string()),
        }
    )

    def ints(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([getattr(o, name) for o in orders], np.int64)

    return EventBatch(SOURCE, table, ints("at"), ints("partition"), ints("offset"), ints("known"), ints("known"))


def positions_of(orders: list[Order]) -> dict[SourcePartition, Position]:
    return {
        SourcePartition("orders", o.partition): Position(o.offset, o.known, o.at)
        for o in sorted(orders, key=lambda o: o.offset)
    }


class SoleStore(MemoryStore):
    """A store that nobody else writes, so the applier caches its records.

    Some of its commits fail, before or after they were written.
    """

    failing = ""

    def __init__(self) -> None:
        super().__init__()
        self.now = object()
        self.reads = 0

    def epoch(self) -> object:
        return self.now

    def read(self, keys: Sequence[RecordKey], keep_us: int = 0) -> list[bytes | None]:
        self.reads += len(keys)
        return super().read(keys, keep_us)

    def commit(
        self, writes: Any, positions: Any, required: Any = NOTHING, epoch: Any = None, *, at_once: bool = True
    ) -> None:
        failing, self.failing = self.failing, ""
        reads = self.reads
        if failing != "before":
            super().commit(writes, positions, required, epoch, at_once=at_once)
        self.reads = reads  # the twin's own look does not count
        if failing:
            msg = "Away."
            raise StoreUnavailableError(msg)


def new_store(kind: type[MemoryStore] = MemoryStore) -> MemoryStore:
    store = kind()
    store.change(CatalogueChange().clock(Clock.RECORD).serve([VIEW]))
    return store


def client_of(store: MemoryStore) -> FeatureClient:
    return FeatureClient(plan=PLAN, store=store)


def order(offset: int, at: int, **changes: Any) -> Order:
    fields: dict[str, Any] = {
        "shop": "a",
        "at": at,
        "known": at,
        "price": 1.0,
        "pieces": 1,
        "gift": True,
        "note": "x",
        "partition": 0,
    }
    return Order(**{**fields, **changes}, offset=offset)
