"""The topics that a worker reads: which source partitions they are, and whether the broker still has the same ones."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from functools import partial

from headrace.errors import HeadraceError, TopicError
from headrace.events.source_partition import SourcePartition
from headrace.kafka.broker_errors import unavailable
from headrace.kafka.committed_records import read_records
from headrace.kafka.connection import KafkaConnection
from headrace.kafka.topics import TopicInfo, TopicWatch, beginning_offsets, end_offsets
from headrace.log import EventLog, TopicHistory, TopicNotes, newest_record
from headrace.log.log_columns import FIRST_IMPORT
from headrace.stores import Catalogue, CatalogueChange, OnlineStore
from headrace.times import iso_time
from headrace.worker.partition_numbers import PartitionNumbers
from headrace.worker.topic_identity import Accept, BrokerTopic, Stored, other_topic, settled

__all__ = ["SourceTopics", "settle_topics"]

logger = logging.getLogger(__name__)

_AWAY_S = 5.0
"""After how many seconds a broker that is away is asked again."""


class SourceTopics(PartitionNumbers):
    """The topics as noted with the log; the broker is asked again and again whether it still has them.

    Args:
        notes: The notes.
        histories: By topic, its history; its live incarnation is what is read.
        watch: What asks the broker which topics it has.
        is_embedded: Whether the broker is the embedded one.
        monotonic: A clock in seconds.

    Attributes:
        sizes: By topic, how many source partitions Kafka's partitions have had; it is kept up to date.
    """

    def __init__(
        self,
        notes: TopicNotes,
        histories: Mapping[str, TopicHistory],
        watch: TopicWatch,
        *,
        is_embedded: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notes = notes
        self._histories = dict(histories)
        self._watch = watch
        self._is_embedded = is_embedded
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._asking = ThreadPoolExecutor(1, "headrace-topics")
        self._asked_at = float("-inf")
        self._away_until = float("-inf")
        self.sizes = {topic: history.size for topic, history in self._histories.items()}

    @property
    def lineages(self) -> dict[str, str]:
        """By topic, its lineage: where two are equal, source partitions and offsets mean the same records."""
        return {topic: history.lineage for topic, history in self._histories.items()}

    def number(self, at: SourcePartition) -> SourcePartition:
        """The source partition of one of Kafka's partitions."""
        history = self._histories[at.topic]
        return at if not history.live.base else SourcePartition(at.topic, history.number(at.partition))

    def kafka(self, at: SourcePartition) -> SourcePartition | None:
        """Kafka's partition of a source partition; None if that is sealed or imported."""
        partition = self._histories[at.topic].kafka(at.partition)
        return None if partition is None else SourcePartition(at.topic, partition)

    def next_offset(self, at: SourcePartition, logged: int | None) -> int:
        """The next offset to read of one of Kafka's partitions, after what is logged and accepted gaps."""
        return self._histories[at.topic].next_offset(at.partition, logged)

    def first_of(self, topic: str, number: int) -> SourcePartition:
        """Kafka's partition whose worker builds a source partition; the first one where it is sealed or imported."""
        return self.kafka(SourcePartition(topic, number)) or SourcePartition(topic, 0)

    def sealed(self, topic: str) -> list[tuple[range, int | None]]:
        """The source partitions of each incarnation that ended, and the newest record timestamp in it, in µs."""
        ended = self._histories[topic].incarnations[:-1]
        return [(range(one.base, one.base + one.partitions), one.sealed_us) for one in ended]

    def assigned(self, wanted: Iterable[SourcePartition]) -> None:
        """Read what other workers have noted, and note partitions that are new, before any record of them is read.

        Args:
            wanted: Kafka's partitions that will be read.

        Raises:
            TopicError: Another worker reads another incarnation.
            LogError, LogUnavailableError: The notes cannot be read or written.
        """
        counts: dict[str, int] = {}
        for at in wanted:
            counts[at.topic] = max(counts.get(at.topic, 0), at.partition + 1)
        found = self._notes.read()
        for topic, count in counts.items():
            mine, noted = self._histories[topic], found.get(topic)
            if noted is not None and (noted.live.base, noted.live.identity) != (mine.live.base, mine.live.identity):
                raise other_topic(topic, noted.live.identity, mine.live.identity, is_embedded=self._is_embedded)
            self._histories[topic] = noted or mine
            if noted is None or count > noted.live.partitions:
                self._notes.update(partial(self._grown, topic, count))
            self.sizes[topic] = self._histories[topic].size

    def _grown(self, topic: str, count: int, noted: Mapping[str, TopicHistory]) -> Mapping[str, TopicHistory]:
        self._histories[topic] = noted.get(topic, self._histories[topic]).grown(count)
        return {topic: self._histories[topic]}

    def begin_check(self, within_s: float) -> Callable[[], None]:
        """Begin to ask whether the topics are still those that are read; returns at once."""
        if self._monotonic() - self._asked_at < within_s:
            return super().begin_check(within_s)
        return self._asking.submit(self.check).result

    def check(self) -> None:
        """Ask whether the topics are still those that are read.

        A broker that is away changes nothing: what was read before was read from the topics that it had.

        Raises:
            TopicError: A topic is another one.
        """
        with self._lock:
            now = self._monotonic()
            if now < self._away_until:
                return
            try:
                found = self._watch.identities()
                if any(identity != self._histories[topic].live.identity for topic, identity in found.items()):
                    self._watch.close()  # a new connection asks for the cluster's id as well
                    found = self._watch.identities()
            except HeadraceError as error:  # it is away, or refuses for the moment
                logger.warning("%s", error.what)
                self._away_until = self._monotonic() + _AWAY_S
                return
            for topic, identity in found.items():
                known = self._histories[topic].live.identity
                if identity != known:
                    raise other_topic(topic, known, identity, is_embedded=self._is_embedded)
            self._asked_at = now

    def mirror(self) -> CatalogueChange:
        """A copy of the notes for the store's catalogue: the notes may be lost with the log."""
        change = CatalogueChange()
        for topic, history in self._histories.items():
            change.topic(topic, history.lineage, history.to_json())
        return change

    def close(self) -> None:
        """Close the connection."""
        self._asking.shutdown(wait=True)
        self._watch.close()


