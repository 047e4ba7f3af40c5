"""A worker's logic as a plain object: rounds go in, offsets come out.

A driver calls it. The Faust app is one driver, a test is another.

The driver says which partitions come and go (`assigned`, `revoked`), asks where to read (`resume`), and hands over what
was read, in order (`apply`). Beside that it calls `tick` several times a second, `hand_off` every second, `check` every
few seconds, and `leave` at the end. Each of these may run in a thread of its own. They return when they are done, and
wait for what is away.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple

from headrace.errors import RetryableError, StaleWriteError, StoreBehindError, TopicError
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import RecordsGone
from headrace.log import EventLog
from headrace.plan import Plan, Source
from headrace.stores import OnlineStore, Readiness
from headrace.worker.handoff import Handoff
from headrace.worker.liveness import Life
from headrace.worker.partition_numbers import PartitionNumbers
from headrace.worker.pipeline import Pipeline
from headrace.worker.rounds import Round
from headrace.worker.stats import WorkerStats
from headrace.worker.topic_identity import Missing, gap_error, lost_error

__all__ = ["FLUSH_EVENTS", "Place", "Worker"]

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
"""How long a try to apply a round (and the wait before the next one), or to write the log, may take before the worker
gives no more signs of life, in seconds. A replay's rounds are large, and a machine may be slow."""


class Place(NamedTuple):
    """Where to read on.

    Attributes:
        epoch: What rounds read from here are marked with; while it is the worker's own epoch, the place is still right.
        offsets: By Kafka's partition, the next offset to read.
    """

    epoch: int
    offsets: dict[SourcePartition, int]


