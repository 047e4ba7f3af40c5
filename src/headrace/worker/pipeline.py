"""One round on its way through both stores.

Decode → dead letters | columns → tiles → online commit → journal → log → offsets.

`process` makes events readable online. `flush` makes them durable and returns the offsets that may be committed to
Kafka. They run in two threads: while the log writes some rounds, the next ones are applied. A crash at any point loses
nothing and counts nothing twice: what Kafka delivers again is skipped online by the applied offset in each record, and
in the log by its app transactions.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from headrace.config import Clock
from headrace.erasure import ErasureFilter
from headrace.errors import TopicError
from headrace.events.dead_letter import DeadLetter
from headrace.events.decode import EventDecoder
from headrace.events.event_batch import EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import Read
from headrace.plan import Plan, Source
from headrace.records.applier import Applier
from headrace.stores import CatalogueChange, OnlineStore, Position
from headrace.transforms import failures_summary
from headrace.worker import failpoints
from headrace.worker.decode_ahead import RoundDecoder
from headrace.worker.deduplication import Deduplicator
from headrace.worker.known_at_journal import KnownAt
from headrace.worker.log_rows import log_rows
from headrace.worker.partition_numbers import PartitionNumbers
from headrace.worker.rounds import Round

if TYPE_CHECKING:
    from headrace.log import EventLog

__all__ = ["DeadLetterSink", "Pipeline", "RoundSummary"]

logger = logging.getLogger(__name__)

_NEVER = -(2**63)
_LAST_MS = 253_402_300_799_999
"""The end of the calendar, in ms. Records with later timestamps are dead letters, and do not move the record clock."""
_CHECK_S = 0.05
"""Within this many seconds a topic cannot be deleted, be created again, and get as many records as it had."""


class DeadLetterSink(Protocol):
    """Where dead letters go."""

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Take letters; they need not be stored yet."""

    def flush(self) -> None:
        """Return once all letters taken are stored; raise BrokerUnavailableError if they cannot be."""


@dataclass(frozen=True)
class RoundSummary:
    """What a round did.

    Attributes:
        events: How many good events it had.
        dead: How many dead letters.
        newest_record_us: The newest record timestamp in it.
        failures: What transforms have failed on since the worker started, by ``view.column``.
    """

    events: int
    dead: int
    newest_record_us: int
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass
class _Unlogged:
    """What has been applied online and is not in the log yet."""

    batches: dict[str, list[EventBatch]] = field(default_factory=dict)
    offsets: dict[SourcePartition, int] = field(default_factory=dict)
    events: int = 0

    def add(self, batches: Iterable[EventBatch], offsets: Mapping[SourcePartition, int]) -> None:
        """Add what was applied next; after a rebalance some of it may be here already."""
        for batch in batches:
            topic, keep = batch.source.topic, np.ones(len(batch), np.bool_)
            for source, last in self.offsets.items():
                if source.topic == topic and source in offsets:
                    keep &= (batch.partition != source.partition) | (batch.offset > last)
            fresh = batch.where(keep)
            self.batches.setdefault(topic, []).append(fresh)
            self.events += len(fresh)
        for source, offset in offsets.items():
            self.offsets[source] = max(offset, self.offsets.get(source, -1))