def settle_topics(
    notes: TopicNotes,
    store: OnlineStore,
    logs: Mapping[str, EventLog],
    watch: TopicWatch,
    infos: Mapping[str, TopicInfo],
    accept: Accept,
    *,
    is_embedded: bool,
) -> tuple[SourceTopics, bool]:
    """Compare the broker's topics with the notes, and note what is new.

    Args:
        notes: The notes.
        store: The store.
        logs: The log of each topic.
        watch: What asks the broker which topics it has.
        infos: The topics, described.
        accept: What a person has accepted.
        is_embedded: Whether the broker is the embedded one.

    Returns:
        The topics, and whether the online store must be filled again because it has events that the log never will
        have.

    Raises:
        TopicError: A person has to decide.
        LogError: The notes or the log cannot be read.
        RetryableError: Broker, store or log is away.
    """
    now = datetime.now(UTC).isoformat(timespec="seconds")
    stored: dict[str, Stored] = {}
    histories: dict[str, TopicHistory] = {}

    def settle(noted: Mapping[str, TopicHistory]) -> Mapping[str, TopicHistory]:
        catalogue, positions = store.catalogue(), store.positions()
        begun = {topic: history for topic in logs if (history := noted.get(topic) or _mirrored(catalogue, topic))}
        # Log and store are read before the broker: what is logged meanwhile was in the topic before.
        for topic, log in logs.items():
            mine = {at.partition: position for at, position in positions.items() if at.topic == topic}
            size = max((number + 1 for number in mine if number < FIRST_IMPORT), default=0)
            size = max(size, (begun[topic].live.base if topic in begun else 0) + infos[topic].partitions)
            stored[topic] = Stored(
                {**log.last_offsets(), **log.last_offsets(range(size))},
                {number: position.offset for number, position in mine.items()},
                {number: position.record_ts_us for number, position in mine.items()},
            )
        broker = _broker_topics(watch, infos)
        histories.update(
            {
                topic: settled(
                    topic,
                    begun.get(topic) or _first(topic, catalogue, broker[topic], stored[topic], now),
                    broker[topic],
                    stored[topic],
                    accept,
                    is_embedded=is_embedded,
                    now=now,
                )
                for topic in logs
            }
        )
        for topic, history in histories.items():
            if topic in begun and len(history.live.identities) > len(begun[topic].live.identities):
                _check_moved(watch.connection, history, logs[topic])
        return histories

    notes.update(settle)
    is_behind = False
    for topic, history in histories.items():
        logged = stored[topic].logged
        # Also gaps that were accepted earlier: the worker that noted one may have been killed before it filled the
        # store again.
        open_gaps = {gap.source_partition for gap in history.gaps if logged.get(gap.source_partition, -1) < gap.last}
        is_behind |= any(stored[topic].is_ahead(number) for number in {*history.sealed, *open_gaps})
    return SourceTopics(notes, histories, watch, is_embedded=is_embedded), is_behind


