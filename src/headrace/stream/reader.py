"""Reading the records of given partitions with librdkafka, whose threads fetch and check them outside the interpreter's lock.

A reader stands where it was opened and goes forward; it is in no consumer group, and commits nothing. Whoever is moved closes it and opens another:
so no record of before can come out of it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from itertools import pairwise
from operator import itemgetter

import numpy as np
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from headrace.events.columns import IntArray
from headrace.events.raw import RawRecords
from headrace.online import SourcePartition
from headrace.stream.holes import Holes

__all__ = ["RecordReader"]

_SECOND = itemgetter(1)

logger = logging.getLogger("faust.headrace.reader")

_MOST = 50_000
"""How many records one fetch gives at most. During a replay so many are there, and what each key costs is shared by many events."""
_MOST_OCTETS = 16 << 20
"""Or so much of their values: several fetches wait for their turn in memory."""
_AT_A_TIME = 2_000
"""How many of librdkafka's messages are looked at together: so few that they stay in the processor's cache."""
_FAR_AHEAD = 50_000
"""A partition that nobody wants is read no further than this many records: to pause it, librdkafka drops what it has fetched."""

_SETTINGS: dict[str, str | int | bool] = {
    "group.id": "headrace-reader",  # it must have one, and joins none
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",  # where retention has removed what comes next
    "isolation.level": "read_uncommitted",
    "check.crcs": True,
    # While a request for partitions that have nothing new is held by the broker, the others are not fetched.
    "fetch.wait.max.ms": 50,
    "fetch.queue.backoff.ms": 5,
    # One response follows another, and the next is on its way while these records are worked on. Small ones have the partitions take turns;
    # with librdkafka's 50 MB the embedded broker thinks for seconds first. (A record that is larger comes all the same.)
    "fetch.message.max.bytes": 1 << 20,
    "fetch.max.bytes": 4 << 20,
    "queued.min.messages": 2 * _MOST,
    "queued.max.messages.kbytes": 32 << 10,
    "reconnect.backoff.max.ms": 1_000,
    "log_level": 2,  # that a broker is away aiokafka says, and says it once; librdkafka would twenty times a second
}


class RecordReader:
    """Reads some partitions, each from an offset on.

    Args:
        bootstrap: `host:port[,host:port]`.
        starts: By partition, the first offset to read.
    """

    def __init__(self, bootstrap: str, starts: Mapping[SourcePartition, int]) -> None:
        self._lock = threading.Lock()
        self._held: dict[SourcePartition, list[RawRecords]] = {source: [] for source in starts}
        self._next = dict(starts)
        self._holes = Holes()
        self._again: set[SourcePartition] = set()
        self._sources = sorted(starts)
        self._topics = {source.topic for source in starts}
        self._partitions = np.array([source.partition for source in self._sources], np.int64)
        self._numbers = np.zeros(
            self._partitions.max(initial=-1) + 1, np.int64
        )  # of partitions, where there is one topic
        self._numbers[self._partitions] = np.arange(len(self._sources))
        self._paused: set[SourcePartition] = set()
        self._complained: set[int] = set()
        self._consumer: Consumer | None = Consumer({"bootstrap.servers": bootstrap, **_SETTINGS}, logger=logger)
        self._consumer.assign(
            [TopicPartition(*source, offset if offset > 0 else OFFSET_BEGINNING) for source, offset in starts.items()]
        )

    def fetch(self, wanted: Collection[SourcePartition], timeout_s: float) -> None:
        """Read what is there of any partition, or wait for the first record; `take` gives it.

        It stays here until it is taken, so that whoever waits may be cancelled.

        Args:
            wanted: The partitions that `take` will be asked for; returns at once where some records of theirs were read before.
            timeout_s: How long to wait, in seconds.
        """
        with self._lock:
            if self._consumer is None or any(self._held.get(source) for source in wanted):
                return
            self._look_again()
            self._hold_back(wanted)
            consume, read, octets = self._consumer.consume, 0, 0
            messages = consume(_AT_A_TIME, 0) or consume(1, timeout_s)
            while messages:
                octets += self._keep(messages)
                read += len(messages)
                messages = consume(_AT_A_TIME, 0) if read < _MOST and octets < _MOST_OCTETS else []

    def take(self, wanted: Collection[SourcePartition]) -> dict[SourcePartition, RawRecords]:
        """The records read of some partitions, each once.

        Args:
            wanted: The partitions.
        """
        with self._lock:
            found = {source: held for source in wanted if (held := self._held.get(source))}
            for source in found:
                self._held[source] = []
        return {source: RawRecords.concat(held) for source, held in found.items()}

    def end(self, source: SourcePartition) -> int | None:
        """A partition's end offset as the last fetch response had it; None where there was none yet.

        Args:
            source: The partition.
        """
        consumer = self._consumer
        if consumer is None or source not in self._held:
            return None
        try:
            _, high = consumer.get_watermark_offsets(TopicPartition(*source), cached=True)
        except (KafkaException, RuntimeError):  # it is not known, or the reader was closed meanwhile
            return None
        return high if high >= 0 else None

    def close(self) -> None:
        """Let go of the connections; a fetch under way ends first."""
        with self._lock:
            consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _hold_back(self, wanted: Collection[SourcePartition]) -> None:
        """Stop reading partitions that nobody wants and that are far ahead; go on with those that are wanted again."""
        if len(wanted) == len(self._sources) and not self._paused:
            return
        ahead = {
            source for source, held in self._held.items() if source not in wanted and sum(map(len, held)) >= _FAR_AHEAD
        }
        again = self._paused.intersection(wanted)
        self._change(ahead - self._paused, Consumer.pause)
        self._change(again, Consumer.resume)
        self._paused = (self._paused | ahead) - again

    def _change(self, sources: set[SourcePartition], change: Callable[[Consumer, list[TopicPartition]], None]) -> None:
        if sources and self._consumer is not None:
            change(self._consumer, [TopicPartition(*source) for source in sorted(sources)])

    def _keep(self, messages: list[Message]) -> int:
        """Put messages with the records of their partitions; returns how many octets their values have."""
        errors = list(map(Message.error, messages))
        if errors.count(None) != len(errors):
            self._complain([error for error in errors if error is not None])
            messages = [message for message, error in zip(messages, errors, strict=True) if error is None]
            if not messages:
                return 0
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
        records = RawRecords(
            partitions, offsets, times, list(map(Message.key, messages)), list(map(Message.value, messages))
        )
        for first, end in pairwise([0, *changes.tolist(), len(messages)]):
            self._keep_run(self._sources[codes[first]], records[first:end])
        self._look_again()
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
        end = again + self._holes.sound(source, self._next[source], records.offsets[again:])
        if again < end:
            self._next[source] = int(records.offsets[end - 1]) + 1
            self._held[source].append(records if again == 0 and end == len(records) else records[again:end])
        if end < len(records):
            self._again.add(source)

    def _look_again(self) -> None:
        """Go back to where something was missing; where librdkafka cannot just now, the next fetch does."""
        for source in sorted(self._again):
            if self._consumer is not None:
                try:
                    self._consumer.seek(TopicPartition(*source, self._next[source]))
                except KafkaException as error:
                    self._complain([error.args[0]])
                    continue
            self._again.discard(source)

    def _complain(self, errors: list[KafkaError]) -> None:
        """Say what librdkafka says, each once: it goes on trying by itself."""
        for error in errors:
            if error.code() not in self._complained:
                self._complained.add(error.code())
                logger.warning("Reading: %s", error)