class Worker:
    """Applies rounds to both stores, and says where to read, what may be committed, and when it is done.

    Args:
        plan: The plan.
        store: The online store, writable.
        open_log: Opens the log of a source, to see what other workers have written.
        topics: Which source partitions Kafka's partitions are, and whether the topics are still the same.
        pipeline: What applies a round.
        handoff: What builds other versions of views; None where nobody can ask for one.
        close: Lets go of all of that.
        monotonic: A clock in seconds.

    Attributes:
        until: It is done once every partition has been read to these next offsets; None is never.
        stats: What it has done.
        life: What it says of itself while it runs.
        durable: By Kafka's partition, the next offset after what both stores hold: what may be committed.
        epoch: Rounds that are marked with another one are left: they come again.
    """

    def __init__(
        self,
        plan: Plan,
        store: OnlineStore,
        open_log: Callable[[Source], EventLog],
        topics: PartitionNumbers,
        pipeline: Pipeline,
        handoff: Handoff | None = None,
        close: Callable[[], None] = lambda: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plan = plan
        self.pipeline = pipeline
        self.close = close
        self.until: Mapping[SourcePartition, int] | None = None
        self.stats = WorkerStats()
        self.life = Life()
        self.durable: dict[SourcePartition, int] = {}
        self.epoch = 0
        self._store = store
        self._open_log = open_log
        self._topics = topics
        self._handoff = handoff
        self._monotonic = monotonic
        self._counting = threading.Lock()
        self._placed_in: int | None = None
        self._assigned: frozenset[SourcePartition] = frozenset()
        self._goals: dict[SourcePartition, int] = {}
        self._gone: dict[SourcePartition, RecordsGone] = {}
        self._ending = threading.Event()
        self._applying = threading.Lock()
        self._flushing = threading.Lock()
        self._handing_off = threading.Lock()
        self._flushed_at = self._noted_others_at = monotonic()

    # Which partitions it has, and where to read them.

    def revoked(self, sources: Iterable[SourcePartition] = ()) -> None:
        """The reader has lost its place, or these partitions go. Rounds that were read before come again."""
        self._new_epoch()
        for source in sources:
            self.durable.pop(source, None)

    def assigned(self, sources: Collection[SourcePartition]) -> None:
        """The group has given these of Kafka's partitions, and no others."""
        self.revoked()
        self._assigned = frozenset(sources)
        self._goals.clear()
        self.life.assigned(sorted(sources))

    def resume(self, sources: Collection[SourcePartition]) -> Place:
        """Where to read on: after the last offset that both stores hold.

        The stores know this better than Kafka does: what the group committed may be older than what they hold, and
        newer where a store was lost.

        Args:
            sources: Kafka's partitions.

        Raises:
            TopicError: Another worker reads a topic that was created again.
            StoreBehindError: The online store has less than the log: it has lost writes since the worker started.
        """
        with self._applying:
            # Rounds that were read before come again. If they were applied now, they would be taken for what follows
            # the log, and events between the two with their ids for new ones.
            epoch = self._new_epoch()
            self.pipeline.reload()
            if self._handoff is not None:
                self._handoff.resume()
        wanted = sorted(sources)
        self._topics.assigned(wanted)
        logged = self._logged(wanted)
        # After reading the log: what another worker logs meanwhile it has applied before.
        self._store.commit([], {}, {self._topics.number(at): last for at, last in logged.items() if last is not None})
        offsets = {at: self._topics.next_offset(at, last) for at, last in logged.items()}
        self.stats.next_offsets.update(offsets)
        self._gone.clear()
        self._placed_in = epoch
        return Place(epoch, offsets)

    def _new_epoch(self) -> int:
        with self._counting:
            self.epoch += 1
            return self.epoch

    def logged_offsets(self, sources: Iterable[SourcePartition]) -> dict[SourcePartition, int]:
        """By Kafka's partition, the next offset after what the log has, which other workers may have written."""
        return {at: self._topics.next_offset(at, last) for at, last in self._logged(sources).items()}

    def _logged(self, sources: Iterable[SourcePartition]) -> dict[SourcePartition, int | None]:
        """By Kafka's partition, the last offset that the log holds."""
        asked = list(sources)
        found: dict[SourcePartition, int | None] = {}
        for source in self.plan.sources.values():
            numbers = {at: self._topics.number(at).partition for at in asked if at.topic == source.topic}
            ends = self._open_log(source).last_offsets(numbers.values()) if numbers else {}
            found.update({at: ends.get(number) for at, number in numbers.items()})
        return found

    # One round.

    def apply(self, round_: Round) -> bool:
        """Make a round readable online. A store or broker that is away is waited for.

        Args:
            round_: The round; rounds come in the order in which they were read.

        Returns:
            Whether the reader may go on. If not, it must be placed again: see `resume`.
        """
        with self._applying:
            goes_on = self._apply(round_)
        if self.pipeline.unlogged_events > BACKPRESSURE * FLUSH_EVENTS:
            self.flush()
        return goes_on

    def _apply(self, round_: Round) -> bool:
        if round_.epoch != self.epoch or self._ending.is_set():
            return True  # it comes again, in order
        self.stats.begin_round()
        with self.life.progress.doing("applying a round", _ROUND_S) as step:
            delay = _FIRST_RETRY_S
            while True:
                try:
                    summary = self.pipeline.process(round_)
                    break
                except StaleWriteError as error:
                    logger.warning("%s Reading again from the committed offsets.", error)
                    self.stats.refuse_round()
                    return False
                except RetryableError as error:
                    self.life.away("rounds").note(error)
                    step()
                    if self._ending.wait(delay):
                        return True
                    step()
                    delay = min(delay * 2, _LONGEST_RETRY_S)
        self.life.away("rounds").over()
        self.life.applied_round()
        self.stats.end_round(summary, round_.next_offsets)
        return True

    def flush(self) -> None:
        """Make what was applied durable in the log and the store; what is away is tried again at the next call."""
        with self._flushing:
            try:
                with self.life.progress.doing("writing the log", _FLUSH_LIMIT_S):
                    offsets = self.pipeline.flush()
            except RetryableError as error:
                self.life.away("log").note(error)
                self._ending.wait(FLUSH_S)
                return
            self.life.away("log").over()
            self._flushed_at = self._monotonic()
            if offsets:
                self.durable.update({at: offset for at, offset in offsets.items() if at in self._assigned})
                self.stats.end_flush()

    # Beside rounds.

    def tick(self) -> None:
        """Do what is due: flush, stop at records that are gone, look how far others are.

        Raises:
            TopicError: The broker no longer has what comes next of some partition.
        """
        self._refuse_gap()
        self._note_others()
        waited = self._monotonic() - self._flushed_at >= FLUSH_S
        if self.pipeline.unlogged_events >= FLUSH_EVENTS or (waited and self.pipeline.has_unlogged) or self._at_end:
            self.flush()

    @property
    def is_done(self) -> bool:
        """Whether everything up to `until` has been applied and logged."""
        return self._at_end and not self.pipeline.has_unlogged

    @property
    def _at_end(self) -> bool:
        if self.until is None:
            return False
        done = self.stats.next_offsets
        return all(done.get(source, 0) >= end for source, end in self.until.items())

    def records_gone(self, gone: Iterable[RecordsGone]) -> None:
        """Some partitions cannot be read on. `tick` stops the worker once what was read before is in both stores."""
        self._gone.update({one.source: one for one in gone})

    def _refuse_gap(self) -> None:
        if not self._gone or self.pipeline.has_unlogged:
            return
        done = self.stats.next_offsets
        reached = [gone for at, gone in list(self._gone.items()) if done.get(at, gone.wanted) >= gone.wanted]
        if reached:
            self._topics.check()  # a topic that was created again has other offsets
            raise _gone_error(reached)

    def _note_others(self) -> None:
        """If everything is read once: look in the log how far other workers are with their partitions."""
        if self.until is None or self._monotonic() - self._noted_others_at < _OTHERS_S:
            return
        self._noted_others_at = self._monotonic()
        done = self.stats.next_offsets
        others = [at for at, end in self.until.items() if at not in self._assigned and done.get(at, 0) < end]
        if others:
            logged = self.logged_offsets(others)
            # A partition may have become this worker's meanwhile.
            done.update({at: max(offset, done.get(at, 0)) for at, offset in logged.items()})

    def hand_off(self) -> bool:
        """Go on with building versions of views that were asked for, if there are any.

        Returns:
            Whether there is more to build now.
        """
        handoff = self._handoff
        if handoff is None:
            return False
        with self._handing_off:
            try:
                more = handoff.build(self._owns)
                with self._applying:
                    if handoff.is_ready:
                        self.flush()
                    if handoff.is_ready and not self.pipeline.has_unlogged and self._is_placed:
                        handoff.join(self._owns)
                    handoff.settle(self._owns)
            except (StaleWriteError, RetryableError) as error:
                logger.warning("%s Building continues from there.", error)
                return False
        return more or handoff.is_ready

    @property
    def _is_placed(self) -> bool:
        """Whether the reader is where the log ended when its partitions were assigned.

        Until then a worker that had them may log what it has applied. Reading starts after that, and a version that
        joined before would lack it.
        """
        return self._placed_in == self.epoch

    def _owns(self, topic: str, number: int) -> bool:
        return self._topics.first_of(topic, number) in self._assigned

    def check(self) -> None:
        """Check that topics and store are still the same: a worker with nothing to write would not notice.

        Raises:
            TopicError: A topic is not the one that the log was made from.
            StoreBehindError: The store was emptied.
        """
        self._topics.check()
        try:
            catalogue = self._store.catalogue()
        except RetryableError as error:
            self.life.away("store").note(error)
            return
        self.life.away("store").over()
        if catalogue.readiness is Readiness.EMPTY:
            msg = "The online store was emptied under the worker."
            raise StoreBehindError(msg, hint="Started again, the worker fills it from the log.")

    def is_caught_up(self, end: Callable[[SourcePartition], int | None]) -> bool:
        """Whether all that was there to read when its partitions were assigned has been applied.

        Args:
            end: A partition's end offset; None where it is not known yet.
        """
        if not self.life.was_assigned:
            return False
        for at in self._assigned:
            goal = self._goals.get(at) or end(at)
            if goal is None:
                return False
            self._goals[at] = goal
        return all(self.stats.next_offsets.get(at, 0) >= goal for at, goal in list(self._goals.items()))

    def lag(self, end: Callable[[SourcePartition], int | None]) -> dict[str, int]:
        """How many offsets of each of its partitions it has still to apply, by `topic[partition]`.

        Args:
            end: A partition's end offset; None where it is not known yet.
        """
        done = self.stats.next_offsets
        ends = {at: end(at) for at in list(self._assigned)}
        return {
            f"{at.topic}[{at.partition}]": max(last - done[at], 0)
            for at, last in ends.items()
            if last is not None and at in done
        }

    # The end.

    def end_waits(self) -> None:
        """Apply no more rounds, and wait no longer for what is away."""
        self._ending.set()

    def leave(self) -> None:
        """Apply no more rounds, and bring both stores up to date."""
        self.end_waits()
        self.life.stopping()
        if self.life.was_assigned:
            with self._applying:
                self.flush()


def _gone_error(gone: list[RecordsGone]) -> TopicError:
    """The error of partitions that cannot be read on, of the first topic among them."""
    topic = gone[0].source.topic
    mine = [one for one in gone if one.source.topic == topic]
    lost = {one.source.partition: (one.end, one.wanted) for one in mine if one.end < one.wanted}
    if lost:
        return lost_error(topic, lost)
    return gap_error(topic, [Missing(one.source.partition, one.wanted, one.earliest - 1) for one in mine])
