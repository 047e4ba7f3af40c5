"""Headers come with their records, and a name that is not UTF-8 stops no reader."""

from __future__ import annotations

import logging

import pytest

from headrace.events.source_partition import SourcePartition
from headrace.kafka import KafkaConnection, ensure_topics
from headrace.kafka.clients import KafkaProducer
from headrace.kafka.committed_records import read_records
from headrace.kafka.fetch_reader import RecordReader
from tests.produce.examples import source_of

pytestmark = pytest.mark.kafka

TOPIC = "with-headers"
TRACE = (("trace", b"1"), ("trace", b""), ("", b"\xff"))


class NotText(str):
    """A name that is written as no UTF-8."""

    __slots__ = ()

    def encode(self, *_: str) -> bytes:
        return b"\xff"


@pytest.fixture(scope="module")
def topic(broker: str) -> str:
    ensure_topics(KafkaConnection.of(broker), [source_of(TOPIC)], 2)
    producer = KafkaProducer(bootstrap_servers=broker)
    producer.send(TOPIC, b"0", partition=0, headers=list(TRACE))
    producer.send(TOPIC, b"1", partition=0)
    producer.send(TOPIC, b"2", partition=0, headers=[(NotText("x"), b"1"), ("trace", b"1")])
    producer.send(TOPIC, b"3", partition=0, headers=[("last", b"3")])
    producer.send(TOPIC, b"plain", partition=1)
    producer.flush()
    producer.close()
    return TOPIC


def test_reader_of_fetches_keeps_headers(broker: str, topic: str, caplog: pytest.LogCaptureFixture) -> None:
    with_headers, without = SourcePartition(topic, 0), SourcePartition(topic, 1)
    reader = RecordReader(KafkaConnection.of(broker), {with_headers: 0, without: 0})
    found: dict[bytes | None, object] = {}
    try:
        with caplog.at_level(logging.WARNING, "headrace.kafka.record_headers"):
            while len(found) < 5:
                reader.fetch([with_headers, without], 5.0)
                for read in reader.take([with_headers, without]).values():
                    headers = read.records.headers or [()] * len(read.records)
                    found |= dict(zip(read.records.values, headers, strict=True))
    finally:
        reader.close()
    assert found == {b"0": TRACE, b"1": (), b"2": (), b"3": (("last", b"3"),), b"plain": ()}


def test_records_read_back_have_their_headers(broker: str, topic: str) -> None:
    found = list(read_records(KafkaConnection.of(broker), {(topic, 0): (0, 4)}))
    assert [record.headers for record in found] == [TRACE, (), (), (("last", b"3"),)]
