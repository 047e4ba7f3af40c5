"""Faust keeps the consumer group; its fetch loop reads one round at each turn.

Faust keeps group membership, assignment, rebalancing, supervision and commits, on aiokafka. Stock Faust then hands
records over one by one, at about 100 µs each. Here its fetch loop gets no messages: at each turn a round is read (by
librdkafka, docs/adr/0010), cut and queued for the worker, and stays whole (docs/adr/0028). Whenever Faust moves the
consumer, the worker says where to read on. What may be committed is what both stores hold; Faust's own accounting of
acks and gaps is not used.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode import Service
from mode.threads import WorkerThread

from headrace.errors import WorkerError
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import RecordReader
from headrace.worker import failpoints
from headrace.worker.round_reader import RoundReader

if TYPE_CHECKING:
    from headrace.worker.faust_driver import StreamApp

__all__ = ["RoundConsumer", "RoundTransport"]

_LOOK_S = 0.25
"""How often it is looked whether the consumer's thread still runs, or the group has given partitions, in seconds."""
_POLL_S = 1.0
"""How often aiokafka is polled, in seconds: it leaves the group if no other code does."""


class _Thread(WorkerThread):
    """The operating system's thread of Faust's consumer thread.

    It reports its own end: Faust would wait for its answers forever.
    """

    def __init__(self, service: _GroupThread, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True  # a process that ends does not wait for it

    def run(self) -> None:
        """Run the thread."""
        try:
            super().run()
        except BaseException as error:
            self._report(error)
        else:
            self._report(None)

    def _report(self, error: BaseException | None) -> None:
        service: Any = self.service
        if error is not None or not service.should_stop:
            service.consumer.app.thread_is_gone(error)


class _GroupThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, whose consumer is in the group and fetches nothing."""

    Worker = _Thread
    logger = logging.getLogger("faust.headrace.group")

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Why the worker ends is said once, when it does; Faust would print it here, with its traceback."""

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Have the thread do something.

        A thread that has crashed or ended will not, and Faust would wait for its answer forever.
        """
        answer = asyncio.ensure_future(super().call_thread(fun, *args, **kwargs))
        try:
            while not answer.done() and not self.crashed:
                await asyncio.wait({answer}, timeout=_LOOK_S)
            if answer.done():
                return answer.result()
        finally:
            answer.cancel()
        msg = "The worker's connection to its consumer group has ended."
        raise WorkerError(msg)

    @Service.task
    async def _poll(self) -> None:
        """Stay in the group, and raise what the broker refuses: aiokafka raises it only where records are asked for."""
        while not self.should_stop:
            await self.sleep(_POLL_S)
            await self._ensure_consumer().getmany(timeout_ms=0)  # all partitions are paused: there are none

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Pause what was assigned, before aiokafka's fetcher has seen it."""
        with suppress(
            IllegalStateError
        ):  # the next rebalance has taken some already; what aiokafka fetches meanwhile nobody reads
            self._ensure_consumer().pause(*map(driver.ensure_aiokafka_TP, assigned))
        await super().on_partitions_assigned(assigned, generation_id)


class RoundConsumer(driver.Consumer):
    """A Faust consumer that reads rounds, and which commits the offsets that both stores have."""

    app: StreamApp
    logger = logging.getLogger("faust.headrace.consumer")  # what Faust says is Faust's, also of its subclasses

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rounds = RoundReader(partial(RecordReader, self.app.connection), by_record_time=self.app.by_record_time)
        self._moving = asyncio.Lock()
        self._reading = ThreadPoolExecutor(1, "headrace-reader")

    def _new_consumer_thread(self) -> _GroupThread:
        return _GroupThread(self, loop=self.loop, beacon=self.beacon)

    @property
    def sources(self) -> list[SourcePartition]:
        """Kafka's partitions that are assigned."""
        return sorted(SourcePartition(*tp) for tp in self.assignment())

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """One turn of Faust's fetch loop: read a round and queue it. Faust gets no messages."""
        await self._turn()
        messages: tuple[tuple[TP, ConsumerMessage], ...] = ()
        for message in messages:
            yield message

    async def _turn(self) -> None:
        self.app.worker.life.progress.turn()
        if not self.flow_active:  # Faust moves the consumer before the flow goes on
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # an asyncio.Event will do
        elif not self.rounds.is_placed and self.assignment():
            await self.perform_seek()
        elif not self.rounds.is_placed:
            await self.sleep(_LOOK_S)
        else:
            read = self.rounds.wait if self.app.has_room else self.rounds.read_ahead
            await asyncio.get_running_loop().run_in_executor(self._reading, read, self.sources)
            if self.app.has_room:
                self._queue_round()

    def _queue_round(self) -> None:
        """Hand on what was read.

        Nothing is awaited here: a fetch loop that is cancelled leaves what was read in the reader.
        """
        if self.flow_active:
            if gone := self.rounds.gone:
                self.app.worker.records_gone(gone)
            round_ = self.rounds.next_round(self.sources)
            if round_ is not None:
                self.app.queue(round_)

    async def perform_seek(self) -> None:
        """Go to where the worker needs to read on; what was read and not applied comes again."""
        async with self._moving:
            self.rounds.stop()
            try:
                await super().perform_seek()
            except (IllegalStateError, AssertionError):
                return  # how aiokafka says that a rebalance has just taken a partition, or all of them
            place = await asyncio.to_thread(self.app.worker.resume, self.sources)
            # A rebalance meanwhile moves the consumer once more, and other workers may have gone on from there.
            if place.offsets and place.epoch == self.app.worker.epoch:
                self.rounds.place(place.offsets, place.epoch)

    async def on_stop(self) -> None:
        """Leave the group, and close the connections."""
        self.rounds.stop()
        self._reading.shutdown(wait=False)
        await super().on_stop()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the partitions that go."""
        self.app.worker.revoked(SourcePartition(*tp) for tp in revoked)
        self.rounds.stop()
        await super().on_partitions_revoked(revoked)
        failpoints.reach("during-rebalance")

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take the partitions that come."""
        self.app.worker.assigned([SourcePartition(*tp) for tp in assigned])
        self.rounds.stop()
        failpoints.reach("during-rebalance")
        await super().on_partitions_assigned(assigned, generation_id)

    def highwater(self, tp: TP) -> int:
        """A partition's end offset as the last fetch response had it; 0 where there was none yet."""
        return self.rounds.end(SourcePartition(*tp)) or 0

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing to verify: Faust would look at what aiokafka fetches, which is nothing."""

    # Faust counts acks offset by offset; here the worker says what may be committed.
    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:  # type: ignore[override]
        return [TP(*source) for source in list(self.app.worker.durable)]

    def _new_offset(self, tp: TP) -> int | None:
        return self.app.worker.durable.get(SourcePartition(*tp))

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        if self.crashed:
            return False  # the worker ends; what is not committed is read again, and skipped
        failpoints.reach("before-offset-commit")
        committed = await super()._commit(offsets)
        failpoints.reach("after-offset-commit")
        return committed


class RoundTransport(driver.Transport):
    """The transport that makes round consumers."""

    Consumer = RoundConsumer
