"""The consumer hands on every record that it reads after it has been moved, and none from before."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from faust.transport.drivers import aiokafka as driver
from faust.types import TP

from headrace.online import SourcePartition
from headrace.stream.align import Aligner
from headrace.stream.transport import FetchConsumer
from tests.stream.shop import record

SALES = TP("sales", 0)


class Broker:
    """A partition and a place in it, as Faust's consumer has them."""

    def __init__(self, records: int, committed: int) -> None:
        self.records = records
        self.committed = committed
        self.place = 0

    async def poll(self, consumer: Any, partitions: set[TP], timeout: float) -> dict[TP, list[Any]]:
        await asyncio.sleep(0.01)
        first, self.place = self.place, min(self.place + 2, self.records)
        found = [record(offset, "a", offset) for offset in range(first, self.place)]
        for one in found:
            one.timestamp_type = 0
        return {SALES: found}

    async def seek_to_committed(self, consumer: Any) -> None:
        self.place = self.committed
        await asyncio.sleep(0.01)

    async def seek(self, offsets: dict[TP, int]) -> None:
        self.place = offsets[SALES]
        await asyncio.sleep(0.01)


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
            self._aligner = Aligner(by_record_time=False)
            self._durable = {}
            self._moving = asyncio.Lock()
            self._fetched_in = 0
            self._committed_offset = {SALES: broker.committed}
            self._buffered_partitions = set()
            track = SimpleNamespace(track_tp_end_offset=lambda *_: None)
            self.app = SimpleNamespace(consumer_generation_id=1, monitor=track, resume_offsets=resume_offsets)  # type: ignore[assignment]

        def assignment(self) -> set[TP]:
            return {SALES}

        def highwater(self, tp: TP) -> int:
            return broker.records

    monkeypatch.setattr(driver.Consumer, "_getmany", lambda *given: broker.poll(*given))
    monkeypatch.setattr(driver.Consumer, "perform_seek", lambda given: broker.seek_to_committed(given))
    monkeypatch.setattr(Consumer, "seek_wait", lambda _, offsets: broker.seek(offsets))
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
