"""A worker over a shop whose view changes, killed and started at will."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headrace.config import Clock
from headrace.erasure import ErasureFilter
from headrace.events.decode import EventDecoder
from headrace.log import EventLog
from headrace.lookup import FeatureClient
from headrace.plan import Plan, View
from headrace.records.applier import Applier
from headrace.state import LocalState, State
from headrace.stores import CatalogueChange, OnlineStore
from headrace.worker.handoff import Handoff
from headrace.worker.handoff_requests import Request, ask
from headrace.worker.partition_numbers import PartitionNumbers
from headrace.worker.pipeline import Pipeline
from tests.worker.shop import (
    MINUTE,
    NAMES,
    NOON,
    PLAN,
    SHOPS,
    SOURCE,
    KeptLetters,
    Sale,
    brute_force,
    one_round,
    record,
)

SHOP_NAMES = ["a", "b", "c"]
PARTITIONS = 2


def version(window: int) -> View:
    """The shops' view with its windows so many minutes long."""
    longer = tuple(
        feature.model_copy(update={"window_us": window * MINUTE}) if feature.window_us else feature
        for feature in SHOPS.features
    )
    return SHOPS.model_copy(update={"features": longer, "input": SOURCE.input_of(longer)})


def plan_of(view: View) -> Plan:
    return Plan(project="shop", sources=PLAN.sources, views={view.name: view})


VERSIONS = {window: version(window) for window in (10, 20, 30)}
WINDOWS = {view.hash: window for window, view in VERSIONS.items()}


class Moments:
    """A clock in seconds that a test moves."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Deployment:
    """A worker's pipeline and handoff over a store and a log, killed and started at will."""

    folder: Path
    store: OnlineStore
    sent: list[Any] = field(default_factory=list)
    owned: set[int] = field(default_factory=lambda: set(range(PARTITIONS)))
    objection_s: float = 0.0
    topics: PartitionNumbers = field(default_factory=PartitionNumbers)
    partitions: int = PARTITIONS
    chunk_rows: int = 4
    clock: Moments = field(default_factory=Moments)

    def __post_init__(self) -> None:
        if not self.store.catalogue().live:
            self.store.change(CatalogueChange().clock(Clock.RECORD).serve([VERSIONS[10]]))
        self.start()

    def start(self) -> None:
        """Start a worker: what is online and not in the log comes again."""
        self.log = EventLog(self.folder / "log", SOURCE)
        logs = {"sales": self.log}
        served = Plan(project="shop", sources=PLAN.sources, views={SHOPS.name: self.live})
        self.applier = Applier(served, self.store)
        self.erased = ErasureFilter(LocalState(self.folder / "erasure"), {})
        self.handoff = Handoff(
            PLAN,
            self.store,
            self.applier,
            logs,
            self.requests,
            self.erased,
            partitions={"sales": self.partitions},
            objection_s=self.objection_s,
            chunk_rows=self.chunk_rows,
            monotonic=self.clock,
        )
        decoders = {"sales": EventDecoder(SOURCE, Sale)}
        self.pipeline = Pipeline(
            PLAN, decoders, self.store, logs, Clock.RECORD, KeptLetters(), applier=self.applier, topics=self.topics
        )

    @property
    def live(self) -> View:
        """The version that the store serves."""
        return VERSIONS[WINDOWS[self.store.catalogue().live[SHOPS.name]]]

    @property
    def requests(self) -> State:
        return LocalState(self.folder / "requests")

    def owns(self, topic: str, partition: int) -> bool:
        return topic == "sales" and partition in self.owned

    def crash(self) -> None:
        self.start()
        held = self.log.last_offsets()
        lost = [one for one in self.sent if one.offset > held.get(one.partition, -1) and one.partition in self.owned]
        if lost:
            self.process(lost)

    def send(self, records: list[Any]) -> None:
        self.sent += records
        self.process(records)

    def process(self, records: list[Any]) -> None:
        self.pipeline.process(one_round(*records))

    def ask(self, window: int) -> None:
        ask(self.requests, Request(view=VERSIONS[window], source=SOURCE))

    def build(self) -> bool:
        return self.handoff.build(self.owns)

    def join(self) -> None:
        self.pipeline.flush()
        self.handoff.join(self.owns)

    def settle(self) -> None:
        self.handoff.settle(self.owns)

    def catch_up(self) -> None:
        """Build until rounds go into the version too; it is not live yet."""
        while self.build():
            pass
        self.join()

    def hand_off(self) -> None:
        """Everything that a worker does about it, to the end."""
        self.catch_up()
        self.settle()
        self.build()

    def check(self, declared: int) -> int:
        """What is looked up is what a loop over all sales says of the version served; returns its windows' length."""
        window = WINDOWS[self.live.hash]
        client = FeatureClient(plan=plan_of(VERSIONS[declared]), store=self.store)
        answer = client.get_online_features(NAMES, [{"shop": shop} for shop in SHOP_NAMES]).to_dict()
        newest = max((one.timestamp for one in self.sent), default=NOON)
        expected = brute_force(self.sent, SHOP_NAMES, (newest - NOON) / 60_000, window)
        for name, values in expected.items():
            assert answer[f"shop_sales__{name}"] == (pytest.approx(values) if name.startswith("mean") else values)
        return window


class Sales:
    """Sales of three shops, in the offset order of each partition, some late."""

    def __init__(self, seed: int) -> None:
        self.dice = random.Random(seed)
        self.offsets = [0] * PARTITIONS
        self.minute = 0.0

    def some(self, count: int, partitions: tuple[int, ...] = (0, 1)) -> list[Any]:
        made = []
        for _ in range(count):
            partition = self.dice.choice(partitions)
            self.minute += self.dice.random()
            late = self.dice.choice([0, 0, 0, 5, 25])
            made.append(
                record(
                    self.offsets[partition],
                    self.dice.choice(SHOP_NAMES),
                    self.minute - late,
                    late=late,
                    price=self.dice.randint(1, 80) / 8,
                    pieces=self.dice.randint(0, 5),
                    partition=partition,
                )
            )
            self.offsets[partition] += 1
        return made
