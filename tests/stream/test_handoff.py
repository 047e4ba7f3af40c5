"""A changed view is built from the log while rounds go on, and served once it has caught up: nothing is left out or counted twice."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.config import Clock
from headrace.erasure import ErasureFilter
from headrace.errors import PlanMismatchError
from headrace.events.decode import EventDecoder
from headrace.log import EventLog
from headrace.lookup import FeatureClient
from headrace.lookup import client as client_module
from headrace.online import OnlineStore, SourcePartition, open_store
from headrace.online.apply import Applier
from headrace.online.memory import MemoryStore
from headrace.online.meta import CLOCK, building_fact, definitions, previous_fact, view_fact
from headrace.online.versions import serving_facts
from headrace.plan import FeatureRef, Plan, View
from headrace.stream import handoff as module
from headrace.stream.handoff import Handoff, unreadable
from headrace.stream.pipeline import Pipeline
from headrace.stream.requests import Request, ask, read_requests
from tests.stream.shop import (
    MINUTE,
    NAMES,
    NOON,
    PLAN,
    SHOPS,
    SOURCE,
    KeptLetters,
    Sale,
    brute_force,
    fetches,
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


@dataclass
class Deployment:
    """A worker's pipeline and handoff over a store and a log, killed and started at will."""

    folder: Path
    store: OnlineStore
    sent: list[Any] = field(default_factory=list)
    owned: set[int] = field(default_factory=lambda: set(range(PARTITIONS)))
    objection_s: float = 0.0
    rounds: int = 0

    def __post_init__(self) -> None:
        if not self.store.meta():
            self.store.set_meta({CLOCK: str(Clock.RECORD), **serving_facts([VERSIONS[10]])})
        self.start()

    def start(self) -> None:
        """Start a worker: what is online and not in the log comes again."""
        self.log = EventLog(self.folder / "log", SOURCE)
        logs, facts = {"sales": self.log}, self.store.meta()
        served = Plan(project="shop", sources=PLAN.sources, views={SHOPS.name: self.live(facts)})
        applier = Applier(served, self.store)
        erased = ErasureFilter(self.folder / "erasure", {})
        self.handoff = Handoff(
            PLAN,
            self.store,
            applier,
            logs,
            self.requests,
            erased,
            partitions={"sales": PARTITIONS},
            objection_s=self.objection_s,
        )
        decoders = {"sales": EventDecoder(SOURCE, Sale)}
        self.pipeline = Pipeline(PLAN, decoders, self.store, logs, Clock.RECORD, KeptLetters(), applier=applier)

    @staticmethod
    def live(facts: dict[str, str]) -> View:
        return VERSIONS[WINDOWS[facts[view_fact(SHOPS.name)]]]

    @property
    def requests(self) -> Path:
        return self.folder / "requests"

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
        self.rounds += 1
        self.pipeline.process(fetches(*records, round_=self.rounds))

    def ask(self, window: int) -> None:
        ask(self.requests, Request(view=VERSIONS[window], source=SOURCE))

    def build(self) -> bool:
        return self.handoff.build(self.owns)

    def join(self) -> None:
        self.pipeline.flush()
        self.handoff.join(self.owns)

    def settle(self) -> None:
        self.handoff.settle(self.owns)

    def hand_off(self) -> None:
        """Everything that a worker does about it, to the end."""
        while self.build():
            pass
        self.join()
        self.settle()
        self.build()

    def check(self, declared: int) -> int:
        """What is looked up is what a loop over all sales says of the version served; returns its windows' length."""
        window = WINDOWS[self.store.meta()[view_fact(SHOPS.name)]]
        client = FeatureClient(plan=plan_of(VERSIONS[declared]), store=self.store)
        answer = client.get_online_features(NAMES, [{"shop": shop} for shop in SHOP_NAMES]).to_dict()
        newest = max((one.timestamp for one in self.sent), default=NOON)
        expected = brute_force(self.sent, SHOP_NAMES, (newest - NOON) / 60_000, window)
        for name, values in expected.items():
            assert answer[f"shop_sales__{name}"] == (pytest.approx(values) if name.startswith("mean") else values)
        return window


