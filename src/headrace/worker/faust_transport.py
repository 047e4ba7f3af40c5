"""Faust's transport, delivering whole fetches: one message per partition and fetch instead of one per record.

Stock Faust costs about 100 µs per record (DESIGN, §4). What is overridden here is the least that makes a fetch one message: the rest of Faust
(group membership, assignment, rebalancing, supervision, commits) stays, on aiokafka. Records are read by librdkafka (docs/adr/0010), which is
told where to stand whenever Faust moves its consumer. Three traps: the message must carry `generation_id`, or Faust drops it in silence;
Faust's ack and gap accounting thinks in single offsets, so the position that both stores hold is said through `_new_offset`; and `value_type`
stays unset with the raw codec, or the fetch is decoded as one value.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import faust
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage
from mode import Service
from mode.threads import WorkerThread

from headrace.errors import WorkerError
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import Read, RecordReader, RecordsGone
from headrace.worker import failpoints
from headrace.worker.rounds import Aligner, Fetch

__all__ = ["FetchApp", "FetchConsumer", "FetchTransport"]


_POLL_S = 0.25
"""How long one poll may wait for records, in seconds."""

_PAUSED_S = 0.002
"""How often it is looked whether the agent has caught up, in seconds: Faust looks once a second, and events that come then wait for so long."""

_SIGN_OF_LIFE_S = 1.0
"""How often aiokafka is polled, in seconds: it leaves the group where nobody does."""


class _Thread(WorkerThread):
    """The operating system's thread of Faust's consumer thread; that it is gone is told, for Faust would wait for its answers for good."""

    def __init__(self, service: _GroupThread, **kwargs: Any) -> None:
        super().__init__(service, **kwargs)
        self.daemon = True  # a process that ends does not wait for it

    def run(self) -> None:
        """Run the thread."""
        try:
            super().run()
        except BaseException as error:
            self._tell(error)
        else:
            self._tell(None)

    def _tell(self, error: BaseException | None) -> None:
        service: Any = self.service
        if error is not None or not service.should_stop:
            service.consumer.app.thread_is_gone(error)


class _GroupThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread, whose consumer is in the group and fetches nothing."""

    Worker = _Thread
    logger = logging.getLogger("faust.headrace.group")

    def on_crash(self, msg: str, *fmt: Any, **kwargs: Any) -> None:
        """Why the worker ends is told once, when it does; Faust would print it here, with its traceback."""

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> Any:
        """Have the thread do something; a thread that has crashed or ended will not, and Faust would wait for its answer for good."""
        answer = asyncio.ensure_future(super().call_thread(fun, *args, **kwargs))
        try:
            while not answer.done() and not self.crashed:
                await asyncio.wait({answer}, timeout=_POLL_S)
            if answer.done():
                return answer.result()
        finally:
            answer.cancel()
        msg = "The worker's connection to its consumer group has ended."
        raise WorkerError(msg)

    @Service.task
    async def _ask_for_refusals(self) -> None:
        """Raise what the broker refuses: aiokafka tells it only to a caller that asks for records, and Faust asks another way."""
        while not self.should_stop:
            await self.sleep(_SIGN_OF_LIFE_S)
            await self._ensure_consumer().getmany(timeout_ms=0)  # all partitions are paused: there are none

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Pause what was assigned, before aiokafka's fetcher has seen it."""
        with suppress(
            IllegalStateError
        ):  # the next rebalance has taken some already; what aiokafka fetches meanwhile nobody reads
            self._ensure_consumer().pause(*map(driver.ensure_aiokafka_TP, assigned))
        await super().on_partitions_assigned(assigned, generation_id)


class _NothingRead(dict[TP, int | None]):
    """Faust's note of the last offset read of each partition, by which it drops messages in silence; it never holds any.

    Faust notes an offset when a message has been handed on, which may be after the consumer was moved back from there: the next
    messages would be dropped up to it. Here epochs tell what is of before.
    """

    def __getitem__(self, tp: TP) -> None:
        return None


