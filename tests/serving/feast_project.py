"""A Feast repo with stream, batch, push and on-demand views, applied and filled, and Feast beside it.

Its clock is that of the records: a lookup answers for the newest record, so that two lookups agree to the bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from headrace.batch.materialize import materialize_views
from headrace.config import Clock, Project
from headrace.declare import compile_repo
from headrace.declare.feast_import import quiet_feast
from headrace.events.event_batch import ARROW_TYPES, EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.plan import Plan, write_plan
from headrace.records.applier import Applier
from headrace.stores import CatalogueChange, OnlineStore, Position, open_store
from headrace.times import us_of

if TYPE_CHECKING:
    from feast import FeatureStore

NOW = datetime(2024, 5, 1, 12, tzinfo=UTC)

_EVENTS = """
from pydantic import AwareDatetime, BaseModel


class Order(BaseModel):
    shop: str
    at: AwareDatetime
    price: float | None
    pieces: int
    note: str | None
"""

_VIEWS = """
from datetime import timedelta

import pandas as pd
from events import Order
from feast import Aggregation, Entity, FeatureService, FeatureView, Field, FileSource, PushSource, RequestSource
from feast.on_demand_feature_view import on_demand_feature_view
from feast.types import Array, Bool, Float64, Int64, String, UnixTimestamp
from feast.value_type import ValueType

from headrace import aggregation, event_source, stream_view

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
shop = Entity(name="shop", join_keys=["shop"], value_type=ValueType.STRING)
driver = Entity(name="driver", join_keys=["driver_id"], value_type=ValueType.INT64)
city = Entity(name="city", join_keys=["city"], value_type=ValueType.STRING)

orders = event_source(name="orders", model=Order, topic="orders", key="shop", timestamp_field="at")
shop_orders = stream_view(
    name="shop_orders",
    source=orders,
    entities=[shop],
    aggregations=[
        aggregation("count", window=HOUR, slide=MINUTE, name="orders_1h"),
        aggregation("mean", "price", window=HOUR, slide=MINUTE, name="mean_price_1h"),
        aggregation("sum", "pieces", name="pieces_ever"),
        aggregation("last", "note", name="last_note"),
        aggregation("last_n(3)", "price", window=HOUR, slide=MINUTE, name="last_prices"),
        aggregation("max", "at", name="newest"),
    ],
)
shop_windows = stream_view(
    name="shop_windows",
    source=orders,
    entities=[shop],
    aggregations=[
        aggregation("count", window=HOUR, slide=MINUTE, name="orders"),
        aggregation("max", "price", window=HOUR, slide=MINUTE, name="highest"),
    ],
)

driver_stats = FeatureView(
    name="driver_stats",
    entities=[driver],
    ttl=timedelta(days=1),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="conv_rate", dtype=Float64),
        Field(name="trips", dtype=Int64),
        Field(name="name", dtype=String),
        Field(name="active", dtype=Bool),
        Field(name="since", dtype=UnixTimestamp),
        Field(name="scores", dtype=Array(Float64)),
        Field(name="tags", dtype=Array(String)),
    ],
    source=FileSource(
        name="driver_file", path="data/drivers", timestamp_field="at", created_timestamp_column="made_at"
    ),
)
driver_push = PushSource(
    name="driver_push",
    batch_source=FileSource(name="driver_area_file", path="data/areas", timestamp_field="event_timestamp"),
)
driver_areas = FeatureView(
    name="driver_areas",
    entities=[driver, city],
    ttl=timedelta(0),
    schema=[
        Field(name="driver_id", dtype=Int64),
        Field(name="city", dtype=String),
        Field(name="rides", dtype=Int64),
        Field(name="rating", dtype=Float64),
    ],
    source=driver_push,
)


@on_demand_feature_view(
    sources=[driver_stats, RequestSource(name="trip", schema=[Field(name="km", dtype=Float64)])],
    schema=[Field(name="score", dtype=Float64)],
    mode="python",
)
def trip_score(inputs):
    pairs = zip(inputs["conv_rate"], inputs["km"])
    return {"score": [None if rate is None else rate * km for rate, km in pairs]}


desk = FeatureService(name="desk", features=[shop_orders, driver_stats[["conv_rate", "trips"]]])
"""

_YAML = """
project: shop
provider: local
registry: data/registry.db
offline_store:
  type: dask
