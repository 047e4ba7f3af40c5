"""On Apache Kafka: a reader gives committed records only, passes offsets that hold none, and tells what is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager

import pytest
from confluent_kafka import Producer, TopicPartition

from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import RecordReader, RecordsGone
from tests.servers.kafka import ApacheKafka

pytestmark = [pytest.mark.slow, pytest.mark.apache_kafka]


@pytest.fixture
def at(apache_kafka: ApacheKafka, topic_name: str) -> SourcePartition:
    """A partition without records."""
    apache_kafka.create_topic(topic_name)
    return SourcePartition(topic_name, 0)


class Reading:
    """A reader of one partition, and what it gave."""

    def __init__(self, kafka: ApacheKafka, at: SourcePartition, start: int = 0) -> None:
        self.reader = RecordReader(kafka.connection, {at: start})
        self.at = at
        self.offsets: list[int] = []
        self.values: list[bytes | None] = []
        self.next_offset = start

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 30
        while not done():
            assert time.monotonic() < deadline, (self.offsets, self.next_offset, self.reader.gone)
            self.reader.fetch({self.at}, 0.2)
            for read in self.reader.take({self.at}).values():
                self.offsets += read.records.offsets.tolist()
                self.values += read.records.values
                self.next_offset = read.next_offset


@contextmanager
def reading(kafka: ApacheKafka, at: SourcePartition, start: int = 0) -> Iterator[Reading]:
    opened = Reading(kafka, at, start)
    try:
        yield opened
    finally:
        opened.reader.close()


def send(
    kafka: ApacheKafka,
    at: SourcePartition,
    values: Iterable[bytes | None],
    *,
    timestamp_ms: int = 0,
    settings: Mapping[str, str] | None = None,
) -> None:
    """Send values; a timestamp of 0 is now."""
    producer = Producer({"bootstrap.servers": kafka.address, **(settings or {})})
    for value in values:
        producer.produce(at.topic, value, b"key", at.partition, timestamp=timestamp_ms)
    assert producer.flush(30) == 0


def transactions(kafka: ApacheKafka, at: SourcePartition) -> Producer:
    producer = Producer({"bootstrap.servers": kafka.address, "transactional.id": at.topic, "log_level": 0})
    producer.init_transactions(30)
    return producer


def write(producer: Producer, at: SourcePartition, *values: bytes) -> None:
    producer.begin_transaction()
    for value in values:
        producer.produce(at.topic, value, b"key", at.partition)
    producer.flush(30)


def remove_before(kafka: ApacheKafka, at: SourcePartition, offset: int) -> None:
    for done in kafka.admin.delete_records([TopicPartition(*at, offset)]).values():
        done.result(30)


def test_aborted_records_never_come_and_their_offsets_are_passed(
    apache_kafka: ApacheKafka, at: SourcePartition
) -> None:
    producer = transactions(apache_kafka, at)
    with reading(apache_kafka, at) as found:
        write(producer, at, b"aborted", b"aborted too")
        producer.abort_transaction(30)
        found.until(lambda: found.next_offset == 3)  # two records and a marker
        assert found.offsets == []
        write(producer, at, b"committed")
        producer.commit_transaction(30)
        found.until(lambda: found.next_offset == 5)
        assert (found.offsets, found.values) == ([3], [b"committed"])
        send(apache_kafka, at, [b"plain"])
        found.until(lambda: found.next_offset == 6)
        assert found.values == [b"committed", b"plain"]


def test_open_transaction_holds_its_partition_back_and_what_follows_it(
    apache_kafka: ApacheKafka, at: SourcePartition
) -> None:
    send(apache_kafka, at, [b"before"])
    producer = transactions(apache_kafka, at)
    write(producer, at, b"open")
    send(apache_kafka, at, [b"behind"])
    with reading(apache_kafka, at) as found:
        found.until(lambda: found.next_offset == 1 and found.reader.end(at) == 1)
        found.reader.fetch({at}, 0.5)
        assert found.reader.take({at}) == {}
        producer.commit_transaction(30)
        found.until(lambda: found.next_offset == 4 and found.reader.end(at) == 4)
        assert found.values == [b"before", b"open", b"behind"]


def test_partition_that_retention_emptied_is_passed_to_its_end(apache_kafka: ApacheKafka, at: SourcePartition) -> None:
    send(apache_kafka, at, [b"gone"] * 10)
    remove_before(apache_kafka, at, 10)
    with reading(apache_kafka, at, 10) as found:
        found.until(lambda: found.reader.end(at) == 10)
        assert (found.offsets, found.reader.end(at), found.reader.gone) == ([], 10, [])


@pytest.mark.parametrize("start", [0, 3])
def test_what_compaction_removed_is_passed(apache_kafka: ApacheKafka, topic_name: str, start: int) -> None:
    apache_kafka.create_topic(
        topic_name,
        cleanup_policy="compact",
        min_cleanable_dirty_ratio="0.0",
        delete_retention_ms="0",
        segment_ms="500",
        max_compaction_lag_ms="500",
    )
    at = SourcePartition(topic_name, 0)
    hour_ago_ms = time.time_ns() // 1_000_000 - 3_600_000
    for number, values in enumerate(([b"old"] * 4, [b"new"], [b"newest"])):
        # A later record begins another segment. The newest segment is never compacted.
        send(apache_kafka, at, values, timestamp_ms=hour_ago_ms + 1_000 * number)

    def is_compacted() -> bool:
        with reading(apache_kafka, at, start) as found:
            found.until(lambda: found.next_offset == 6)
            return found.offsets == [4, 5]

    deadline = time.monotonic() + 60
    while not is_compacted():
        assert time.monotonic() < deadline, "it was not compacted"


@pytest.mark.parametrize("wanted", [0, 1, 5])
def test_records_that_are_gone_are_told_once_what_was_read_before_has_been_taken(
    apache_kafka: ApacheKafka, at: SourcePartition, wanted: int
) -> None:
    send(apache_kafka, at, [b"%d" % number for number in range(10)])
    remove_before(apache_kafka, at, 6)
    with reading(apache_kafka, at, wanted) as found:
        found.until(lambda: bool(found.reader.gone))
        assert found.reader.gone == [RecordsGone(at, wanted, 6, 10)]
        assert found.offsets == []


def test_offset_past_the_end_of_a_partition_is_told(apache_kafka: ApacheKafka, at: SourcePartition) -> None:
    send(apache_kafka, at, [b"one"])
    with reading(apache_kafka, at, 40) as found:
        found.until(lambda: bool(found.reader.gone))
        assert found.reader.gone == [RecordsGone(at, 40, 0, 1)]


def test_records_that_go_while_they_are_read_are_told_after_those_before_them(
    apache_kafka: ApacheKafka, at: SourcePartition
) -> None:
    send(apache_kafka, at, [b"0", b"1", b"2"])
    with reading(apache_kafka, at) as found:
        found.until(lambda: found.next_offset == 3)
        found.reader._pause_far_ahead(set())  # noqa: SLF001 nothing is fetched meanwhile
        consumer = found.reader._consumer  # noqa: SLF001
        assert consumer is not None
        consumer.pause([TopicPartition(*at)])
        send(apache_kafka, at, [b"3", b"4", b"5"])
        remove_before(apache_kafka, at, 5)
        consumer.resume([TopicPartition(*at)])
        found.until(lambda: bool(found.reader.gone) or found.next_offset == 6)
        # Either they had been fetched in time, or they are told.
        assert found.reader.gone in ([], [RecordsGone(at, 3, 5, 6)])
        assert found.offsets == ([0, 1, 2] if found.reader.gone else [0, 1, 2, 3, 4, 5])


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_batches_of_each_codec_are_read(apache_kafka: ApacheKafka, at: SourcePartition, codec: str) -> None:
    values: list[bytes | None] = [b"%d " % number * 50 for number in range(100)]
    send(apache_kafka, at, values, settings={"compression.type": codec, "linger.ms": "50"})
    with reading(apache_kafka, at) as found:
        found.until(lambda: found.next_offset == 100)
        assert found.values == values