class FetchConsumer(driver.Consumer):
    """A Faust consumer whose messages are fetches, and whose committable offsets are those both stores hold."""

    app: FetchApp
    logger = logging.getLogger("faust.headrace.consumer")  # what Faust says is Faust's, also of its subclasses

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._brokers = ",".join(driver.server_list(self.transport.url, FetchTransport.default_port))
        self._begin()

    def _begin(self) -> None:
        self._aligner = Aligner(by_record_time=self.app.by_record_time)
        self._durable: dict[TP, int] = {}
        self._moving = asyncio.Lock()
        self._rebalances = 0
        self._fetched_in = 0
        self._reader: RecordReader | None = None
        self._open_reader: Callable[[str, Mapping[SourcePartition, int]], RecordReader] = RecordReader
        self._read_offset = _NothingRead()
        self._reading = ThreadPoolExecutor(1, "headrace-reader")
        self._polled_at = 0.0

    def _new_consumer_thread(self) -> _GroupThread:
        return _GroupThread(self, loop=self.loop, beacon=self.beacon)

    def set_durable(self, offsets: dict[SourcePartition, int]) -> None:
        """Say which offset to read next, per partition, after everything before it is in both stores."""
        assigned = self.assignment()
        self._durable.update({TP(*source): offset for source, offset in offsets.items() if TP(*source) in assigned})

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        if active_partitions is None:
            return {}  # a client-only app reads nothing
        async with self._moving:
            self._fetched_in = self._aligner.epoch
            await self._show_life(active_partitions)
            reader = self._reader
            wanted = {source for tp in active_partitions if self._aligner.wants(source := SourcePartition(*tp))}
            if reader is None:
                return {}
            if not wanted:  # the agent has to catch up first; to look again at once would only keep it from that
                await asyncio.sleep(_PAUSED_S)
                return {}
            # With records held back, another partition's may just have become ready: do not wait long for new ones.
            # Nor may whoever moves the consumer have to wait long.
            wait_s = min(timeout, 0.05 if self._aligner.holds else _POLL_S)
            await asyncio.get_running_loop().run_in_executor(self._reading, reader.fetch, wanted, wait_s)
            # From here to the caller nothing is awaited: what is taken is handed on.
            if reader is not self._reader or not self.flow_active:
                return {}
            if gone := reader.gone:
                self.app.records_gone(gone)
            return reader.take(wanted)

    async def _show_life(self, partitions: set[TP]) -> None:
        now = time.monotonic()
        if now - self._polled_at >= _SIGN_OF_LIFE_S:
            self._polled_at = now
            await super()._getmany(partitions, 0.0)  # all are paused: it finds nothing, and raises what is wrong

    async def _wait_next_records(self, timeout: float) -> Any:
        paused_until = time.monotonic() + timeout
        while self.flow_active and self.assignment() and not self._get_active_partitions():
            if self.should_stop or time.monotonic() > paused_until:
                return {}, set()
            await self.sleep(_PAUSED_S)
        return await super()._wait_next_records(timeout)

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Fetch once, and yield each partition's part of the round as one message."""
        self.app.turned()
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            if records:  # they are not handed on, so they have to come again
                self._stop_reading()
            return  # whoever stopped the flow moves the consumer before it goes on
        if self._reader is None and self.assignment():
            await self.perform_seek()
            return
        if self._fetched_in != self._aligner.epoch:
            return  # a rebalance began while this was being fetched: the consumer will be moved, and these records come again
        fetched_now: Mapping[SourcePartition, Read] = records  # see _getmany
        current = {SourcePartition(*tp) for tp in (*(active or ()), *self._buffered_partitions)}
        usable = {source: fetched for source, fetched in fetched_now.items() if source in current}
        fetches = self._aligner.cut(usable, [SourcePartition(*tp) for tp in self.assignment()], self.end)
        self.app.read_ahead(fetches)
        for fetch in fetches:
            if not self._goes_on(generation):
                break
            tp = TP(*fetch.source)
            self.app.monitor.track_tp_end_offset(tp, self.end(fetch.source) or 0)
            yield tp, self._message(tp, fetch, generation)

    def _goes_on(self, generation: int) -> bool:
        return self.flow_active and self.app.consumer_generation_id == generation

    def end(self, source: SourcePartition) -> int | None:
        """A partition's end offset as the last fetch response had it; None where there was none yet."""
        return None if self._reader is None else self._reader.end(source)

    def highwater(self, tp: TP) -> int:
        """A partition's end offset as the last fetch response had it; 0 where there was none yet."""
        return self.end(SourcePartition(*tp)) or 0

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Nothing to verify: Faust would look at what aiokafka fetches, which is nothing."""

    def _message(self, tp: TP, fetch: Fetch, generation: int) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            fetch.last_offset,
            int(fetch.records.timestamps[-1]) / 1000 if len(fetch.records) else 0.0,
            0,  # the time is its producer's
            [],  # headers
            None,  # key
            fetch,  # type: ignore[arg-type]  # value: the raw codec hands on what it is given
            None,  # checksum
            0,  # serialized key size
            0,  # serialized value size
            tp,
            generation_id=generation,
        )

    @property
    def epoch(self) -> int:
        """Fetches of an older epoch were read before the consumer was last moved."""
        return self._aligner.epoch

    async def perform_seek(self) -> None:
        """Go to what the stores need next; what was held comes again.

        Nothing is fetched meanwhile: what is fetched before the consumer has its new place comes again, and what is fetched after must be
        kept, so the two must not be mistaken for one another.
        """
        async with self._moving:
            self._stop_reading()
            self._aligner.reset()
            rebalances = self._rebalances
            try:
                await super().perform_seek()
            except (
                IllegalStateError,
                AssertionError,
            ):  # how aiokafka says that a rebalance has just taken a partition, or all of them
                return
            assigned = sorted(SourcePartition(*tp) for tp in self.assignment())
            wanted = await self.app.resume_offsets(assigned)
            self._aligner.reset()
            if rebalances != self._rebalances:
                return  # the consumer is moved once more, and other workers may have gone on from there
            starts = {source: wanted.get(source, self._committed_offset[TP(*source)] or 0) for source in assigned}
            if starts:
                self._reader = self._open_reader(self._brokers, starts)

    def _stop_reading(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:  # closing waits for the fetch under way, and nothing depends on it
            threading.Thread(target=reader.close, name="headrace-reader-closing", daemon=True).start()

    async def on_stop(self) -> None:
        """Leave the group, and let go of the connections."""
        self._stop_reading()
        self._reading.shutdown(wait=False)
        await super().on_stop()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the partitions that go."""
        self._rebalances += 1
        self._stop_reading()
        await super().on_partitions_revoked(revoked)
        failpoints.reach("during-rebalance")
        self._aligner.reset()
        for tp in revoked:
            self._durable.pop(tp, None)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Start the partitions that come from their committed offsets."""
        self._rebalances += 1
        self._stop_reading()
        self._aligner.reset()
        failpoints.reach("during-rebalance")
        await super().on_partitions_assigned(assigned, generation_id)
        self.app.partitions_assigned(sorted(SourcePartition(*tp) for tp in self.assignment()))

    # Faust's accounting of acks and gaps works offset by offset; ours are said by set_durable.
    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """There are no gaps to track."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:  # type: ignore[override]
        return list(self._durable)

    def _new_offset(self, tp: TP) -> int | None:
        return self._durable.get(tp)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
        if self.crashed:
            return False  # the worker ends; what is not committed is read again, and passed over
        failpoints.reach("before-offset-commit")
        committed = await super()._commit(offsets)
        failpoints.reach("after-offset-commit")
        return committed