@pytest.fixture(params=["memory", "lmdb"])
def deployed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Deployment]:
    opened = MemoryStore() if request.param == "memory" else open_store(f"lmdb:{tmp_path / 'online'}", writable=True)
    with opened:
        yield Deployment(tmp_path, opened)


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


@pytest.fixture
def small_portions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PORTION", 4)


@pytest.mark.usefixtures("small_portions")
def test_version_that_is_asked_for_is_served_once_it_has_caught_up(deployed: Deployment) -> None:
    sales = Sales(1)
    deployed.send(sales.some(40))
    deployed.pipeline.flush()
    deployed.ask(20)
    portions = 0
    while deployed.build():
        portions += 1
        deployed.send(sales.some(1))  # events arrive all the while
        deployed.settle()
        assert deployed.check(declared=20) == 10  # and the old version serves
        assert deployed.check(declared=10) == 10
    assert portions > 3
    deployed.join()
    deployed.send(sales.some(5))
    deployed.settle()
    assert deployed.check(declared=20) == 20
    deployed.send(sales.some(5))
    deployed.build()
    assert deployed.check(declared=20) == 20
    assert not read_requests(deployed.requests)


@pytest.mark.usefixtures("small_portions")
def test_rolling_back_serves_the_version_before_with_what_it_has_missed(deployed: Deployment) -> None:
    sales = Sales(2)
    deployed.send(sales.some(30))
    deployed.ask(20)
    deployed.hand_off()
    deployed.send(sales.some(30))
    facts = deployed.store.meta()
    assert facts[previous_fact(SHOPS.name)] == VERSIONS[10].hash
    deployed.ask(10)
    deployed.hand_off()
    assert deployed.check(declared=20) == 10  # the plan still says 20: rolled back is meant
    deployed.send(sales.some(3))
    assert deployed.check(declared=20) == 10


def test_client_of_the_old_plan_follows_when_the_new_version_goes_live(deployed: Deployment) -> None:
    sales = Sales(3)
    deployed.send(sales.some(30))
    client = FeatureClient(plan=plan_of(VERSIONS[10]), store=deployed.store)
    before = client.get_online_features(NAMES, [{"shop": "a"}])
    deployed.ask(30)
    deployed.hand_off()
    deployed.send(sales.some(10))
    after = client.get_online_features(NAMES, [{"shop": "a"}])
    assert client.plan.views[SHOPS.name].hash == VERSIONS[30].hash
    assert (before.plan_hash, after.plan_hash) == (plan_of(VERSIONS[10]).hash, plan_of(VERSIONS[30]).hash)
    newest = max(one.timestamp for one in deployed.sent)
    expected = brute_force(deployed.sent, ["a"], (newest - NOON) / 60_000, 30)
    assert after.to_dict()["shop_sales__sales_10m"] == expected["sales_10m"]


