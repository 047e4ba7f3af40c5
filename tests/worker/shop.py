"""A small shop: one topic, two views, and a brute force of what its features mean."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from pydantic import AwareDatetime, BaseModel

from headrace.config import Clock
from headrace.events.dead_letter import DeadLetter
from headrace.events.decode import EventDecoder
from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import Read
from headrace.lookup import FeatureClient
from headrace.plan import Column, DType, Feature, Plan, Source, View
from headrace.stores import CatalogueChange, OnlineStore
from headrace.worker.partition_numbers import PartitionNumbers
from headrace.worker.pipeline import Pipeline
from headrace.worker.rounds import Round

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = 1_700_000_000_000  # milliseconds
MINUTE = 60_000_000


class Sale(BaseModel):
    """A sale."""

    shop: str
    sold_at: AwareDatetime
    price: float
    pieces: int


SOURCE = Source(
    name="sales",
    topic="sales",
    model="shop:Sale",
    key="shop",
    timestamp_field="sold_at",
    columns=(
        Column(name="shop", dtype=DType.STRING, nullable=False),
        Column(name="sold_at", dtype=DType.TIMESTAMP, nullable=False),
        Column(name="price", dtype=DType.FLOAT64, nullable=False),
        Column(name="pieces", dtype=DType.INT64, nullable=False),
    ),
)


def _feature(name: str, function: str, column: str, window: int | None, slide: int | None, dtype: DType) -> Feature:
    return Feature(name=name, function=function, column=column, window_us=window, slide_us=slide, dtype=dtype)


SHOPS = View(
    name="shop_sales",
    source="sales",
    entities=(Column(name="shop", dtype=DType.STRING, nullable=False),),
    features=(
        _feature("sales_10m", "count", "*", 10 * MINUTE, MINUTE, DType.INT64),
        _feature("mean_price_10m", "mean", "price", 10 * MINUTE, MINUTE, DType.FLOAT64),
        _feature("pieces_ever", "sum", "pieces", None, None, DType.INT64),
        _feature("last_price", "last", "price", None, None, DType.FLOAT64),
    ),
)
PLAN = Plan(project="shop", sources={"sales": SOURCE}, views={SHOPS.name: SHOPS})
NAMES = [f"{SHOPS.name}:{feature.name}" for feature in SHOPS.features]


@dataclass
class KeptLetters:
    """Dead letters, kept where a test can look; those not flushed are lost with a crash."""

    sent: list[DeadLetter] = field(default_factory=list)
    stored: list[DeadLetter] = field(default_factory=list)

    def send(self, letters: Sequence[DeadLetter]) -> None:
        self.sent += letters

    def flush(self) -> None:
        self.stored += self.sent
        self.sent.clear()


class Renewed(PartitionNumbers):
    """A topic that was created again: its partition 0 is source partition 2 now."""

    def __init__(self, newest_us: int | None = None) -> None:
        self.newest_us = newest_us

    def number(self, at: SourcePartition) -> SourcePartition:
        return SourcePartition(at.topic, at.partition + 2)

    def sealed(self, topic: str) -> list[tuple[range, int | None]]:
        del topic
        return [(range(2), self.newest_us)]


def record(
    offset: int, shop: str, minute: float, *, price: float = 1.0, pieces: int = 1, partition: int = 0, late: float = 0
) -> Any:
    """A Kafka record of a sale `minute` minutes after noon, sent `late` minutes after it happened."""
    moment = datetime.fromtimestamp(NOON / 1000 + minute * 60, UTC)
    value = Sale(shop=shop, sold_at=moment, price=price, pieces=pieces).model_dump_json().encode()
    return raw(offset, value, minute=minute + late, partition=partition)


def raw(offset: int, value: bytes | None, *, minute: float = 0, partition: int = 0) -> Any:
    """A Kafka record with any value."""
    timestamp = NOON + round(minute * 60_000)
    return SimpleNamespace(partition=partition, offset=offset, timestamp=timestamp, key=b"k", value=value)


def one_round(*records: Any, epoch: int = 0) -> Round:
    """A round of records of the shop's topic; those of each partition in offset order."""
    by_partition: dict[int, list[Any]] = {}
    for one in records:
        by_partition.setdefault(one.partition, []).append(one)
    return Round(
        {
            SourcePartition("sales", partition): Read(RawRecords.of(found), found[-1].offset + 1)
            for partition, found in by_partition.items()
        },
        epoch,
    )


def new_pipeline(
    store: OnlineStore, log: Any, letters: KeptLetters | None = None, clock: Clock = Clock.RECORD, **more: Any
) -> Pipeline:
    """A pipeline over the stores, as a worker that starts has it."""
    store.change(CatalogueChange().clock(clock).serve([SHOPS]).topic("sales", "cluster/topic"))
    decoders = {"sales": EventDecoder(SOURCE, Sale)}
    return Pipeline(PLAN, decoders, store, {"sales": log}, clock, letters or KeptLetters(), **more)


def looked_up(store: OnlineStore, shops: Iterable[str], minute: float) -> dict[str, list[Any]]:
    """The shops' features at a time, by feature."""
    client = FeatureClient(plan=PLAN, store=store)
    at = EPOCH + timedelta(milliseconds=NOON) + timedelta(minutes=minute)
    answer = client.get_online_features(NAMES, [{"shop": shop} for shop in shops], at=at).to_dict()
    return {name.removeprefix("shop_sales__"): values for name, values in answer.items() if name != "shop"}


def brute_force(records: Iterable[Any], shops: Iterable[str], minute: float, window: int = 10) -> dict[str, list[Any]]:
    """The same, by a loop over all sales, each position once; `window` is in minutes."""
    at = NOON * 1000 + round(minute * MINUTE)
    sales = {(one.partition, one.offset): (one, Sale.model_validate_json(one.value)) for one in records}
    result: dict[str, list[Any]] = {feature.name: [] for feature in SHOPS.features}
    for shop in shops:
        mine = [
            ((sale.sold_at - EPOCH) // timedelta(microseconds=1), one.partition, one.offset, sale)
            for one, sale in sales.values()
            if sale.shop == shop and one.timestamp * 1000 <= at
        ]
        recent = [sale for ts, _, _, sale in mine if at // MINUTE - window < ts // MINUTE <= at // MINUTE]
        result["sales_10m"].append(len(recent))
        result["mean_price_10m"].append(sum(sale.price for sale in recent) / len(recent) if recent else None)
        result["pieces_ever"].append(sum(sale.pieces for *_, sale in mine))
        result["last_price"].append(max(mine, key=lambda one: one[:3])[3].price if mine else None)
    return result