def _check_moved(connection: KafkaConnection, history: TopicHistory, log: EventLog) -> None:
    """Refuse another cluster whose topic has other records at the offsets of the newest logged ones."""
    topic, snapshot = log.source.topic, log.snapshot()
    newest = {
        partition: found
        for partition in range(history.live.partitions)
        if (found := newest_record(snapshot, history.number(partition))) is not None
    }
    ranges = {(topic, partition): (offset, offset + 1) for partition, (offset, _) in newest.items()}
    for record in read_records(connection, ranges) if ranges else ():
        known_ms = newest[record.partition][1] // 1000
        if record.timestamp != known_ms and not record.is_append_time:
            shown = [iso_time(ms * 1000) for ms in (record.timestamp, known_ms)]
            msg = (
                f"{topic}[{record.partition}] of the other cluster has another record at offset {record.offset}: "
                f"it is of {shown[0]}, and the logged one is of {shown[1]}."
            )
            hint = (
                "Its offsets are not the same. Use `headrace stream --accept-new-topic`: "
                "docs/topics.md says what that means."
            )
            raise TopicError(msg, hint=hint)


def _first(topic: str, catalogue: Catalogue, found: BrokerTopic, stored: Stored, now: str) -> TopicHistory:
    """The history of a topic without notes: it is new, or store and log are older than the notes."""
    known = catalogue.lineages.get(topic)
    if known is None and stored.numbers:
        logger.warning(
            "It is not noted from which topic %s the log was made; the worker takes the one that the broker has.", topic
        )
    starts = {partition: begin for partition, begin in found.starts.items() if partition not in stored.numbers}
    partitions = max(stored.numbers, default=-1) + 1 if known else found.partitions
    return TopicHistory.begun(known or found.identity, partitions, starts, now)


def _mirrored(catalogue: Catalogue, topic: str) -> TopicHistory | None:
    """What the store says of a topic."""
    history = catalogue.histories.get(topic)
    return None if history is None else TopicHistory.from_json(history)


def _broker_topics(watch: TopicWatch, infos: Mapping[str, TopicInfo]) -> dict[str, BrokerTopic]:
    identities = watch.identities()
    for topic in infos.keys() - identities.keys():
        raise unavailable(watch.connection, f"it does not know the topic {topic!r} just now")
    begins, ends = (offsets(watch.connection, [*identities]) for offsets in (beginning_offsets, end_offsets))
    return {
        topic: BrokerTopic(
            identity,
            {partition: begins[topic, partition] for partition in range(infos[topic].partitions)},
            {partition: ends[topic, partition] for partition in range(infos[topic].partitions)},
        )
        for topic, identity in identities.items()
    }
