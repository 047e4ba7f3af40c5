"""The topics that a worker reads: their numbers, and whether they are still the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any, cast

import pytest

from headrace.errors import BrokerUnavailableError, TopicError
from headrace.events.source_partition import SourcePartition
from headrace.kafka import KafkaConnection
from headrace.kafka.topics import TopicWatch
from headrace.log import EventLog, TopicHistory, TopicNotes
from headrace.state import LocalState
from headrace.stores import Position
from headrace.stores.memory import MemoryStore
from headrace.worker.source_topics import SourceTopics
from tests.worker.shop import SOURCE, KeptLetters, brute_force, looked_up, new_pipeline, one_round, raw, record

NOW = "2024-05-01T12:00:00+00:00"
FIRST = TopicHistory.begun("c/1", 2, {}, NOW)
ANEW = FIRST.renewed("c/2", 2, {}, NOW, newest_us=0)


class Watch:
    """What the broker says, and how often it was asked."""

    connection = KafkaConnection.of("127.0.0.1:9")

    def __init__(self, identity: str) -> None:
        self.identity: str | None = identity
        self.asked = 0

    def identities(self) -> dict[str, str]:
        self.asked += 1
        if self.identity is None:
            msg = "away"
            raise BrokerUnavailableError(msg)
        return {"sales": self.identity}

    def close(self) -> None:
        pass


def topics(folder: Path, history: TopicHistory, watch: Watch | None = None, **more: Any) -> SourceTopics:
    notes = TopicNotes(LocalState(folder / "log"))
    notes.update(lambda _: {"sales": history})
    return SourceTopics(notes, {"sales": history}, cast(TopicWatch, watch or Watch(history.live.identity)), **more)


def sales(partition: int) -> SourcePartition:
    return SourcePartition("sales", partition)


def test_kafkas_partitions_are_numbered_after_those_that_ended(tmp_path: Path) -> None:
    anew = topics(tmp_path, ANEW)
    assert [anew.number(sales(0)), anew.number(sales(1))] == [sales(2), sales(3)]
    assert [anew.kafka(sales(number)) for number in range(4)] == [None, None, sales(0), sales(1)]
    assert [anew.first_of("sales", number) for number in range(4)] == [sales(0), sales(0), sales(0), sales(1)]
    assert anew.sizes == {"sales": 4}


def test_partitions_that_come_later_are_noted_before_they_are_read(tmp_path: Path) -> None:
    mine, other = topics(tmp_path, ANEW), topics(tmp_path, ANEW)
    mine.assigned([sales(0), sales(4)])
    assert TopicNotes(LocalState(tmp_path / "log")).read()["sales"].live.partitions == 5
    assert mine.sizes == {"sales": 7}
    other.assigned([sales(0)])
    assert other.sizes == {"sales": 7}


def test_worker_stops_where_another_has_gone_on_with_a_topic_made_anew(tmp_path: Path) -> None:
    old = topics(tmp_path, FIRST)
    topics(tmp_path, ANEW)
    with pytest.raises(TopicError, match="not the one"):
        old.assigned([sales(0)])


def test_topic_made_anew_is_told_and_a_recent_answer_is_enough(tmp_path: Path) -> None:
    watch, clock = Watch("c/1"), iter([0.0, 0.0, 0.04, 0.1, 0.1])
    asked = topics(tmp_path, FIRST, watch, monotonic=lambda: next(clock))
    asked.begin_check(0.05)()
    watch.identity = "c/2"
    asked.begin_check(0.05)()
    assert watch.asked == 1
    with pytest.raises(TopicError, match="--accept-new-topic"):
        asked.begin_check(0.05)()


def test_broker_that_is_away_is_no_other_broker(tmp_path: Path) -> None:
    watch = Watch("c/1")
    asked = topics(tmp_path, FIRST, watch)
    watch.identity = None
    asked.begin_check(0)()
    asked.begin_check(0)()
    assert watch.asked == 1  # each time would cost its timeout


def test_store_keeps_a_copy_of_the_notes(tmp_path: Path) -> None:
    store = MemoryStore()
    store.change(topics(tmp_path, ANEW).mirror())
    assert store.catalogue().lineages == {"sales": "c/1"}
    assert TopicHistory.from_json(store.catalogue().histories["sales"]) == ANEW


def test_events_of_a_topic_made_anew_count_beside_those_before_online_and_in_the_log(tmp_path: Path) -> None:
    store, log, letters = MemoryStore(), EventLog(tmp_path / "log", SOURCE), KeptLetters()
    first = [record(n, "a", n, price=n + 1.0, partition=n % 2) for n in range(6)]
    before = new_pipeline(store, log, letters, topics=topics(tmp_path, FIRST))
    before.process(one_round(*first))
    assert before.flush() == {sales(0): 5, sales(1): 6}
    second = [record(n, "a", 6 + n, price=n + 50.0, partition=n % 2) for n in range(4)]
    after = new_pipeline(store, log, letters, topics=topics(tmp_path, ANEW))
    after.process(one_round(*second, raw(9, b"bad", minute=9)))
    assert after.flush() == {sales(0): 10, sales(1): 4}  # what Kafka is told has Kafka's numbers
    assert [letter.position for letter in letters.stored] == [("sales", 0, 9)]
    for one in second:
        one.partition += 2
    assert looked_up(store, ["a"], 10) == brute_force([*first, *second], ["a"], 10)
    assert log.last_offsets() == {0: 4, 1: 5, 2: 9, 3: 3}
    assert sum(batch.num_rows for batch in log.scan()) == 10


def test_round_of_a_topic_made_anew_is_not_applied_and_what_was_read_before_is_logged(tmp_path: Path) -> None:
    watch, now = Watch("c/1"), [0.0]
    store, log = MemoryStore(), EventLog(tmp_path / "log", SOURCE)
    pipeline = new_pipeline(store, log, topics=topics(tmp_path, FIRST, watch, monotonic=lambda: now[0]))
    pipeline.process(one_round(record(0, "a", 0), record(1, "a", 1)))
    watch.identity, now[0] = "c/2", 1.0
    with pytest.raises(TopicError, match="not the one"):
        pipeline.process(one_round(record(2, "a", 2)))
    assert store.positions()[sales(0)].offset == 1
    assert log.last_offsets() == {0: 1}


def test_nothing_is_logged_that_was_read_after_the_last_answer(tmp_path: Path) -> None:
    watch, now = Watch("c/1"), [0.0]
    store, log = MemoryStore(), EventLog(tmp_path / "log", SOURCE)
    pipeline = new_pipeline(store, log, topics=topics(tmp_path, FIRST, watch, monotonic=lambda: now[0]))
    pipeline.process(one_round(record(0, "a", 0)))
    watch.identity, now[0] = "c/2", 0.01
    pipeline.process(one_round(record(1, "a", 1)))  # too soon after the last answer to ask again
    with pytest.raises(TopicError, match="not the one"):
        pipeline.flush()
    assert log.last_offsets() == {}
    assert Position(1, 0, 0).offset == store.positions()[sales(0)].offset  # the next start fills the store anew


class HeldUpLetters(KeptLetters):
    """Dead letters whose first flush waits."""

    def __init__(self) -> None:
        super().__init__()
        self.waits, self.goes_on = threading.Event(), threading.Event()

    def flush(self) -> None:
        if not self.waits.is_set():
            self.waits.set()
            assert self.goes_on.wait(30)
        super().flush()


def test_what_is_logged_when_a_topic_was_made_anew_comes_behind_what_is_being_logged(tmp_path: Path) -> None:
    watch, now = Watch("c/1"), [0.0]
    store, log, letters = MemoryStore(), EventLog(tmp_path / "log", SOURCE), HeldUpLetters()
    pipeline = new_pipeline(store, log, letters, topics=topics(tmp_path, FIRST, watch, monotonic=lambda: now[0]))
    with ThreadPoolExecutor(2) as threads:
        pipeline.process(one_round(record(0, "a", 0)))
        flushed = threads.submit(pipeline.flush)
        assert letters.waits.wait(30)
        pipeline.process(one_round(record(1, "a", 1)))
        watch.identity, now[0] = "c/2", 1.0
        refused = threads.submit(pipeline.process, one_round(record(2, "a", 2)))
        wait([refused], timeout=0.5)  # overtaking would take no longer
        letters.goes_on.set()
        assert flushed.result(30) == {sales(0): 1}
        assert isinstance(refused.exception(30), TopicError)
    assert [offset for rows in log.scan() for offset in rows.column("_offset").to_pylist()] == [0, 1]
