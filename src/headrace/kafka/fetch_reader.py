"""Reading the records of given partitions with librdkafka, whose threads work outside the interpreter's lock.

A reader starts at given offsets and reads forward. It is in no consumer group and commits nothing. To read from other
offsets, close it and open a new one: then no earlier record can come out of it.

It reads committed records only. What it passes on the way (records of aborted transactions, their markers, what
compaction removed) has offsets as well: librdkafka's event for the end of a partition (`_PARTITION_EOF`) gives their
last offset. With a transaction open, that end is the transaction's first offset.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

import numpy as np
from confluent_kafka import Consumer, KafkaError, KafkaException, Message, TopicPartition

from headrace.events.columns import IntArray
from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.kafka.broker_errors import is_refusal, refused
from headrace.kafka.committed_records import READ_COMMITTED
from headrace.kafka.connection import KafkaConnection
from headrace.kafka.offset_gaps import OffsetGaps
from headrace.kafka.record_headers import headers_of

__all__ = ["FetchLimits", "Read", "RecordReader", "RecordsGone"]

_SECOND = itemgetter(1)

logger = logging.getLogger("faust.headrace.reader")


@dataclass(frozen=True)
class FetchLimits:
    """How much a reader reads at a time.

    Attributes:
        records: How many records one fetch gives at most. In a replay, large fetches share the cost of a key among many
            events.
        value_bytes: Or how many bytes of their values: several fetches wait for their turn in memory.
        messages: How many of librdkafka's messages are handled together: few, so that they stay in the processor's
            cache.
        waiting: How many records of a partition may wait before it is paused. Pausing is the last resort, because
            librdkafka then drops what it has fetched.
    """

    records: int = 50_000
    value_bytes: int = 16 << 20
    messages: int = 2_000
    waiting: int = 50_000


_LIMITS = FetchLimits()

_SETTINGS: dict[str, str | int | bool] = {
    **READ_COMMITTED,
    # While a request waits at the broker because its partitions have nothing new, the others are not fetched.
    "fetch.wait.max.ms": 50,
    "fetch.queue.backoff.ms": 5,
    # One response follows another, and the next is on its way while these records are worked on. Small ones have the
    # partitions take turns; with librdkafka's 50 MB the embedded broker thinks for seconds first. (A record that is
    # larger comes all the same.)
    "fetch.message.max.bytes": 1 << 20,
    "fetch.max.bytes": 4 << 20,
    "queued.min.messages": 2 * _LIMITS.records,
    "queued.max.messages.kbytes": 32 << 10,
    "log_level": 2,  # that a broker is away aiokafka says, and says it once; librdkafka would twenty times a second
}


_GONE = KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001 its public name
_EOF = KafkaError._PARTITION_EOF  # noqa: SLF001
_ASK_S = 5.0
"""How long a broker is waited for that is asked what a partition still has, in seconds."""


@dataclass(frozen=True, eq=False)
class Read:
    """What was read of one source partition.

    Attributes:
        records: Its records in offset order; none where only offsets without records were passed.
        next_offset: The offset to read next. Offsets before it that have no record never will: they hold the markers
            and aborted records of transactions, or were removed by compaction.
    """

    records: RawRecords
    next_offset: int


@dataclass(frozen=True)
class RecordsGone:
    """The broker has not got what a partition's reader needs next.

    Attributes:
        source: The source partition.
        wanted: The offset that comes next; everything before it was read.
        earliest: The first offset that the broker still has.
        end: Its end offset. Below `wanted`, the partition is not the one that was read before, or has lost records.
    """

    source: SourcePartition
    wanted: int
    earliest: int
    end: int


class RecordReader:
    """Reads some partitions, each from an offset on.

    Args:
        connection: The broker.
        starts: By partition, the first offset to read.
        limits: How much to read at a time.
    """

    def __init__(
        self, connection: KafkaConnection, starts: Mapping[SourcePartition, int], limits: FetchLimits = _LIMITS
    ) -> None:
        self._limits = limits
        self._lock = threading.Lock()
        self._waiting: dict[SourcePartition, list[RawRecords]] = {source: [] for source in starts}
        self._next = dict(starts)
        self._taken = dict(starts)
        self._ends: dict[SourcePartition, tuple[int, int | None]] = {}
        self._gone: dict[SourcePartition, RecordsGone] = {}
        self._gaps = OffsetGaps()
        self._to_seek: set[SourcePartition] = set()
        self._sources = sorted(starts)
        self._topics = {source.topic for source in starts}
        self._partitions = np.array([source.partition for source in self._sources], np.int64)
        self._numbers = np.zeros(
            self._partitions.max(initial=-1) + 1, np.int64
        )  # of partitions, where there is one topic
        self._numbers[self._partitions] = np.arange(len(self._sources))
        self._paused: set[SourcePartition] = set()
        self._warned: set[int] = set()
        self._connection = connection
        self._consumer: Consumer | None = Consumer({**connection.librdkafka(), **_SETTINGS}, logger=logger)
        self._consumer.assign([self._place(source) for source in self._sources])

    def fetch(self, wanted: Collection[SourcePartition], timeout_s: float) -> None:
        """Read what is there of any partition, or wait for the first record; `take` gives it.

        It stays here until it is taken, so that the caller may be cancelled while it waits.

        Args:
            wanted: The partitions that `take` will be asked for; returns at once where some records of theirs were read
                before.
            timeout_s: How long to wait, in seconds.
        """
        with self._lock:
            if self._consumer is None or any(self._has_news(source) for source in wanted):
                return
            self._seek_again()
            self._pause_far_ahead(wanted)
            consume, limits, read, size = self._consumer.consume, self._limits, 0, 0
            messages = consume(limits.messages, 0) or consume(1, timeout_s)
            while messages:
                size += self._keep(messages)
                read += len(messages)
                wants_more = read < limits.records and size < limits.value_bytes
                messages = consume(limits.messages, 0) if wants_more else []

    def take(self, wanted: Collection[SourcePartition]) -> dict[SourcePartition, Read]:
        """What was read of some partitions, each once.

        Args:
            wanted: The partitions.
        """
        with self._lock:
            found = {source: (self._waiting[source], self._next[source]) for source in wanted if self._has_news(source)}
            for source, (_, next_offset) in found.items():
                self._waiting[source], self._taken[source] = [], next_offset
        return {
            source: Read(RawRecords.concat(waiting), next_offset) for source, (waiting, next_offset) in found.items()
        }

    @property
    def gone(self) -> list[RecordsGone]:
        """The partitions that cannot be read on, and why; each is given once all records before it have been taken."""
        with self._lock:
            return [gone for source, gone in self._gone.items() if not self._has_news(source)]

    def _has_news(self, source: SourcePartition) -> bool:
        return source in self._waiting and (bool(self._waiting[source]) or self._next[source] > self._taken[source])

    def end(self, source: SourcePartition) -> int | None:
        """The offset up to which a partition can be read, from the last fetch response; None before the first.

        Args:
            source: The partition.
        """
        high = self._high(source)
        end, high_then = self._ends.get(source, (None, None))
        # Nothing was written since its end was reached: the rest, if there is any, belongs to an open transaction.
        return end if end is not None and high == high_then else high

    def _high(self, source: SourcePartition) -> int | None:
        consumer = self._consumer
        if consumer is None or source not in self._waiting:
            return None
        try:
            _, high = consumer.get_watermark_offsets(TopicPartition(*source), cached=True)
        except (KafkaException, RuntimeError):  # it is not known, or the reader was closed meanwhile
            return None
        return high if high >= 0 else None

    def close(self) -> None:
        """Close the connections; a fetch under way ends first."""
        with self._lock:
            consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _pause_far_ahead(self, wanted: Collection[SourcePartition]) -> None:
        """Stop reading partitions that nobody wants and that are far ahead; go on with those that are wanted again."""
        if len(wanted) == len(self._sources) and not self._paused:
            return
        ahead = {
            source
            for source, waiting in self._waiting.items()
            if source not in wanted and sum(map(len, waiting)) >= self._limits.waiting
        }
        again = self._paused.intersection(wanted)
        self._change(ahead - self._paused, Consumer.pause)
        self._change(again, Consumer.resume)
        self._paused = (self._paused | ahead) - again

    def _change(self, sources: set[SourcePartition], change: Callable[[Consumer, list[TopicPartition]], None]) -> None:
        if sources and self._consumer is not None:
            change(self._consumer, [TopicPartition(*source) for source in sorted(sources)])

    def _keep(self, messages: list[Message]) -> int:
        """Put messages with the records of their partitions; returns how many bytes their values have."""
        if any(map(Message.error, messages)):
            events = [message for message in messages if message.error() is not None]
            messages = [message for message in messages if message.error() is None]
            size = self._keep_records(messages) if messages else 0
            # An event of a partition comes after its records.
            for event in events:
                self._take_event(event)
            self._seek_again()
            return size
        size = self._keep_records(messages)
        self._seek_again()
        return size

    def _keep_records(self, messages: list[Message]) -> int:
        codes = self._codes(messages)
        changes = np.flatnonzero(codes[1:] != codes[:-1]) + 1
        if len(changes) > len(messages) // 8:  # records of several partitions take turns
            order = np.argsort(codes, kind="stable")
            messages = [messages[row] for row in order.tolist()]
            codes = codes[order]
            changes = np.flatnonzero(codes[1:] != codes[:-1]) + 1
        offsets = np.fromiter(map(Message.offset, messages), np.int64, len(messages))
        times = np.fromiter(map(_SECOND, map(Message.timestamp, messages)), np.int64, len(messages))
        partitions = self._partitions[codes]
        # As functions of the class, a third faster than as methods.
        keys, values = list(map(Message.key, messages)), list(map(Message.value, messages))
        records = RawRecords(partitions, offsets, times, keys, values, headers_of(messages))
        for first, end in pairwise([0, *changes.tolist(), len(messages)]):
            self._keep_run(self._sources[codes[first]], records[first:end])
        return sum(map(len, filter(None, records.values)))

    def _codes(self, messages: list[Message]) -> IntArray:
        """The number of each message's partition among the reader's."""
        if len(self._sources) == 1:
            return np.zeros(len(messages), np.int64)
        partitions = map(Message.partition, messages)
        if len(self._topics) == 1:
            return self._numbers[np.fromiter(partitions, np.int64, len(messages))]
        numbers = {tuple(source): number for number, source in enumerate(self._sources)}
        places = zip(map(Message.topic, messages), partitions, strict=True)
        return np.fromiter(map(numbers.__getitem__, places), np.int64, len(messages))

    def _keep_run(self, source: SourcePartition, records: RawRecords) -> None:
        # A partition that was paused and is read on must begin where it was left.
        again = int(np.searchsorted(records.offsets, self._next[source]))
        end = again + self._gaps.before_gap(source, self._next[source], records.offsets[again:])
        if again < end:
            self._next[source] = int(records.offsets[end - 1]) + 1
            self._waiting[source].append(records if again == 0 and end == len(records) else records[again:end])
        if end < len(records):
            self._to_seek.add(source)

    def _take_event(self, event: Message) -> None:
        """Take in what librdkafka says of a partition, or of itself."""
        error, place = event.error(), (event.topic(), event.partition())
        source = next((source for source in self._sources if source == place), None)  # some events are of no partition
        if error is None:
            return
        if source is not None and error.code() == _EOF:
            self._note_end(source, event.offset() or 0)
        elif source is not None and error.code() == _GONE:
            self._ask_for_range(source)
        else:
            self._warn([error])

    def _note_end(self, source: SourcePartition, end: int) -> None:
        """All before a partition's end has come; offsets that were passed on the way hold nothing."""
        if end > self._next[source]:
            if not self._gaps.before_gap(source, self._next[source], np.array([end], np.int64)):
                self._to_seek.add(source)
                return
            self._next[source] = end
        self._ends[source] = end, self._high(source)

    def _ask_for_range(self, source: SourcePartition) -> None:
        """The broker refuses the next offset: note what it has. If it has the offset after all, read again."""
        consumer, wanted = self._consumer, self._next[source]
        if consumer is None:
            return
        try:
            earliest, end = consumer.get_watermark_offsets(TopicPartition(*source), timeout=_ASK_S)
        except KafkaException as error:
            self._warn([error.args[0]])
            self._to_seek.add(source)
            return
        if earliest <= wanted <= end:
            self._to_seek.add(source)
        else:
            self._gone[source] = RecordsGone(source, wanted, earliest, end)

    def _seek_again(self) -> None:
        """Go back to where something was missing; where librdkafka cannot just now, the next fetch does."""
        for source in sorted(self._to_seek):
            if self._consumer is not None:
                try:
                    self._consumer.seek(self._place(source))
                except KafkaException as error:
                    self._warn([error.args[0]])
                    continue
            self._to_seek.discard(source)

    def _place(self, source: SourcePartition) -> TopicPartition:
        """Where to read on."""
        return TopicPartition(*source, self._next[source])

    def _warn(self, errors: list[KafkaError]) -> None:
        """Log each kind of error once: librdkafka tries again by itself. Raise what the broker will always refuse."""
        for error in errors:
            if is_refusal(error.code()):
                raise refused(self._connection, error.str(), error.code())
            if error.code() not in self._warned:
                self._warned.add(error.code())
                logger.warning("Reading: %s", error)
