"""The Faust app: fetches in, rounds through the pipeline, offsets out. `create` sets it up."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from headrace.config import Clock, Project
from headrace.errors import HeadraceError, RetryableError, StaleWriteError, StoreBehindError, TopicError, WorkerError
from headrace.events.source_partition import SourcePartition
from headrace.kafka import broker_address
from headrace.kafka.fetch_reader import RecordsGone
from headrace.plan import Plan
from headrace.stores import Readiness
from headrace.worker.faust_transport import FetchApp, FetchConsumer
from headrace.worker.liveness import Life
from headrace.worker.rounds import Fetch
from headrace.worker.startup import Runtime, prepare
from headrace.worker.stats import WorkerStats
from headrace.worker.topic_identity import Missing, gap_error, lost_error

__all__ = ["StreamApp"]

logger = logging.getLogger(__name__)

FLUSH_EVENTS = 50_000
"""The log is appended to when that many events wait for it …"""
FLUSH_S = 1.0
"""… or when any has waited this long, in seconds."""
BACKPRESSURE = 4
"""Applying waits for the log when this many times FLUSH_EVENTS wait."""

_FIRST_RETRY_S, _LONGEST_RETRY_S = 0.2, 10.0
_OTHERS_S = 1.0
_ROUND_S, _FLUSH_LIMIT_S = 60.0, 60.0
"""How long a try to apply a round (and the wait before the next one), or to write the log, may take before the worker's heart stops
beating, in seconds. A replay's rounds are large, and a machine may be slow."""


