"""The broker that production runs: headrace's own clients against Apache Kafka."""

from __future__ import annotations

from pathlib import Path

import pytest
from confluent_kafka import Producer

from headrace.kafka.topics import TopicInfo, cluster_id, describe, end_offsets
from tests.servers.kafka import ApacheKafka

pytestmark = [pytest.mark.slow, pytest.mark.apache_kafka]


def described(server: ApacheKafka, topic: str) -> tuple[str, TopicInfo]:
    return cluster_id(server.connection), describe(server.connection, [topic])[topic]


def test_a_topic_made_anew_has_another_id(apache_kafka: ApacheKafka, topic_name: str) -> None:
    apache_kafka.create_topic(topic_name, 2)
    cluster, first = described(apache_kafka, topic_name)
    apache_kafka.delete_topic(topic_name)
    apache_kafka.create_topic(topic_name, 2)
    same_cluster, second = described(apache_kafka, topic_name)
    assert (first.partitions, second.partitions) == (2, 2)
    assert cluster == same_cluster
    assert first.topic_id != second.topic_id


def test_a_topic_keeps_its_id_and_its_records_when_the_broker_is_killed(kafka_classpath: str, tmp_path: Path) -> None:
    server = ApacheKafka(tmp_path, kafka_classpath)
    try:
        server.start()
        server.create_topic("kept")
        producer = Producer({"bootstrap.servers": server.address, "acks": "all"})
        producer.produce("kept", b"event")
        assert producer.flush(30) == 0
        before = described(server, "kept")
        server.kill()
        server.start()
        assert described(server, "kept") == before
        assert end_offsets(server.connection, ["kept"]) == {("kept", 0): 1}
    finally:
        server.stop()
