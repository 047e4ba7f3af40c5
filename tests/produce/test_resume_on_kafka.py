"""On Apache Kafka: what aborted transactions left in a topic is not taken for events of a replay."""

from __future__ import annotations

import pytest
from confluent_kafka import Producer

from headrace.kafka import end_offsets, ensure_topics
from headrace.kafka.committed_records import read_records
from headrace.produce import EventProducer, ReplayOptions, replay
from tests.produce.examples import Reading, readings, source_of
from tests.servers.kafka import ApacheKafka

pytestmark = [pytest.mark.slow, pytest.mark.apache_kafka]

EVENTS = readings(300)


def abort(kafka: ApacheKafka, topic: str) -> None:
    """Leave aborted records and markers in each partition."""
    producer = Producer({"bootstrap.servers": kafka.address, "transactional.id": topic, "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    for partition in range(3):
        producer.produce(topic, b"never", b"key", partition)
    producer.flush(30)
    producer.abort_transaction(30)


@pytest.mark.parametrize("ends_aborted", [False, True])
def test_resume_counts_committed_records_only(
    apache_kafka: ApacheKafka, topic_name: str, *, ends_aborted: bool
) -> None:
    source = source_of(topic_name)
    ensure_topics(apache_kafka.connection, [source], 3)
    abort(apache_kafka, topic_name)
    with EventProducer(source, Reading, apache_kafka.address) as producer:
        replay(producer, EVENTS, ReplayOptions(limit=170))
        if ends_aborted:
            abort(apache_kafka, topic_name)
        summary = replay(producer, EVENTS, ReplayOptions(resume=True))
    assert (summary.sent, summary.skipped) == (130, 170)
    ends = end_offsets(apache_kafka.connection, [topic_name])
    sent = read_records(apache_kafka.connection, {place: (0, end) for place, end in ends.items()})
    counts = [Reading.model_validate_json(record.value or b"").count for record in sent]
    assert sorted(counts) == sorted(event["count"] for event in EVENTS)