class StreamApp(FetchApp):
    """A worker's Faust app.

    Attributes:
        runtime: What it runs on; opened when the app starts, unless it was given.
        stats: What it has done.
        until: Stop once every partition has been read to these next offsets; None runs for good.
        failure: Why it stopped by itself, if it did.
        on_end: What to call once everything asked for has been applied.
        on_failure: What to call at once, from any thread, with what makes the worker end.
        life: What it tells of itself.
        pulse: When its event loop last turned, on the monotonic clock.
    """

    project: Project
    plan: Plan
    runtime: Runtime | None = None
    until: Mapping[SourcePartition, int] | None = None
    failure: BaseException | None = None
    on_end: Callable[[], None] = staticmethod(lambda: None)
    on_failure: Callable[[BaseException], None] = staticmethod(lambda _error: None)
    pulse: float | None = None

    def set_up(
        self, project: Project, plan: Plan, runtime: Runtime | None, until: Mapping[SourcePartition, int] | None
    ) -> None:
        """Say what to run; `create_app` calls it."""
        self.project, self.plan, self.runtime, self.until = project, plan, runtime, until
        self.by_record_time = project.clock is Clock.RECORD
        self.stats = WorkerStats()
        self.life = Life()
        self._leaving = asyncio.Event()
        self._goals: dict[SourcePartition, int] = {}
        self._applying = asyncio.Lock()
        self._flushing = asyncio.Lock()
        self._handing_off = asyncio.Lock()
        self._flushed_at = time.monotonic()
        self._noted_others_at = time.monotonic()
        self._oldest_epoch = 0
        self._came_to: dict[SourcePartition, Fetch] = {}
        self._gone: dict[SourcePartition, RecordsGone] = {}

    async def on_start(self) -> None:
        """Open both stores before the first fetch, where that has not been done."""
        if self.runtime is None:
            self.runtime = await asyncio.to_thread(prepare, self.project, self.plan, broker_address(self.project))
        await super().on_start()

    def turned(self) -> None:
        """The fetch loop has come round."""
        self.life.progress.turn()

    def partitions_assigned(self, sources: list[SourcePartition]) -> None:
        """The group has given these partitions, and no others."""
        self._goals.clear()
        self.life.assigned(sources)

    def thread_is_gone(self, error: BaseException | None) -> None:
        """The consumer's thread has ended: nothing can go on."""
        self.on_failure(error or WorkerError("The worker's connection to its consumer group has ended by itself."))

    @property
    def running(self) -> Runtime:
        """The runtime of an app that has started."""
        if self.runtime is None:
            msg = "The worker has not started."
            raise HeadraceError(msg)
        return self.runtime

    @property
    def fetches(self) -> FetchConsumer:
        """The consumer."""
        consumer = self.consumer
        if not isinstance(consumer, FetchConsumer):
            msg = f"The worker's consumer is a {type(consumer).__name__}; it must be headrace's."
            raise TypeError(msg)
        return consumer

    def read_ahead(self, fetches: list[Fetch]) -> None:
        """Begin to decode a round while those before it are applied."""
        if fetches:
            self.running.pipeline.read_ahead(fetches)

    async def resume_offsets(self, sources: list[SourcePartition]) -> dict[SourcePartition, int]:
        """The next offset to read of each partition, from the stores; called whenever partitions are assigned."""
        runtime = self.running
        async with self._applying:
            # Rounds read before the consumer is moved come again. Applied now, they would be taken for what follows the log,
            # and events between the two with their ids for new ones.
            self._oldest_epoch = self.fetches.epoch + 1
            await asyncio.to_thread(runtime.pipeline.reload)
            await asyncio.to_thread(runtime.handoff.resume)
        wanted = await asyncio.to_thread(runtime.resume_offsets, sources)
        self.stats.next_offsets.update(wanted)
        self._gone.clear()
        return wanted

    def records_gone(self, gone: list[RecordsGone]) -> None:
        """Note partitions that cannot be read on: `refuse_gap` stops the worker once what was read before is in both stores."""
        self._gone.update({one.source: one for one in gone})

    async def refuse_gap(self) -> None:
        """Raise TopicError where a partition has come to records that are gone."""
        if not self._gone or self.running.pipeline.has_unlogged:
            return
        come_to = [
            gone for at, gone in self._gone.items() if self.stats.next_offsets.get(at, gone.wanted) >= gone.wanted
        ]
        if come_to:
            await self.check_topics()  # of a topic made anew, other offsets are there
            raise gone_error(come_to)

    async def apply_round(self, fetches: list[Fetch]) -> None:
        """Make a round readable online; a store or broker that is away is waited for."""
        async with self._applying:
            refused = await self._apply(fetches)
        if refused:
            await self.fetches.perform_seek()
        if self.running.pipeline.unlogged_events > BACKPRESSURE * FLUSH_EVENTS:
            await self.flush()

    async def _apply(self, fetches: list[Fetch]) -> bool:
        """Apply a round; whether it was refused, so that the worker has to read again."""
        if fetches[0].epoch < self._oldest_epoch or self._leaving.is_set():
            return False  # read before the consumer was moved back, or never to be logged: these records come again, in order
        for fetch in fetches:
            if not self._goes_on(fetch):
                where = f"{fetch.source.topic}[{fetch.source.partition}] before offset {fetch.first_offset}"
                logger.warning("Records of %s were lost on their way here. Reading them again.", where)
                return True
        self.stats.begin_round()
        with self.life.progress.doing("applying a round", _ROUND_S) as step:
            delay = _FIRST_RETRY_S
            while True:
                try:
                    summary = await asyncio.to_thread(self.running.pipeline.process, fetches)
                    break
                except StaleWriteError as error:
                    logger.warning("%s Reading again from the committed offsets.", error)
                    self.stats.refuse_round()
                    return True
                except RetryableError as error:
                    self.life.away("rounds").note(error)
                    step()
                    if await self._leaves_within(delay):
                        return False
                    step()
                    delay = min(delay * 2, _LONGEST_RETRY_S)
        self.life.away("rounds").over()
        self.life.applied_round()
        self._came_to.update({fetch.source: fetch for fetch in fetches})
        self.stats.end_round(summary, {fetch.source: fetch.last_offset + 1 for fetch in fetches})
        return False

    async def _leaves_within(self, seconds: float) -> bool:
        """Wait; whether the worker was asked to end meanwhile."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._leaving.wait(), seconds)
        return self._leaving.is_set()

    def _goes_on(self, fetch: Fetch) -> bool:
        """Whether a fetch is the next of its partition: Faust may drop a message in silence, and what follows would come behind a hole."""
        before = self._came_to.get(fetch.source)
        return fetch.follows == (before.last_offset if before is not None and before.epoch == fetch.epoch else None)

    async def flush(self) -> None:
        """Bring the log and the store up to date, and let Kafka know; what is away is tried again at the next turn."""
        async with self._flushing:
            try:
                with self.life.progress.doing("writing the log", _FLUSH_LIMIT_S):
                    offsets = await asyncio.to_thread(self.running.pipeline.flush)
            except RetryableError as error:
                self.life.away("log").note(error)
                await self._leaves_within(FLUSH_S)
                return
            self.life.away("log").over()
            self._flushed_at = time.monotonic()
            if offsets:
                self.fetches.set_durable(offsets)
                self.stats.end_flush()

    async def leave(self) -> None:
        """Apply no more rounds, bring both stores up to date, and let Kafka know, as long as the worker is in its group."""
        self._leaving.set()
        self.life.stopping()
        if self.runtime is None or self.failure is not None or not self.life.was_assigned:
            return
        async with self._applying:
            await self.flush()
            await self.fetches.force_commit()

    async def hand_off(self) -> bool:
        """Go on with building versions of views that were asked for, if there are any.

        Returns:
            Whether there is more to build just now.
        """
        handoff = self.running.handoff
        async with self._handing_off:
            try:
                more = await asyncio.to_thread(handoff.build, self._owns())
                async with self._applying:
                    if handoff.is_ready:
                        await self.flush()
                    if handoff.is_ready and not self.running.pipeline.has_unlogged and self._is_placed:
                        await asyncio.to_thread(handoff.join, self._owns())
                    await asyncio.to_thread(handoff.settle, self._owns())
            except (StaleWriteError, RetryableError) as error:
                logger.warning("%s Building goes on from there.", error)
                return False
        return more or handoff.is_ready

    @property
    def _is_placed(self) -> bool:
        """Whether the consumer stands where the log ended when its partitions were assigned.

        Until then a worker that had them may log what it has applied: reading starts behind that, and a version that joined before would lack it.
        """
        return self.fetches.epoch == self._oldest_epoch

    def _owns(self) -> Callable[[str, int], bool]:
        assigned = {SourcePartition(*tp) for tp in self.fetches.assignment()}
        return lambda topic, number: self.running.topics.first_of(topic, number) in assigned

    @property
    def flush_is_due(self) -> bool:
        """Whether enough events wait for the log, or have waited long enough."""
        pipeline = self.running.pipeline
        waited = time.monotonic() - self._flushed_at >= FLUSH_S
        return pipeline.unlogged_events >= FLUSH_EVENTS or (waited and pipeline.has_unlogged) or self.at_end

    @property
    def at_end(self) -> bool:
        """Whether everything asked for has been applied."""
        if self.until is None:
            return False
        done = self.stats.next_offsets
        return all(done.get(source, 0) >= end for source, end in self.until.items())

    async def note_others(self) -> None:
        """Where everything is to be read once: see in the log how far other workers of the group have come with their partitions."""
        if self.until is None or time.monotonic() - self._noted_others_at < _OTHERS_S:
            return
        self._noted_others_at = time.monotonic()
        mine = {SourcePartition(*tp) for tp in self.fetches.assignment()}
        others = [at for at, end in self.until.items() if at not in mine and self.stats.next_offsets.get(at, 0) < end]
        if others:
            logged = await asyncio.to_thread(self.running.logged_offsets, others)
            done = self.stats.next_offsets  # a partition may have become this worker's meanwhile
            done.update({at: max(offset, done.get(at, 0)) for at, offset in logged.items()})

    @property
    def is_caught_up(self) -> bool:
        """Whether all that was there to read when its partitions were assigned has been applied."""
        if not self.life.was_assigned:
            return False
        for tp in self.fetches.assignment():
            at = SourcePartition(*tp)
            end = self._goals.get(at) or self.fetches.end(at)
            if end is None:
                return False
            self._goals[at] = end
        return all(self.stats.next_offsets.get(at, 0) >= end for at, end in self._goals.items())

    async def check_topics(self) -> None:
        """Refuse to go on where the topics are no longer those the log was made from; rounds and flushes ask as well."""
        await asyncio.to_thread(self.running.topics.check)

    async def check_store(self) -> None:
        """Refuse to go on over a store that was emptied: a worker with nothing to write would not see it, and lookups would wait for good."""
        try:
            catalogue = await asyncio.to_thread(self.running.store.catalogue)
        except RetryableError as error:
            self.life.away("store").note(error)
            return
        self.life.away("store").over()
        if catalogue.readiness is Readiness.EMPTY:
            msg = "The online store was emptied under the worker."
            raise StoreBehindError(msg, hint="Started again, the worker fills it from the log.")

    async def fail(self, error: BaseException) -> None:
        """Stop the worker: going on would skip events."""
        self.failure = self.failure or error
        self.on_failure(self.failure)
        await self.crash(error)


def gone_error(gone: list[RecordsGone]) -> TopicError:
    """The error of partitions that cannot be read on, of the first topic among them."""
    topic = gone[0].source.topic
    mine = [one for one in gone if one.source.topic == topic]
    lost = {one.source.partition: (one.end, one.wanted) for one in mine if one.end < one.wanted}
    if lost:
        return lost_error(topic, lost)
    return gap_error(topic, [Missing(one.source.partition, one.wanted, one.earliest - 1) for one in mine])
