"""At its start a worker compares the broker's topics with the log's notes, the store's copy of them, and their data."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from kafka import KafkaProducer

from headrace.errors import TopicError
from headrace.events.source_partition import SourcePartition
from headrace.kafka import KafkaConnection, describe, ensure_topics
from headrace.kafka.topics import TopicWatch
from headrace.log import EventLog, Gap, TopicHistory, TopicNotes
from headrace.plan import Source
from headrace.state import LocalState
from headrace.stores import CatalogueChange, Position
from headrace.stores.memory import MemoryStore
from headrace.worker.log_rows import log_rows
from headrace.worker.source_topics import SourceTopics, settle_topics
from headrace.worker.topic_identity import NOTHING_ACCEPTED, Accept
from tests.worker.shop import NOON, SOURCE, Sale

pytestmark = pytest.mark.kafka
NOW = "2024-05-01T12:00:00+00:00"


class Start:
    """A worker's start over a topic of one partition with three records, of which the log holds the first two."""

    def __init__(self, broker: str, topic: str, folder: Path) -> None:
        self.source: Source = SOURCE.model_copy(update={"topic": topic})
        self.broker, self.topic = broker, topic
        self.notes, self.store, self.log = TopicNotes(LocalState(folder)), MemoryStore(), EventLog(folder, self.source)
        ensure_topics(KafkaConnection.of(broker), [self.source], 1)
        self.send(0, 1, 2)
        self.append(1)
        self.store.commit([], {self.at(0): Position(1, NOON * 1000, 0)})

    def at(self, number: int) -> SourcePartition:
        return SourcePartition(self.topic, number)

    def send(self, *minutes: int) -> None:
        producer = KafkaProducer(bootstrap_servers=self.broker)
        for minute in minutes:
            sale = Sale(shop="a", sold_at=datetime.fromtimestamp(NOON / 1000, UTC), price=1, pieces=1)
            producer.send(self.topic, sale.model_dump_json().encode(), timestamp_ms=NOON + minute * 60_000)
        producer.close()

    def append(self, last: int, minute: int | None = None) -> None:
        """Log everything up to an offset, the last record as sent in some minute."""
        rows = log_rows(self.source, []).to_pylist()
        held = self.log.last_offsets([0]).get(0, -1)
        for offset in range(held + 1, last + 1):
            ms = NOON + (offset if minute is None else minute) * 60_000
            facts = {"_ts_us": NOON * 1000, "_known_at_us": ms * 1000, "_partition": 0, "_offset": offset}
            rows.append({"shop": "a", "price": 1.0, "pieces": 1, **facts, "_record_ts_us": ms * 1000})
        table = log_rows(self.source, []).from_pylist(rows, schema=log_rows(self.source, []).schema)
        self.log.append(table, {0: last})

    def settle(self, accept: Accept = NOTHING_ACCEPTED, *, is_embedded: bool = False) -> tuple[SourceTopics, bool]:
        infos = describe(KafkaConnection.of(self.broker), [self.topic])
        logs = {self.topic: self.log}
        watch = TopicWatch(KafkaConnection.of(self.broker), [self.topic])
        try:
            topics, is_behind = settle_topics(
                self.notes, self.store, logs, watch, infos, accept, is_embedded=is_embedded
            )
        finally:
            watch.close()
        self.store.change(topics.mirror())
        return topics, is_behind

    @property
    def identity(self) -> str:
        with closing(TopicWatch(KafkaConnection.of(self.broker), [self.topic])) as watch:
            return watch.identities()[self.topic]


@pytest.fixture
def start(broker: str, topic_name: str, tmp_path: Path) -> Start:
    return Start(broker, topic_name, tmp_path / "log")


def test_a_log_from_before_there_were_notes_is_what_its_store_says(start: Start) -> None:
    start.store.change(CatalogueChange().topic(start.topic, "c/1"))
    with pytest.raises(TopicError, match="that was c/1"):
        start.settle()
    start.store.change(CatalogueChange().topic(start.topic, start.identity))
    topics, is_behind = start.settle()
    assert (topics.next_offset(SourcePartition(start.topic, 0), 1), is_behind) == (2, False)


def test_an_emptied_store_does_not_make_another_topic_the_logs(start: Start) -> None:
    start.notes.update(lambda _: {start.topic: TopicHistory.begun("c/1", 1, {}, NOW)})
    start.store.clear()
    with pytest.raises(TopicError, match="that was c/1"):
        start.settle()


def test_notes_that_went_with_the_log_are_taken_from_the_store(start: Start, tmp_path: Path) -> None:
    start.notes.update(lambda _: {start.topic: TopicHistory.begun("c/1", 1, {}, NOW)})
    start.settle(Accept(new_topic=True))
    (tmp_path / "log").rename(tmp_path / "moved away")
    start.log = EventLog(tmp_path / "log", start.source)
    topics, is_behind = start.settle()
    assert topics.number(start.at(0)) == start.at(1)
    assert is_behind  # the store holds what the log of now never will


@pytest.mark.parametrize(("applied", "is_behind"), [(1, False), (2, True)])
def test_store_that_is_ahead_of_a_topic_that_ended_is_filled_anew(start: Start, applied: int, is_behind: bool) -> None:
    start.notes.update(lambda _: {start.topic: TopicHistory.begun("c/1", 1, {}, NOW)})
    start.store.commit([], {start.at(0): Position(applied, NOON * 1000, 0)})
    topics, found = start.settle(is_embedded=True)
    assert found is is_behind
    assert start.notes.read()[start.topic].incarnations[0].sealed_us == NOON * 1000
    start.store.clear()  # as the worker does, which then fills it from the log
    assert start.settle()[1] is False


def test_store_that_is_ahead_of_the_topic_that_goes_on_stays(start: Start) -> None:
    start.store.commit([], {start.at(0): Position(2, NOON * 1000, 0)})
    assert start.settle()[1] is False


def test_another_cluster_with_the_same_record_where_the_log_ends_is_gone_on_with(start: Start) -> None:
    start.notes.update(lambda _: {start.topic: TopicHistory.begun("c/1", 1, {}, NOW)})
    topics, _ = start.settle(Accept(cluster=True))
    assert start.notes.read()[start.topic].live.identities == ("c/1", start.identity)
    assert topics.number(start.at(0)) == start.at(0)


def test_another_cluster_with_another_record_where_the_log_ends_is_refused(start: Start) -> None:
    start.notes.update(lambda _: {start.topic: TopicHistory.begun("c/1", 1, {}, NOW)})
    start.append(2, minute=30)  # the broker's record at offset 2 is of 12:02
    with pytest.raises(TopicError, match="has another record at offset 2"):
        start.settle(Accept(cluster=True))
    assert start.notes.read()[start.topic].live.identity == "c/1"


def test_store_that_holds_events_of_an_accepted_gap_is_filled_anew_also_at_the_start_after(start: Start) -> None:
    history = TopicHistory.begun(start.identity, 1, {}, NOW).with_gaps([Gap(0, 0, 2, 2, NOW)])
    start.notes.update(lambda _: {start.topic: history})  # by a worker that was killed before it emptied the store
    start.store.commit([], {start.at(0): Position(2, NOON * 1000, 0)})
    assert start.settle()[1] is True
    start.append(2)  # what comes behind the gap was logged since
    assert start.settle()[1] is False
