"""A project of sales with nothing streamed, and histories to import into it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from headrace import TrainingClient
from headrace.config import Project
from headrace.ingest import Imported, Origin, import_history
from headrace.log import EventLog
from headrace.lookup import FeatureClient
from headrace.plan import Column, DType, Feature, Plan, Source, View, write_plan

MINUTE = 60_000_000
START = datetime(2013, 1, 1, tzinfo=UTC)
NOW = datetime(2020, 1, 1, tzinfo=UTC)

MODEL = """
from pydantic import AwareDatetime, BaseModel, Field


class Sale(BaseModel):
    shop: str
    sold_at: AwareDatetime
    price: float = Field(ge=0)
    pieces: int = 1
    coupon: str | None = None
    sale_id: str | None = None
"""

SOURCE = Source(
    name="sales",
    topic="shop.sales",
    model="sales_events:Sale",
    key="shop",
    timestamp_field="sold_at",
    columns=(
        Column(name="shop", dtype=DType.STRING, nullable=False),
        Column(name="sold_at", dtype=DType.TIMESTAMP, nullable=False),
        Column(name="price", dtype=DType.FLOAT64, nullable=False),
        Column(name="pieces", dtype=DType.INT64, nullable=False),
        Column(name="coupon", dtype=DType.STRING),
        Column(name="sale_id", dtype=DType.STRING),
    ),
)


def feature(name: str, function: str, column: str, dtype: DType, minutes: int | None = None) -> Feature:
    window, slide = (None, None) if minutes is None else (minutes * MINUTE, MINUTE)
    return Feature(name=name, function=function, column=column, window_us=window, slide_us=slide, dtype=dtype)


_FEATURES = (
    feature("n_10m", "count", "*", DType.INT64, 10),
    feature("mean_10m", "mean", "price", DType.FLOAT64, 10),
    feature("pieces_ever", "sum", "pieces", DType.INT64),
    feature("last_price", "last", "price", DType.FLOAT64),
)
SHOPS = View(
    name="shops",
    source="sales",
    entities=(Column(name="shop", dtype=DType.STRING, nullable=False),),
    features=_FEATURES,
    input=SOURCE.input_of(_FEATURES),
)
FEATURES = ["shops:n_10m", "shops:mean_10m", "shops:pieces_ever", "shops:last_price"]


def plan_of(source: Source = SOURCE) -> Plan:
    return Plan(project="shop", sources={"sales": source}, views={"shops": SHOPS})


@dataclass(frozen=True)
class Sale:
    """A sale, and when it was known: minutes after START."""

    shop: str
    minute: float
    price: float = 1.0
    pieces: int = 1
    known: float | None = None
    sale_id: str | None = None

    @property
    def sold_at(self) -> datetime:
        return START + timedelta(minutes=self.minute)

    @property
    def known_at(self) -> datetime:
        return self.sold_at if self.known is None else START + timedelta(minutes=self.known)


def table_of(sales: Sequence[Sale]) -> pa.Table:
    moment = pa.timestamp("us", "UTC")
    return pa.table(
        {
            "shop": pa.array([sale.shop for sale in sales], pa.string()),
            "sold_at": pa.array([sale.sold_at for sale in sales], moment),
            "price": pa.array([sale.price for sale in sales], pa.float64()),
            "pieces": pa.array([sale.pieces for sale in sales], pa.int64()),
            "sale_id": pa.array([sale.sale_id for sale in sales], pa.string()),
            "seen": pa.array([sale.known_at for sale in sales], moment),
        }
    )


@dataclass
class Shop:
    """A project, driven by the functions of the commands."""

    project: Project

    @property
    def log(self) -> EventLog:
        return EventLog(self.project.log_path, SOURCE)

    def put(self, sales: Sequence[Sale], name: str = "sales.parquet") -> str:
        path = self.project.root / name
        pq.write_table(table_of(sales), path)
        return str(path)

    def load(self, files: str | None = None, **more: Any) -> Imported:
        of_origin = {name: more.pop(name) for name in ("query", "database", "block_rows") if name in more}
        origin = Origin(files=files, **of_origin)
        return import_history(self.project, "sales", origin, **more)

    def logged(self) -> list[tuple[str, float, int, int]]:
        """Shop, minute of the sale, partition and offset of all events in the log."""
        rows = [row for batch in self.log.scan() for row in batch.to_pylist()]
        return [
            (row["shop"], (row["sold_at"] - START) / timedelta(minutes=1), row["_partition"], row["_offset"])
            for row in rows
        ]

    def online(self, shops: Sequence[str], minute: float) -> list[dict[str, Any]]:
        at = START + timedelta(minutes=minute)
        with FeatureClient(self.project) as client:
            answer = client.get_online_features(FEATURES, [{"shop": shop} for shop in shops], at=at)
            return [{key: row[key] for key in sorted(row)} for row in answer.to_arrow().to_pylist()]

    def history(self, shops: Sequence[str], minute: float, as_of: str = "known") -> list[dict[str, Any]]:
        at = START + timedelta(minutes=minute)
        spine = pa.table(
            {
                "shop": pa.array(list(shops), pa.string()),
                "event_timestamp": pa.array([at] * len(shops), pa.timestamp("us", "UTC")),
            }
        )
        found = TrainingClient(self.project).get_historical_features(spine, FEATURES, as_of=as_of).to_arrow()
        return [{key: row[key] for key in sorted(row)} for row in found.drop_columns(["event_timestamp"]).to_pylist()]


def brute_force(
    sales: Sequence[Sale], shops: Sequence[str], minute: float, *, event: bool = False
) -> list[dict[str, Any]]:
    """The features by a loop over all sales; of two at one time, the later in the list comes last."""
    rows: list[dict[str, Any]] = []
    for shop in shops:
        known = [
            sale
            for sale in sales
            if sale.shop == shop and (sale.minute if event or sale.known is None else sale.known) <= minute
        ]
        recent = [sale for sale in known if minute // 1 - 10 < sale.minute // 1 <= minute // 1]
        prices = [sale.price for sale in recent]
        rows.append(
            {
                "shop": shop,
                "shops__last_price": sorted(known, key=lambda sale: sale.minute)[-1].price if known else None,
                "shops__mean_10m": sum(prices) / len(prices) if prices else None,
                "shops__n_10m": len(recent),
                "shops__pieces_ever": sum(sale.pieces for sale in known),
            }
        )
    return rows


def random_sales(seed: int, n: int) -> list[Sale]:
    draw = random.Random(seed)
    minutes = [draw.randrange(0, 6_000) / 4 for _ in range(n)]
    return [
        Sale(
            draw.choice("abc"), minute, draw.randrange(100) / 4, draw.randrange(5), minute + draw.choice([0, 0, 3, 90])
        )
        for minute in minutes
    ]


def same(found: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]) -> None:
    assert [row | {"shops__mean_10m": pytest.approx(row["shops__mean_10m"])} for row in wanted] == list(found)


def shop_at(folder: Path, clock: str = "record", source: Source = SOURCE) -> Shop:
    (folder / "headrace.toml").write_text(f'[headrace]\nclock = "{clock}"\n')
    (folder / "feature_repo").mkdir()
    (folder / "feature_repo" / "sales_events.py").write_text(MODEL)
    project = Project.load(folder)
    write_plan(plan_of(source), project.plan_file)
    return Shop(project)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return shop_at(tmp_path)
