"""A reader gives every record of its partitions once, in order, from its start, whatever is paused or buffered."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest

from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.kafka import KafkaConnection, ensure_topics
from headrace.kafka.fetch_reader import FetchLimits, RecordReader
from tests.produce.examples import source_of

pytestmark = pytest.mark.slow

PARTITIONS = 3
EACH = 3_000
TIME_MS = 1_700_000_000_000


@pytest.fixture(scope="module")
def topic(broker: str) -> str:
    """A topic with some thousand records in each of three partitions, and none in a fourth."""
    from kafka import KafkaProducer

    name = "reader-numbers"
    ensure_topics(KafkaConnection.of(broker), [source_of(name)], PARTITIONS + 1)
    producer = KafkaProducer(bootstrap_servers=broker)
    for offset in range(EACH):
        for partition in range(PARTITIONS):
            key, value = (None if offset % 3 else b"k"), (b"" if offset % 100 == 99 else b"%d-%d" % (partition, offset))
            producer.send(name, value, key, partition=partition, timestamp_ms=TIME_MS + offset)
    producer.flush()
    producer.close()
    return name


def places(topic: str, *offsets: int) -> dict[SourcePartition, int]:
    return {SourcePartition(topic, partition): offset for partition, offset in enumerate(offsets)}


def until(done: Callable[[], bool], step: Callable[[], None]) -> None:
    deadline = time.monotonic() + 20
    while not done():
        assert time.monotonic() < deadline, "the records did not come"
        step()


def check(found: dict[SourcePartition, list[RawRecords]], starts: dict[SourcePartition, int]) -> None:
    for source, start in starts.items():
        records = RawRecords.concat(found[source])
        wanted = list(range(start, EACH)) if source.partition < PARTITIONS else []
        assert records.offsets.tolist() == wanted
        assert records.partitions.tolist() == [source.partition] * len(wanted)
        assert records.timestamps.tolist() == [TIME_MS + offset for offset in wanted]
        assert records.keys == [None if offset % 3 else b"k" for offset in wanted]
        assert records.values == [
            b"" if offset % 100 == 99 else b"%d-%d" % (source.partition, offset) for offset in wanted
        ]


@pytest.mark.parametrize("starts", [(0, 0, 0, 0), (2_999, 17, 1_000, 0), (3_000, 5)])
def test_each_partition_is_read_from_its_place_to_its_end(broker: str, topic: str, starts: tuple[int, ...]) -> None:
    at = places(topic, *starts)
    reader = RecordReader(KafkaConnection.of(broker), at)
    found: dict[SourcePartition, list[RawRecords]] = {source: [] for source in at}

    def read() -> None:
        reader.fetch(at, 0.2)
        for source, got in reader.take(at).items():
            found[source].append(got.records)

    wanted = sum(max(0, EACH - start) for start in starts[:3])
    until(lambda: sum(len(one) for parts in found.values() for one in parts) >= wanted, read)
    read()
    check(found, at)
    until(lambda: all(reader.end(source) is not None for source in at), read)
    assert [reader.end(source) for source in at] == [EACH if source.partition < PARTITIONS else 0 for source in at]
    reader.close()


@pytest.mark.parametrize("seed", range(3))
def test_partitions_that_nobody_wants_are_held_back_and_come_later_as_they_are(
    broker: str, topic: str, seed: int
) -> None:
    dice, at = random.Random(seed), places(topic, 0, 40, 0)
    reader = RecordReader(KafkaConnection.of(broker), at, FetchLimits(records=150, waiting=200))
    found: dict[SourcePartition, list[RawRecords]] = {source: [] for source in at}
    turns = dict.fromkeys(at, 0)

    def read() -> None:
        source = dice.choice(sorted(at))
        turns[source] += 1
        for _ in range(dice.randrange(1, 12)):
            reader.fetch({source}, 0.02)
            for came, got in reader.take({source}).items():
                found[came].append(got.records)

    until(lambda: all(parts and parts[-1].offsets[-1] == EACH - 1 for parts in found.values()), read)
    check(found, at)
    reader.close()


def test_what_was_fetched_and_not_taken_waits(broker: str, topic: str) -> None:
    at = places(topic, 0)
    reader = RecordReader(KafkaConnection.of(broker), at)
    for _ in range(100):
        reader.fetch(at, 0.05)
    (read,) = reader.take(at).values()
    assert read.records.offsets[0] == 0
    assert reader.take(at) == {}
    reader.close()


def test_new_record_is_waited_for_and_comes_at_once(broker: str, topic_name: str) -> None:
    from kafka import KafkaProducer

    ensure_topics(KafkaConnection.of(broker), [source_of(topic_name)], 1)
    at = places(topic_name, 0)
    reader = RecordReader(KafkaConnection.of(broker), at)
    reader.fetch(at, 1.0)
    producer = KafkaProducer(bootstrap_servers=broker)
    producer.send(topic_name, b"first").get(10)
    until(lambda: bool(reader.take(at)), lambda: reader.fetch(at, 1.0))
    producer.send(topic_name, b"second").get(10)
    reader.fetch(at, 1_000.0)  # longer than a test may take
    assert reader.take(at)
    producer.close()
    reader.close()


def test_reader_that_is_closed_while_it_fetches_ends(broker: str, topic: str) -> None:
    at = places(topic, EACH)
    reader = RecordReader(KafkaConnection.of(broker), at)
    fetching = threading.Thread(target=reader.fetch, args=(at, 1.0))
    fetching.start()
    reader.close()
    fetching.join(10)
    assert not fetching.is_alive()
    reader.fetch(at, 1.0)
    assert reader.take(at) == {}
    assert reader.end(SourcePartition(topic, 0)) is None


def test_fetch_of_large_records_ends_early(broker: str, topic: str) -> None:
    at = places(topic, 0)
    reader = RecordReader(KafkaConnection.of(broker), at, FetchLimits(messages=10, value_bytes=100))
    found: list[RawRecords] = []

    def read() -> None:
        reader.fetch(at, 0.2)
        found.extend(read.records for read in reader.take(at).values())

    until(lambda: sum(map(len, found)) >= EACH, read)
    assert max(map(len, found)) <= 40  # values of some five bytes, ten records at a time
    check({SourcePartition(topic, 0): found}, at)
    reader.close()
