"""A changed view is built from the log beside the rounds, and served once it has caught up: each event counts once."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.decode import EventDecoder
from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.log.log_columns import FIRST_IMPORT
from headrace.stores.memory import MemoryStore
from headrace.stores.served_plan import unreadable
from headrace.worker.handoff_requests import read_requests
from headrace.worker.log_rows import log_rows
from tests.worker.handoffs import VERSIONS, WINDOWS, Deployment, Sales
from tests.worker.shop import SHOPS, SOURCE, Renewed, Sale, record


def test_version_that_is_asked_for_is_served_once_it_has_caught_up(deployed: Deployment) -> None:
    sales = Sales(1)
    deployed.send(sales.some(40))
    deployed.pipeline.flush()
    deployed.ask(20)
    steps = 0
    while deployed.build():
        steps += 1
        deployed.send(sales.some(1))  # events arrive all the while
        deployed.settle()
        assert deployed.check(declared=20) == 10  # and the old version serves
        assert deployed.check(declared=10) == 10
    assert steps > 3
    deployed.join()
    deployed.send(sales.some(5))
    deployed.settle()
    assert deployed.check(declared=20) == 20
    deployed.send(sales.some(5))
    deployed.build()
    assert deployed.check(declared=20) == 20
    assert not read_requests(deployed.requests)


def test_version_is_built_over_a_topic_that_was_made_anew(deployed: Deployment) -> None:
    """The worker that has Kafka's partition 0 builds what ended; of the live partitions each builds its own."""
    deployed.send(Sales(1).some(60))
    deployed.pipeline.flush()
    deployed.topics, deployed.partitions = Renewed(), 4
    deployed.owned = set(range(4))
    deployed.start()
    anew = Sales(2)
    anew.minute = 60
    deployed.ask(30)
    later = anew.some(40)
    deployed.process(later)
    deployed.build()
    last = anew.some(20)
    deployed.process(last)
    deployed.hand_off()
    for one in (*later, *last):
        one.partition += 2
    deployed.sent += [*later, *last]
    assert deployed.check(30) == 30


def test_rolling_back_serves_the_version_before_with_what_it_has_missed(deployed: Deployment) -> None:
    sales = Sales(2)
    deployed.send(sales.some(30))
    deployed.ask(20)
    deployed.hand_off()
    deployed.send(sales.some(30))
    assert deployed.store.catalogue().previous[SHOPS.name] == VERSIONS[10].hash
    deployed.ask(10)
    deployed.hand_off()
    assert deployed.check(declared=20) == 10  # the plan still says 20: rolled back is meant
    deployed.send(sales.some(3))
    assert deployed.check(declared=20) == 10


def test_versions_no_longer_needed_are_removed(deployed: Deployment) -> None:
    sales = Sales(4)
    deployed.send(sales.some(30))
    for window in (20, 30):
        deployed.ask(window)
        deployed.hand_off()
    deployed.build()
    held = {window: bool(deployed.store.entities(view.hash)) for window, view in VERSIONS.items()}
    assert held == {10: False, 20: True, 30: True}
    assert set(deployed.store.catalogue().definitions_json) == {VERSIONS[20].hash, VERSIONS[30].hash}
    deployed.ask(10)  # from the very beginning again
    deployed.hand_off()
    assert deployed.check(declared=10) == 10


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
    assert deployed.store.catalogue().building == {}
    assert not deployed.store.entities(VERSIONS[20].hash)


def test_two_workers_each_build_their_own_partitions(deployed: Deployment) -> None:
    sales = Sales(6)
    deployed.owned = {0}
    other = Deployment(deployed.folder, deployed.store, owned={1})
    for worker in (deployed, other):
        worker.send(sales.some(20, tuple(worker.owned)))
        worker.pipeline.flush()
    other.ask(20)
    deployed.catch_up()
    deployed.settle()
    assert deployed.live.hash == VERSIONS[10].hash  # the other has not caught up
    other.catch_up()
    other.settle()
    assert deployed.live.hash == VERSIONS[10].hash  # partition 0's worker decides
    deployed.settle()
    other.send(sales.some(5, (1,)))  # it has not noticed yet
    other.settle()
    for worker in (deployed, other):
        worker.send(sales.some(5, tuple(worker.owned)))
    deployed.sent += other.sent
    assert deployed.check(declared=20) == 20


