"""The consumer queues every record that it reads after it has been moved, and none from before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from headrace.events.source_partition import SourcePartition
from headrace.kafka import KafkaConnection
from headrace.kafka.fetch_reader import RecordReader
from headrace.worker.faust_transport import RoundConsumer
from headrace.worker.liveness import Life
from headrace.worker.round_reader import RoundReader
from headrace.worker.rounds import Round
from headrace.worker.worker import Place
from tests.worker.two_at_a_time import END, TwoAtATime

SALES = TP("sales", 0)


class Broker:
    """A partition, and how many readers of it are open."""

    def __init__(self) -> None:
        self.open = 0

    def opened(self, starts: Mapping[SourcePartition, int]) -> RecordReader:
        self.open += 1
        return cast(RecordReader, Reader(self, starts[SourcePartition(*SALES)]))


class Reader(TwoAtATime):
    """A reader that the broker counts as open."""

    def __init__(self, broker: Broker, place: int) -> None:
        super().__init__(place)
        self.broker = broker

    def close(self) -> None:
        self.broker.open -= 1


class Worker:
    """Says where to read on, and lets a test in while it looks."""

    def __init__(self) -> None:
        self.life = Life()
        self.epoch = 0
        self.resume_at = 10
        self.durable: dict[SourcePartition, int] = {}
        self.while_it_looks: Callable[[], None] = lambda: None

    def revoked(self, sources: Any = ()) -> None:
        del sources
        self.epoch += 1

    assigned = revoked

    def resume(self, sources: list[SourcePartition]) -> Place:
        self.epoch += 1
        place = Place(self.epoch, dict.fromkeys(sources, self.resume_at))
        looking, self.while_it_looks = self.while_it_looks, lambda: None
        looking()
        return place


class App:
    connection = KafkaConnection.of("broker:9092")
    by_record_time = False

    def __init__(self) -> None:
        self.worker = Worker()
        self.rounds: list[Round] = []

    has_room = True

    def queue(self, round_: Round) -> None:
        self.rounds.append(round_)

    @property
    def offsets(self) -> list[int]:
        """The offsets that the worker applies: those of rounds from before the last move are left."""
        found = [
            (round_.epoch, offset)
            for round_ in self.rounds
            for read in round_.reads.values()
            for offset in read.records.offsets.tolist()
        ]
        return [offset for epoch, offset in found if epoch == self.worker.epoch]


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def consumer(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Any:
    async def nothing(*_: Any) -> None:
        await asyncio.sleep(0)

    def begin(self: Any, *_: Any) -> None:
        self.app, self.transport = App(), SimpleNamespace(url=[])

    monkeypatch.setattr(driver.Consumer, "__init__", begin)
    for name in ("perform_seek", "on_partitions_revoked", "on_partitions_assigned"):
        monkeypatch.setattr(driver.Consumer, name, nothing)

    class Consumer(RoundConsumer):
        flow_active = True
        can_resume_flow = asyncio.Event()

        def assignment(self) -> set[TP]:
            return {SALES}

        async def wait(self, *_: Any, **__: Any) -> Any:
            await asyncio.sleep(0)

    made: Any = Consumer()
    made.rounds = RoundReader(broker.opened, by_record_time=False)
    return made


async def turn(consumer: Any) -> None:
    async for _ in consumer.getmany(1.0):
        pytest.fail("Faust is given no messages")


async def read_to_the_end(consumer: Any) -> list[int]:
    while END - 1 not in consumer.app.offsets:
        await turn(consumer)
    offsets: list[int] = consumer.app.offsets
    return offsets


@pytest.mark.parametrize("moves", [1, 2])
def test_consumer_that_is_moved_while_it_reads_skips_nothing(consumer: Any, moves: int) -> None:
    async def move() -> list[int]:
        reading = asyncio.create_task(read_to_the_end(consumer))
        while not consumer.app.rounds:
            await asyncio.sleep(0)
        await asyncio.gather(*(consumer.perform_seek() for _ in range(moves)))
        await reading
        return await read_to_the_end(consumer)

    assert asyncio.run(move()) == list(range(10, END))


def test_turn_that_is_cancelled_loses_nothing(consumer: Any) -> None:
    async def cancelled() -> list[int]:
        await consumer.perform_seek()
        for _ in range(5):
            turning = asyncio.create_task(turn(consumer))
            await asyncio.sleep(0)
            turning.cancel()
            await asyncio.gather(turning, return_exceptions=True)
        return await read_to_the_end(consumer)

    assert asyncio.run(cancelled()) == list(range(10, END))


@pytest.mark.parametrize("comes", ["on_partitions_revoked", "on_partitions_assigned"])
def test_rebalance_while_the_consumer_is_moved_leaves_it_without_a_place_until_it_is_moved_again(
    consumer: Any, broker: Broker, comes: str
) -> None:
    async def rebalance() -> list[int]:
        loop = asyncio.get_running_loop()

        def in_the_loop() -> None:
            asyncio.run_coroutine_threadsafe(getattr(consumer, comes)({SALES}), loop).result()

        consumer.app.worker.while_it_looks = in_the_loop
        await consumer.perform_seek()
        assert broker.open == 0
        consumer.app.worker.resume_at = 20  # another worker had the partition and read up to here
        return await read_to_the_end(consumer)

    assert asyncio.run(rebalance()) == list(range(20, END))


def test_rebalance_that_takes_a_partition_while_the_consumer_seeks_ends_nothing(
    consumer: Any, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeks = [IllegalStateError("No current assignment for partition 0"), AssertionError("No partitions are assigned")]

    async def seek(_: Any) -> None:
        if seeks:
            raise seeks.pop()

    monkeypatch.setattr(driver.Consumer, "perform_seek", seek)

    async def rebalance() -> list[int]:
        await consumer.perform_seek()
        assert broker.open == 0
        return await read_to_the_end(consumer)

    assert asyncio.run(rebalance()) == list(range(10, END))
    assert seeks == []


def test_nothing_is_queued_while_rounds_wait_and_the_next_round_has_it_all(consumer: Any) -> None:
    async def busy() -> list[int]:
        await consumer.perform_seek()
        consumer.app.has_room = False
        for _ in range(3):
            await turn(consumer)
        assert consumer.app.rounds == []
        consumer.app.has_room = True
        return await read_to_the_end(consumer)

    assert asyncio.run(busy()) == list(range(10, END))


def test_nothing_is_queued_while_the_flow_is_stopped_and_nothing_is_lost(consumer: Any) -> None:
    async def stop() -> list[int]:
        await consumer.perform_seek()
        await turn(consumer)
        consumer.flow_active = False
        for _ in range(5):
            await turn(consumer)
        assert consumer.app.offsets == [10, 11]
        consumer.flow_active = True
        return await read_to_the_end(consumer)

    assert asyncio.run(stop()) == list(range(10, END))