def test_changed_view_that_nobody_asked_to_build_is_served_as_it_was_and_that_is_said(
    deployed: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    monkeypatch.setattr(client_module.logger, "warning", told.append)
    deployed.send(Sales(11).some(10))
    assert deployed.check(declared=20) == 10
    assert len(told) == 1
    assert f"{VERSIONS[20].versioned_name} is served as {VERSIONS[10].versioned_name}: `headrace backfill" in told[0]
    deployed.ask(20)
    deployed.hand_off()
    assert deployed.check(declared=20) == 20
    assert len(told) == 1


def test_feature_that_only_the_new_version_has_is_refused_until_that_is_live(deployed: Deployment) -> None:
    more = (*VERSIONS[20].features, VERSIONS[20].features[0].model_copy(update={"name": "sales_more"}))
    view = SHOPS.model_copy(update={"features": more, "input": SOURCE.input_of(more)})
    refs = tuple(FeatureRef(view=view.name, feature=name) for name in ("sales_10m", "sales_more"))
    plan = Plan(project="shop", sources=PLAN.sources, views={view.name: view}, services={"model": refs})
    client = FeatureClient(plan=plan, store=deployed.store)
    deployed.send(Sales(13).some(10))
    with pytest.raises(PlanMismatchError, match=r"(?s)has no feature 'sales_more'.*headrace backfill shop_sales"):
        client.get_online_features("model", [{"shop": "a"}])
    assert client.get_online_features(["shop_sales:sales_10m"], [{"shop": "a"}]).to_dict()
    ask(deployed.requests, Request(view=view, source=SOURCE))
    deployed.hand_off()
    assert client.get_online_features("model", [{"shop": "a"}]).to_dict()["shop_sales__sales_more"][0] >= 0


def test_view_that_the_store_has_never_held_is_refused_and_can_be_built(deployed: Deployment) -> None:
    other = VERSIONS[20].model_copy(update={"name": "other"})
    plan = Plan(project="shop", sources=PLAN.sources, views={"other": other})
    client = FeatureClient(plan=plan, store=deployed.store)
    sales = Sales(12)
    deployed.send(sales.some(30))
    with pytest.raises(PlanMismatchError, match=r"(?s)never held the view other.*headrace backfill other"):
        client.get_online_features(["other:sales_10m"], [{"shop": "a"}])
    ask(deployed.requests, Request(view=other, source=SOURCE))
    deployed.build()
    with pytest.raises(PlanMismatchError, match="is being built"):
        client.get_online_features(["other:sales_10m"], [{"shop": "a"}])
    deployed.hand_off()
    deployed.send(sales.some(5))
    answer = client.get_online_features(["other:sales_10m"], [{"shop": "a"}]).to_dict()
    newest = max(one.timestamp for one in deployed.sent)
    assert answer["other__sales_10m"] == brute_force(deployed.sent, ["a"], (newest - NOON) / 60_000, 20)["sales_10m"]


@pytest.mark.usefixtures("small_portions")
def test_versions_no_longer_needed_are_removed(deployed: Deployment) -> None:
    sales = Sales(4)
    deployed.send(sales.some(30))
    for window in (20, 30):
        deployed.ask(window)
        deployed.hand_off()
    deployed.build()
    held = {window: bool(deployed.store.entities(view.hash)) for window, view in VERSIONS.items()}
    assert held == {10: False, 20: True, 30: True}
    assert set(definitions(deployed.store.meta())) == {VERSIONS[20].hash, VERSIONS[30].hash}
    deployed.ask(10)  # from the very beginning again
    deployed.hand_off()
    assert deployed.check(declared=10) == 10


@pytest.mark.usefixtures("small_portions")
def test_request_that_takes_anothers_place_is_the_one_that_is_met(deployed: Deployment) -> None:
    sales = Sales(5)
    deployed.send(sales.some(40))
    deployed.pipeline.flush()
    deployed.ask(20)
    deployed.build()
    deployed.build()
    deployed.ask(30)
    deployed.hand_off()
    assert deployed.check(declared=30) == 30
    assert building_fact(SHOPS.name) not in deployed.store.meta()
    assert not deployed.store.entities(VERSIONS[20].hash)


@pytest.mark.usefixtures("small_portions")
def test_two_workers_each_build_their_own_partitions(deployed: Deployment) -> None:
    sales = Sales(6)
    deployed.owned = {0}
    other = Deployment(deployed.folder, deployed.store, owned={1})
    for worker in (deployed, other):
        worker.send(sales.some(20, tuple(worker.owned)))
        worker.pipeline.flush()
    other.ask(20)
    while deployed.build():
        pass
    deployed.join()
    deployed.settle()
    assert deployed.store.meta()[view_fact(SHOPS.name)] == VERSIONS[10].hash  # the other has not caught up
    while other.build():
        pass
    other.join()
    other.settle()
    assert deployed.store.meta()[view_fact(SHOPS.name)] == VERSIONS[10].hash  # partition 0's worker decides
    deployed.settle()
    other.send(sales.some(5, (1,)))  # it has not noticed yet
    other.settle()
    for worker in (deployed, other):
        worker.send(sales.some(5, tuple(worker.owned)))
    deployed.sent += other.sent
    assert deployed.check(declared=20) == 20


@pytest.mark.usefixtures("small_portions")
def test_worker_that_was_given_a_partition_objects_to_a_note_that_it_has_caught_up(deployed: Deployment) -> None:
    sales = Sales(7)
    deployed.send(sales.some(30))
    deployed.pipeline.flush()
    deployed.ask(20)
    deployed.build()
    taker = Deployment(deployed.folder, deployed.store, objection_s=3600)
    while deployed.build():
        pass
    deployed.join()  # it does not know yet that it has lost its partitions
    taker.sent = list(deployed.sent)
    taker.send(sales.some(5))  # rounds that the version in building does not get
    taker.settle()
    assert taker.store.meta()[view_fact(SHOPS.name)] == VERSIONS[10].hash
    taker.objection_s = 0.0
    taker.handoff._objection_s = 0.0  # noqa: SLF001 time passes
    while taker.build():
        taker.settle()
        assert taker.store.meta()[view_fact(SHOPS.name)] == VERSIONS[10].hash
    taker.join()
    taker.settle()
    assert taker.check(declared=20) == 20


@pytest.mark.usefixtures("small_portions")
def test_worker_that_starts_gives_rounds_to_what_has_caught_up(deployed: Deployment) -> None:
    sales = Sales(9)
    deployed.send(sales.some(30))
    deployed.ask(20)
    while deployed.build():
        pass
    deployed.join()
    deployed.crash()
    deployed.send(sales.some(10))
    deployed.settle()
    assert deployed.check(declared=20) == 20


@pytest.mark.usefixtures("small_portions")
def test_what_had_caught_up_before_it_was_given_up_catches_up_again(deployed: Deployment) -> None:
    sales = Sales(10)
    deployed.send(sales.some(30))
    deployed.ask(20)
    while deployed.build():
        pass
    deployed.join()
    deployed.ask(30)
    deployed.handoff._take_requests(deployed.owns)  # noqa: SLF001 and dies, before it removes the other's notes
    deployed.crash()
    deployed.send(sales.some(10))
    deployed.ask(20)
    deployed.build()
    deployed.settle()
    assert deployed.check(declared=20) == 10
    deployed.hand_off()
    assert deployed.check(declared=20) == 20


STEPS = st.sampled_from(["send", "send", "flush", "build", "build", "join", "settle", "crash", "ask", "lookup"])


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.lists(STEPS, max_size=40))
def test_whatever_happens_when_what_is_served_is_exact(
    seed: int, steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PORTION", 3)
        deployed, sales = Deployment(tmp_path_factory.mktemp("handoff"), MemoryStore()), Sales(seed)
        dice = random.Random(seed)
        asked = 10
        for step in ["send", *steps]:
            if step == "send":
                deployed.send(sales.some(dice.randint(1, 12)))
            elif step == "flush":
                deployed.pipeline.flush()
            elif step == "ask":
                asked = dice.choice([10, 20, 30])
                deployed.ask(asked)
            elif step == "lookup":
                deployed.check(WINDOWS[deployed.store.meta()[view_fact(SHOPS.name)]])
            else:
                doing: dict[str, Callable[[], Any]] = {
                    "build": deployed.build,
                    "join": deployed.join,
                    "settle": deployed.settle,
                    "crash": deployed.crash,
                }
                doing[step]()
        deployed.hand_off()
        deployed.send(sales.some(3))
        assert deployed.check(asked) == asked


def test_store_is_not_asked_to_build_what_its_source_no_longer_has() -> None:
    view = VERSIONS[20]
    assert unreadable(view, SOURCE) is None
    assert unreadable(view, SOURCE.model_copy(update={"topic": "others"})) == "it reads 'sold_at' of the topic 'sales'"
    fewer = tuple(column for column in SOURCE.columns if column.name != "price")
    assert "'price' as float64" in (unreadable(view, SOURCE.model_copy(update={"columns": fewer})) or "")
    assert "source 'sales'" in (unreadable(view, SOURCE.model_copy(update={"name": "others"})) or "")


def test_positions_are_those_of_the_stream_throughout(deployed: Deployment) -> None:
    deployed.send(Sales(8).some(20))
    before = deployed.store.positions()
    deployed.ask(20)
    deployed.hand_off()
    assert deployed.store.positions() == before
    assert set(before) == {SourcePartition("sales", 0), SourcePartition("sales", 1)}