def test_worker_that_was_given_a_partition_objects_to_a_note_that_it_has_caught_up(deployed: Deployment) -> None:
    sales = Sales(7)
    deployed.send(sales.some(30))
    deployed.pipeline.flush()
    deployed.ask(20)
    deployed.build()
    taker = Deployment(deployed.folder, deployed.store, objection_s=3600)
    deployed.catch_up()  # it does not know yet that it has lost its partitions
    taker.sent = list(deployed.sent)
    taker.send(sales.some(5))  # rounds that the version in building does not get
    taker.settle()
    assert taker.live.hash == VERSIONS[10].hash
    taker.clock.now += 3600
    while taker.build():
        taker.settle()
        assert taker.live.hash == VERSIONS[10].hash
    taker.join()
    taker.settle()
    assert taker.check(declared=20) == 20


def test_worker_that_starts_gives_rounds_to_what_has_caught_up(deployed: Deployment) -> None:
    sales = Sales(9)
    deployed.send(sales.some(30))
    deployed.ask(20)
    deployed.catch_up()
    deployed.crash()
    deployed.send(sales.some(10))
    deployed.settle()
    assert deployed.check(declared=20) == 20


def test_what_had_caught_up_before_it_was_given_up_catches_up_again(deployed: Deployment) -> None:
    sales = Sales(10)
    deployed.send(sales.some(30))
    deployed.ask(20)
    deployed.catch_up()
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


def test_worker_that_is_given_a_partition_right_after_a_version_went_live_gives_it_the_first_round(
    deployed: Deployment,
) -> None:
    sales = Sales(11)
    deployed.owned = {0}
    other = Deployment(deployed.folder, deployed.store, owned={1})
    for worker in (deployed, other):
        worker.send(sales.some(10, tuple(worker.owned)))
        worker.pipeline.flush()
    deployed.ask(20)
    for worker in (deployed, other):
        worker.catch_up()
    deployed.settle()  # live, and the worker of partition 0 leaves before the other has noticed
    deployed.pipeline.flush()
    other.sent += deployed.sent
    other.pipeline.reload()
    other.handoff.resume()
    other.owned = {0, 1}
    other.send(sales.some(5, (0,)))
    other.settle()
    assert other.check(declared=20) == 20


def test_rolling_back_brings_history_that_was_imported_and_not_applied_before(deployed: Deployment) -> None:
    sales = Sales(12)
    deployed.send(sales.some(10))
    deployed.pipeline.flush()
    imported = [record(number, "a", -number, partition=FIRST_IMPORT, pieces=7) for number in range(10)]
    batch, _ = EventDecoder(SOURCE, Sale).decode(RawRecords.of(imported))
    deployed.log.append(log_rows(SOURCE, [batch]), {FIRST_IMPORT: 9})  # and the worker goes on
    deployed.sent += imported
    deployed.ask(20)
    deployed.hand_off()
    assert deployed.check(declared=20) == 20
    deployed.ask(10)
    deployed.hand_off()
    assert deployed.check(declared=20) == 10


STEPS = st.sampled_from(["send", "send", "flush", "build", "build", "join", "settle", "crash", "ask", "lookup"])


def check_whatever_happens(seed: int, steps: list[str], folder: Path) -> None:
    deployed, sales = Deployment(folder, MemoryStore(), chunk_rows=3), Sales(seed)
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
            deployed.check(WINDOWS[deployed.live.hash])
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


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.lists(STEPS, max_size=25))
def test_whatever_happens_when_what_is_served_is_exact(
    seed: int, steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_whatever_happens(seed, steps, tmp_path_factory.mktemp("handoff"))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), steps=st.lists(STEPS, max_size=40))
def test_whatever_happens_when_what_is_served_is_exact_in_many_orders(
    seed: int, steps: list[str], tmp_path_factory: pytest.TempPathFactory
) -> None:
    check_whatever_happens(seed, steps, tmp_path_factory.mktemp("handoff"))


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