class FetchTransport(driver.Transport):
    """The transport that makes fetch consumers."""

    Consumer = FetchConsumer


class FetchApp(faust.App):
    """A Faust app over fetches.

    Attributes:
        by_record_time: Whether rounds are aligned by record time (the record clock).
    """

    by_record_time: bool = False
    logger = logging.getLogger("faust.headrace.app")

    def read_ahead(self, fetches: list[Fetch]) -> None:
        """A round was cut, which an agent will be given when it is done with those before."""

    def records_gone(self, gone: list[RecordsGone]) -> None:
        """The broker no longer has what comes next of some partitions; what was read before has been handed on, or waits for its round."""

    def turned(self) -> None:
        """The fetch loop has come round."""

    def partitions_assigned(self, sources: list[SourcePartition]) -> None:
        """The group has given these partitions, and no others; called whenever it has."""

    def thread_is_gone(self, error: BaseException | None) -> None:
        """The consumer's thread has ended though nobody asked it to; called from that thread."""

    async def resume_offsets(self, sources: list[SourcePartition]) -> dict[SourcePartition, int]:
        """The next offset to read of each partition; what is left out is read from where the group committed."""
        return {}

    def _new_transport(self) -> FetchTransport:
        return FetchTransport(self.conf.broker_consumer, self, loop=self.loop)
