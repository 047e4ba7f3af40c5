"""The consumer hands on every record that it reads after it has been moved, and none from before."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import Read, RecordsGone
from headrace.worker.faust_transport import FetchConsumer
from tests.worker.shop import record

SALES = TP("sales", 0)


class Broker:
    """A partition, and the readers of it that were opened."""

    def __init__(self, records: int, committed: int) -> None:
        self.records = records
        self.committed = committed
        self.open = 0

    def opened(self, brokers: str, starts: dict[SourcePartition, int]) -> Reader:
        self.open += 1
        return Reader(self, starts[SourcePartition(*SALES)])


class Reader:
    """Reads two records at a time, slowly."""

    def __init__(self, broker: Broker, place: int) -> None:
        self.broker = broker
        self.place = place
        self.held: list[Any] = []

    def fetch(self, wanted: set[SourcePartition], timeout_s: float) -> None:
        time.sleep(0.01)
        if not self.held:
            first, self.place = self.place, min(self.place + 2, self.broker.records)
            self.held = [record(offset, "a", offset) for offset in range(first, self.place)]

    def take(self, wanted: set[SourcePartition]) -> dict[SourcePartition, Read]:
        held, self.held = self.held, []
        return {SourcePartition(*SALES): Read(RawRecords.of(held), self.place)} if held else {}

    gone: list[RecordsGone] = []

    def end(self, source: SourcePartition) -> int:
        return self.broker.records

    def close(self) -> None:
        self.broker.open -= 1


@pytest.fixture
def broker() -> Broker:
    return Broker(records=40, committed=10)


@pytest.fixture
def consumer(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> Any:
    async def next_records(timeout: float) -> Any:
        if not made.flow_active:
            await made.flow.wait()
        return await made._getmany({SALES}, timeout), {SALES}  # noqa: SLF001 as Faust's own does

    async def resume_offsets(sources: list[SourcePartition]) -> dict[SourcePartition, int]:
        await asyncio.sleep(0.03)  # it reads the log
        return dict.fromkeys(sources, made.resume_at)

    class Consumer(FetchConsumer):
        flow_active = True
        should_stop = False
        resume_at = 10

        def __init__(self) -> None:
            self.flow = asyncio.Event()
            track = SimpleNamespace(track_tp_end_offset=lambda *_: None)
            self.app = SimpleNamespace(  # type: ignore[assignment]
                by_record_time=False,
                consumer_generation_id=1,
                monitor=track,
                resume_offsets=resume_offsets,
                read_ahead=lambda _: None,
                turned=lambda: None,
                partitions_assigned=lambda _: None,
            )
            self._brokers = "broker:9092"
            self._begin()
            self._open_reader = broker.opened  # type: ignore[assignment]
            self._committed_offset = {SALES: broker.committed}
            self._buffered_partitions = set()

        def assignment(self) -> set[TP]:
            return {SALES}

    async def nothing(*_: Any) -> dict[TP, Any]:
        await asyncio.sleep(0.01)
        return {}

    monkeypatch.setattr(driver.Consumer, "_getmany", nothing)
    monkeypatch.setattr(driver.Consumer, "perform_seek", nothing)
    monkeypatch.setattr(driver.Consumer, "on_partitions_revoked", nothing)
    monkeypatch.setattr(driver.Consumer, "on_partitions_assigned", nothing)
    monkeypatch.setattr(Consumer, "_wait_next_records", lambda _, timeout: next_records(timeout))
    made: Any = Consumer()
    return made


async def read(consumer: Any, enough: Callable[[list[int]], bool]) -> list[int]:
    """The offsets handed on, those of before the last move left out as the app leaves them."""
    found: list[tuple[int, int]] = []
    while not enough([offset for _, offset in found]):
        async for _, message in consumer.getmany(1.0):
            found += [(message.value.epoch, offset) for offset in message.value.records.offsets.tolist()]
    return [offset for epoch, offset in found if epoch >= consumer.epoch]


@pytest.mark.parametrize("resume_at", [10, 14])
def test_records_read_after_a_rebalance_by_a_poll_that_began_before_it_are_kept(
    consumer: Any, broker: Broker, resume_at: int
) -> None:
    consumer.resume_at = resume_at

    async def rebalance() -> list[int]:
        consumer.flow_active = False
        reading = asyncio.create_task(read(consumer, lambda offsets: 39 in offsets))
        await asyncio.sleep(0.01)  # the poll waits for the flow
        await consumer.perform_seek()
        consumer.flow_active = True
        consumer.flow.set()
        return await asyncio.wait_for(reading, 10)

    assert asyncio.run(rebalance()) == list(range(resume_at, 40))


@pytest.mark.parametrize("moves", [1, 2])
def test_consumer_that_is_moved_while_it_reads_skips_nothing(consumer: Any, broker: Broker, moves: int) -> None:
    async def move() -> list[int]:
        reading = asyncio.create_task(read(consumer, lambda offsets: 39 in offsets))
        await asyncio.sleep(0.025)
        await asyncio.gather(*(consumer.perform_seek() for _ in range(moves)))
        return await asyncio.wait_for(reading, 10)

    assert asyncio.run(move()) == list(range(10, 40))


def test_poll_that_is_cancelled_loses_nothing(consumer: Any, broker: Broker) -> None:
    async def cancelled() -> list[int]:
        await consumer.perform_seek()
        for _ in range(5):
            polling = asyncio.create_task(consumer._getmany({SALES}, 1.0))  # noqa: SLF001 what a fetcher that restarts leaves
            await asyncio.sleep(0.003)
            polling.cancel()
            await asyncio.sleep(0.02)
        return await asyncio.wait_for(read(consumer, lambda offsets: 39 in offsets), 10)

    assert asyncio.run(cancelled()) == list(range(10, 40))


@pytest.mark.parametrize("comes", ["on_partitions_revoked", "on_partitions_assigned"])
def test_rebalance_while_the_consumer_is_moved_leaves_it_without_a_place_until_it_is_moved_again(
    consumer: Any, broker: Broker, comes: str
) -> None:
    async def rebalance() -> list[int]:
        moving = asyncio.create_task(consumer.perform_seek())
        await asyncio.sleep(0.025)  # it asks the log where to go on
        await getattr(consumer, comes)({SALES})
        await moving
        assert broker.open == 0
        assert await consumer._getmany({SALES}, 1.0) == {}  # noqa: SLF001
        consumer.resume_at = 20  # whoever had the partition meanwhile got so far
        await consumer.perform_seek()
        return await asyncio.wait_for(read(consumer, lambda offsets: 39 in offsets), 10)

    assert asyncio.run(rebalance()) == list(range(20, 40))


def test_rebalance_that_takes_a_partition_while_the_consumer_seeks_ends_nothing(
    consumer: Any, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    seeks = [IllegalStateError("No current assignment for partition 0"), AssertionError("No partitions are assigned")]

    async def seek(_: Any) -> None:
        await asyncio.sleep(0.01)
        if seeks:
            raise seeks.pop()

    monkeypatch.setattr(driver.Consumer, "perform_seek", seek)

    async def rebalance() -> list[int]:
        await consumer.perform_seek()
        assert broker.open == 0
        return await asyncio.wait_for(read(consumer, lambda offsets: 39 in offsets), 10)

    assert asyncio.run(rebalance()) == list(range(10, 40))
    assert seeks == []


def test_records_that_came_when_the_flow_had_stopped_come_again(consumer: Any, broker: Broker) -> None:
    async def stop() -> list[int]:
        await consumer.perform_seek()
        waiting = asyncio.create_task(read(consumer, lambda offsets: 39 in offsets))
        for _ in range(5):
            await asyncio.sleep(0.013)
            consumer.flow_active = False
            await asyncio.sleep(0.03)
            consumer.flow_active = True
            consumer.flow.set()
        return await asyncio.wait_for(waiting, 10)

    assert sorted(set(asyncio.run(stop()))) == list(range(10, 40))


def test_what_faust_notes_late_drops_nothing_after_a_move(consumer: Any) -> None:
    """It asks for this offset before each message, and drops those below it."""

    async def move() -> None:
        await consumer.perform_seek()
        consumer._read_offset[SALES] = 30  # noqa: SLF001 of a message that was on its way meanwhile
        assert consumer._read_offset.__getitem__(SALES) is None  # noqa: SLF001

    asyncio.run(move())


def test_each_move_closes_what_was_read_from_before(consumer: Any, broker: Broker) -> None:
    async def move() -> None:
        for _ in range(3):
            await consumer.perform_seek()
        await asyncio.sleep(0.05)
        assert broker.open == 1

    asyncio.run(move())