class Pipeline:
    """Applies rounds to the online store and the log.

    Args:
        plan: The plan.
        decoders: A decoder per topic.
        store: The online store.
        logs: A log per topic.
        clock: What `known_at` is.
        dead_letters: Where dead letters go.
        now_us: The wall clock, in µs.
        repo: The feature repo's folder, for the functions of transforms.
        applier: What applies rounds to the store; None makes one that serves the plan.
        topics: Which source partitions Kafka's partitions are, and whether the topics are still the same.
        erased: What keeps the events of erased entities out; None if nothing is ever erased.
        first_logged: Called after the first append to each log, with its source.
    """

    def __init__(
        self,
        plan: Plan,
        decoders: Mapping[str, EventDecoder],
        store: OnlineStore,
        logs: Mapping[str, EventLog],
        clock: Clock,
        dead_letters: DeadLetterSink,
        now_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        repo: Path | None = None,
        erased: ErasureFilter | None = None,
        applier: Applier | None = None,
        topics: PartitionNumbers | None = None,
        first_logged: Callable[[Source], None] = lambda _source: None,
    ) -> None:
        self._topics = topics or PartitionNumbers()
        self._erased = erased
        self._store = store
        self._logs = logs
        self._clock = clock
        self._dead_letters = dead_letters
        self._now_us = now_us
        self._applier = applier or Applier(plan, store, repo)
        self._known_at = KnownAt(store.journal())
        self._deduplicator = Deduplicator(logs, self._topics)
        self._decoder = RoundDecoder(decoders)
        self._unlogged = _Unlogged()
        self._positions: dict[SourcePartition, Position] = {}
        self._noted_failures = store.catalogue().failures
        self._lock = threading.Lock()
        self._flushing = threading.Lock()
        self._first_logged = first_logged
        self._has_logged: set[str] = set()

    @property
    def unlogged_events(self) -> int:
        """How many events are readable online and not in the log yet."""
        return self._unlogged.events

    @property
    def has_unlogged(self) -> bool:
        """Whether any offset, of an event or a dead letter, waits for the log."""
        return bool(self._unlogged.offsets)

    @property
    def failures(self) -> dict[str, dict[str, Any]]:
        """What derived columns, udfs and filters have failed on so far, by ``view.column``."""
        return failures_summary(self._applier.failures())

    def reload(self) -> None:
        """Read the journal and the log's newest ids again: other workers may have had these partitions."""
        with self._lock:
            self._known_at = KnownAt(self._store.journal())
            self._deduplicator.forget()
            self._positions.clear()

    def decode_ahead(self, round_: Round) -> None:
        """Begin to decode a round that will be processed after those before it; returns at once."""
        self._decoder.begin(round_)

    def process(self, round_: Round) -> RoundSummary:
        """Make a round readable online.

        Args:
            round_: The round.

        Returns:
            What was in it.

        Raises:
            StaleWriteError: The worker has lost one of the partitions. No position moves; a replay skips what a long
                commit had written.
            StoreBehindError: The store has lost writes. No position moves, and the worker must be started again.
            StoreUnavailableError: The store is away; processing the round again is safe.
            TopicError: The topic was created again, so these may be records of another one. What was read before is
                logged.
        """
        is_same_topic = self._topics.begin_check(_CHECK_S)
        now = self._now_us() if self._clock is Clock.SYSTEM else None
        batches, dead = self._decode(round_, now)
        reads = {self._topics.number(at): read for at, read in round_.reads.items()}
        batches = self._deduplicator.first_ones(self._kept(batches))
        self._dead_letters.send(dead)
        positions = {at: self._position(at, read, batches) for at, read in reads.items()}
        writes = self._applier.writes(batches, now)
        self._refuse_other_topics(is_same_topic)
        failpoints.reach("before-online-write")
        before = {at: self._positions[at].offset for at in positions if at in self._positions}
        self._applier.commit(writes, positions, before)
        self._positions.update(positions)
        failpoints.reach("after-online-write")
        if self._clock is Clock.SYSTEM:
            self._note_known_at(reads, batches)
        with self._lock:
            self._unlogged.add(batches, {at: position.offset for at, position in positions.items()})
        # This comes last: if the journal cannot be written the round comes again, and its own ids must not count as
        # repetitions.
        self._deduplicator.accept()
        newest = max(position.record_ts_us for position in positions.values())
        return RoundSummary(sum(len(batch) for batch in batches), len(dead), newest, self.failures)

    def _decode(self, round_: Round, now: int | None) -> tuple[list[EventBatch], list[DeadLetter]]:
        batches, dead = self._decoder.decoded(round_, now)
        for letter in dead:
            where = f"{letter.topic}[{letter.partition}]@{letter.offset}"
            logger.warning("Dead letter %s: %s: %s", where, letter.field or "event", letter.reason)
        return [self._numbered(batch) for batch in batches], dead

    def _numbered(self, batch: EventBatch) -> EventBatch:
        """A batch with the numbers of source partitions instead of Kafka's."""
        topic = batch.source.topic
        base = self._topics.number(SourcePartition(topic, 0)).partition
        return replace(batch, partition=batch.partition + base, _values={}) if base else batch

    def _refuse_other_topics(self, is_same_topic: Callable[[], None]) -> None:
        """Raise if the topics have changed: a topic that was created again has other records at the same offsets."""
        try:
            is_same_topic()
        except TopicError:
            self._flush(lambda: None)  # each round before this one was checked
            raise

    def _position(self, at: SourcePartition, read: Read, batches: Iterable[EventBatch]) -> Position:
        """How far a round brings a partition.

        Without records only the offset moves; older records move no time back.
        """
        last = read.next_offset - 1
        before = self._positions.get(at) or self._store.positions().get(at)
        before = before or Position(last, 0, _NEVER)
        if not len(read.records):
            return replace(before, offset=last)
        newest_event = before.event_ts_us
        for batch in batches:
            if batch.source.topic == at.topic:
                mine = batch.ts_us[batch.partition == at.partition]
                newest_event = int(mine.max(initial=newest_event))
        times = read.records.timestamps
        newest_record = max(before.record_ts_us, int(times.max(initial=0, where=times <= _LAST_MS)) * 1000)
        return Position(last, newest_record, newest_event)

    def _note_known_at(self, reads: Mapping[SourcePartition, Read], batches: Sequence[EventBatch]) -> None:
        """Note that these events can be read from now on, except those that an earlier run had already written."""
        acknowledged = self._now_us()
        ranges = [
            (at, int(read.records.offsets[0]), read.next_offset - 1) for at, read in reads.items() if len(read.records)
        ]
        with self._lock:
            noted = self._known_at.note(ranges, acknowledged)
            self._store.add_journal(noted)
            self._known_at.accept(noted)
        for batch in batches:
            batch.known_us = self._known_at.of(batch)

    def flush(self) -> dict[SourcePartition, int]:
        """Make everything processed so far durable in both stores.

        Returns:
            By Kafka's partition, the next offset to read: what may be committed.

        Raises:
            LogUnavailableError, StoreUnavailableError, BrokerUnavailableError: Nothing was lost; flushing again is
                safe.
            TopicError: The topic was created again after these events were read.
        """
        return self._flush(self._topics.begin_check(0) if self.has_unlogged else lambda: None)

    def _flush(self, is_same_topic: Callable[[], None]) -> dict[SourcePartition, int]:
        # One at a time: the log takes a partition's events in order. Events that came too late would look like a
        # replay.
        with self._flushing:
            return self._flush_alone(is_same_topic)

    def _flush_alone(self, is_same_topic: Callable[[], None]) -> dict[SourcePartition, int]:
        with self._lock:
            taken, self._unlogged = self._unlogged, _Unlogged()
        if not taken.offsets:
            return {}
        try:
            self._dead_letters.flush()
            is_same_topic()
            failpoints.reach("before-log-append")
            self._append(taken)
            failpoints.reach("after-log-append")
            failpoints.reach("before-store-sync")
            self._store.sync()
            failpoints.reach("after-store-sync")
        except BaseException:
            self._give_back(taken)
            raise
        self._note_failures()
        if self._clock is Clock.SYSTEM:
            self._store.trim_journal(taken.offsets)
            self._known_at.forget(taken.offsets)
        moved = {self._topics.kafka(source): offset + 1 for source, offset in taken.offsets.items()}
        return {source: offset for source, offset in moved.items() if source is not None}

    def _note_failures(self) -> None:
        """Note in the store what transforms fail on, for `headrace status`."""
        failures = self.failures
        if failures != self._noted_failures:
            self._store.change(CatalogueChange().failures(failures))
            self._noted_failures = failures

    def _append(self, taken: _Unlogged) -> None:
        for topic, log in self._logs.items():
            positions = {source.partition: offset for source, offset in taken.offsets.items() if source.topic == topic}
            if positions:
                # Filtered once more: an entity may have been erased since the online write.
                log.append(log_rows(log.source, self._kept(taken.batches.get(topic, []))), positions)
                if topic not in self._has_logged:
                    self._first_logged(log.source)
                    self._has_logged.add(topic)

    def _kept(self, batches: list[EventBatch]) -> list[EventBatch]:
        return batches if self._erased is None else self._erased.kept(batches)

    def _give_back(self, taken: _Unlogged) -> None:
        with self._lock:
            newer, self._unlogged = self._unlogged, taken
            taken.add([batch for batches in newer.batches.values() for batch in batches], newer.offsets)
