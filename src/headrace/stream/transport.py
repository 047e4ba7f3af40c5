"""Faust's transport, delivering whole fetches: one message per partition and fetch instead of one per record.

Stock Faust costs about 100 µs per record (DESIGN, §4). What is overridden here is the least that makes a fetch one message: the rest of Faust
(group membership, assignment, rebalancing, supervision, commits) stays. Three traps: the message must carry `generation_id`, or Faust drops it
in silence; Faust's ack and gap accounting thinks in single offsets, so the position that both stores hold is said through `_new_offset`; and
`value_type` stays unset with the raw codec, or the fetch is decoded as one value.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any

import faust
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from faust.types.tuples import ConsumerMessage

from headrace.events.raw import RawRecords
from headrace.online import SourcePartition
from headrace.stream import failpoints
from headrace.stream.align import Aligner, Fetch

__all__ = ["FetchApp", "FetchConsumer", "FetchTransport"]


_POLL_S = 0.25
"""How long one poll may wait for records, in seconds."""

_LONG_POLL_MS = 50
"""How long the broker may hold a fetch request that finds nothing; see `_FetchThread`."""


class _FetchThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread with a shorter long poll.

    aiokafka has one fetch request under way per broker. While one for partitions that have nothing new is held there, the partitions that
    have much are not fetched: with Faust's fixed 1,500 ms a replay spent most of its time waiting for its empty partitions.
    """

    def _create_worker_consumer(self, transport: Any) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = _LONG_POLL_MS  # noqa: SLF001 Faust has no setting for it, and the fetcher is made from this
        return consumer


class FetchConsumer(driver.Consumer):
    """A Faust consumer whose messages are fetches, and whose committable offsets are those both stores hold."""

    app: FetchApp
    logger = logging.getLogger("faust.headrace.consumer")  # what Faust says is Faust's, also of its subclasses

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._aligner = Aligner(by_record_time=self.app.by_record_time)
        self._durable: dict[TP, int] = {}
        self._moving = asyncio.Lock()
        self._fetched_in = 0

    def _new_consumer_thread(self) -> _FetchThread:
        return _FetchThread(self, loop=self.loop, beacon=self.beacon)

    def set_durable(self, offsets: dict[SourcePartition, int]) -> None:
        """Say which offset to read next, per partition, after everything before it is in both stores."""
        assigned = self.assignment()
        self._durable.update({TP(*source): offset for source, offset in offsets.items() if TP(*source) in assigned})

    async def _getmany(self, active_partitions: set[TP] | None, timeout: float) -> Any:
        if active_partitions is None:
            return {}  # a client-only app reads nothing
        async with self._moving:
            self._fetched_in = self._aligner.epoch
            wanted = {tp for tp in active_partitions if self._aligner.wants(SourcePartition(*tp))}
            if not wanted:
                return {}
            # With records held back, another partition's may just have become ready: do not wait long for new ones.
            # Nor may whoever moves the consumer have to wait long.
            return await super()._getmany(wanted, min(timeout, 0.05 if self._aligner.holds else _POLL_S))

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:
        """Fetch once, and yield each partition's part of the round as one message."""
        records, active = await self._wait_next_records(timeout)
        generation = self.app.consumer_generation_id
        if records is None or self.should_stop:
            return
        if not self.flow_active:
            await self.perform_seek()
            return
        if self._fetched_in != self._aligner.epoch:
            return  # a rebalance began while this was being fetched: the consumer will be moved, and these records come again
        current = {*(active or set()), *self._buffered_partitions}
        usable = {SourcePartition(*tp): RawRecords.of(fetched) for tp, fetched in records.items() if tp in current}
        for fetch in self._aligner.cut(usable, [SourcePartition(*tp) for tp in self.assignment()], self._end):
            if not self._goes_on(generation):
                break
            tp = TP(*fetch.source)
            self.app.monitor.track_tp_end_offset(tp, self._end(fetch.source) or 0)
            yield tp, self._message(tp, fetch, generation)

    def _goes_on(self, generation: int) -> bool:
        return self.flow_active and self.app.consumer_generation_id == generation

    def _end(self, source: SourcePartition) -> int | None:
        try:
            return self.highwater(TP(*source))
        except AssertionError:  # how aiokafka says that a rebalance has just taken the partition away
            return None

    def _message(self, tp: TP, fetch: Fetch, generation: int) -> ConsumerMessage:
        return ConsumerMessage(
            tp.topic,
            tp.partition,
            fetch.last_offset,
            int(fetch.records.timestamps[-1]) / 1000,
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
            self._aligner.reset()
            await super().perform_seek()
            wanted = await self.app.resume_offsets([SourcePartition(*tp) for tp in self.assignment()])
            elsewhere = {
                TP(*source): offset
                for source, offset in wanted.items()
                if offset != (self._committed_offset[TP(*source)] or 0)
            }
            if elsewhere:
                await self.seek_wait(elsewhere)
            self._aligner.reset()

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Forget the partitions that go."""
        await super().on_partitions_revoked(revoked)
        failpoints.reach("during-rebalance")
        self._aligner.reset()
        for tp in revoked:
            self._durable.pop(tp, None)

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Start the partitions that come from their committed offsets."""
        self._aligner.reset()
        failpoints.reach("during-rebalance")
        await super().on_partitions_assigned(assigned, generation_id)

    # Faust's accounting of acks and gaps works offset by offset; ours are said by set_durable.
    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """There are no gaps to track."""

    def _filter_tps_with_pending_acks(self, topics: Any = None) -> Iterable[TP]:  # type: ignore[override]
        return list(self._durable)

    def _new_offset(self, tp: TP) -> int | None:
        return self._durable.get(tp)

    async def _commit(self, offsets: Mapping[TP, int]) -> bool:
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

    async def resume_offsets(self, sources: list[SourcePartition]) -> dict[SourcePartition, int]:
        """The next offset to read of each partition; what is left out is read from where the group committed."""
        return {}

    def _new_transport(self) -> FetchTransport:
        return FetchTransport(self.conf.broker_consumer, self, loop=self.loop)