online_store:
{online}
entity_key_serialization_version: 3
"""
_REMOTE = "  type: remote\n  path: {url}"
_SQLITE = "  type: sqlite\n  path: {path}"

DRIVERS: dict[str, list[Any]] = {
    "driver_id": [1001, 1001, 1002, 1003, 2**62],
    "conv_rate": [0.25, 0.1 + 0.2, None, 0.5, -0.0],
    "trips": [1, 2**60 + 1, 7, 8, 0],
    "name": ["old", "Zoë", "", None, "z"],
    "active": [False, True, False, None, True],
    "since": [NOW - timedelta(days=days) for days in (1, 2, 3, 4, 5)],
    "scores": [[1.5], [1.5, 2.0], [0.1], None, [-1e300]],
    "tags": [["a"], ["b", "ü"], ["c"], None, ["d"]],
    "at": [NOW - timedelta(hours=hours) for hours in (9, 1, 2, 200, 3)],
    "made_at": [NOW - timedelta(hours=hours) for hours in (9, 1, 2, 200, 3)],
}
"""Of 1001 an old row and a new one; 1003's is older than the view's TTL. 1002 has a null."""

AREAS: dict[str, list[Any]] = {
    "driver_id": [1001, 1001, 1002],
    "city": ["Oslo", "Ulm", "Oslo"],
    "rides": [1, 2, 3],
    "rating": [0.5, None, 0.25],
    "event_timestamp": [NOW - timedelta(hours=1)] * 3,
}

DRIVER_TYPES = {
    "driver_id": pa.int64(),
    "conv_rate": pa.float64(),
    "trips": pa.int64(),
    "name": pa.string(),
    "active": pa.bool_(),
    "since": pa.timestamp("us", "UTC"),
    "scores": pa.list_(pa.float64()),
    "tags": pa.list_(pa.string()),
    "at": pa.timestamp("us", "UTC"),
    "made_at": pa.timestamp("us", "UTC"),
}
AREA_TYPES = {
    "driver_id": pa.int64(),
    "city": pa.string(),
    "rides": pa.int64(),
    "rating": pa.float64(),
    "event_timestamp": pa.timestamp("us", "UTC"),
}


def order(minutes: int, shop: str, **more: Any) -> dict[str, Any]:
    """An event, some minutes before `NOW`."""
    return {"shop": shop, "at": NOW - timedelta(minutes=minutes), "price": 2.5, "pieces": 1, "note": "n", **more}


ORDERS = [
    order(300, "old", price=9.0),
    order(20, "a", price=0.1, note="first"),
    order(10, "a", price=0.2, pieces=2**40, note=None),
    order(5, "b", price=None),
    order(0, "c", price=-0.0, note="ü"),
]


@dataclass(frozen=True)
class FeastProject:
    """The project.

    Attributes:
        root: Its folder.
    """

    root: Path

    @classmethod
    def make(cls, root: Path) -> FeastProject:
        """Write, apply and fill it: `headrace apply`, the stream of events, `headrace materialize`."""
        made = cls(root)
        repo = made.repo
        (repo / "data" / "drivers").mkdir(parents=True)
        (repo / "data" / "areas").mkdir()
        (root / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
        (repo / "events.py").write_text(_EVENTS)
        (repo / "views.py").write_text(_VIEWS)
        (repo / "feature_store.yaml").write_text(_YAML.format(online="  type: sqlite\n  path: data/online.db"))
        write_parquet(repo / "data" / "drivers" / "first.parquet", DRIVERS, DRIVER_TYPES)
        write_parquet(repo / "data" / "areas" / "first.parquet", AREAS, AREA_TYPES)
        plan = compile_repo(repo)
        write_plan(plan, made.project.plan_file)
        with open_store(made.project.store_url, writable=True) as store:
            store.change(CatalogueChange().clock(Clock.RECORD).serve(plan.views.values()))
            _apply_events(plan, store)
        materialize_views(made.project, list(plan.batch_views.values()), end_us=us_of(NOW))
        return made

    @property
    def repo(self) -> Path:
        """The feature repo's folder."""
        return self.root / "feature_repo"

    @property
    def project(self) -> Project:
        """The project as headrace reads it."""
        return Project.load(self.root)

    def feast_objects(self) -> list[Any]:
        """What the repo declares, as Feast's objects."""
        import sys

        with quiet_feast():
            import runpy

            sys.path.insert(0, str(self.repo))
            sys.modules.pop("events", None)  # another test's repo may have left its own
            try:
                found = runpy.run_path(str(self.repo / "views.py"))
            finally:
                sys.path.remove(str(self.repo))
                sys.modules.pop("events", None)
        names = ("shop", "driver", "city", "shop_orders", "shop_windows", "driver_stats", "driver_areas", "trip_score")
        return [found[name] for name in (*names, "desk")]

    def client_of(self, url: str, folder: Path) -> FeatureStore:
        """Feast's own client of a server: an online store of the type `remote`."""
        return self._feast(folder, _REMOTE.format(url=url))

    def feast_with_rows(self, folder: Path) -> FeatureStore:
        """Feast with a SQLite store of its own that has the rows of the batch views."""
        store = self._feast(folder, _SQLITE.format(path=folder / "online.db"))
        with quiet_feast():
            views = ["driver_stats", "driver_areas"]
            store.materialize(NOW - timedelta(days=365), NOW, feature_views=views)
        return store

    def _feast(self, folder: Path, online: str) -> FeatureStore:
        with quiet_feast():
            from feast import FeatureStore

            folder.mkdir(exist_ok=True)
            (folder / "data").symlink_to(self.repo / "data")
            yaml = _YAML.format(online=online).replace("data/registry.db", str(folder / "registry.db"))
            (folder / "feature_store.yaml").write_text(yaml)
            store = FeatureStore(repo_path=str(folder))
            store.apply(self.feast_objects())
        return store


def write_parquet(path: Path, columns: dict[str, list[Any]], types: dict[str, pa.DataType]) -> None:
    """Write columns as a Parquet file."""
    pq.write_table(pa.table({name: pa.array(values, types[name]) for name, values in columns.items()}), path)


def _apply_events(plan: Plan, store: OnlineStore) -> None:
    source = plan.sources["orders"]
    types = {column.name: ARROW_TYPES[column.dtype] for column in source.columns}
    table = pa.table({name: pa.array([one[name] for one in ORDERS], kind) for name, kind in types.items()})
    times = np.array([us_of(one["at"]) for one in ORDERS], np.int64)
    batch = EventBatch(source, table, times, np.zeros_like(times), np.arange(len(times)), times, times)
    position = Position(len(ORDERS) - 1, us_of(NOW), us_of(NOW))
    Applier(plan, store).apply([batch], {SourcePartition(source.topic, 0): position}, None)
