"""The broker that production runs: headrace's own clients against Apache Kafka."""

from __future__ import annotations

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


def test_a_topic_keeps_its_id_and_its_records_when_the_broker_is_killed(
    spare_kafka: ApacheKafka, topic_name: str
) -> None:
    spare_kafka.create_topic(topic_name)
    producer = Producer({"bootstrap.servers": spare_kafka.address, "acks": "all"})
    producer.produce(topic_name, b"event")
    assert producer.flush(30) == 0
    before = described(spare_kafka, topic_name)
    spare_kafka.kill()
    spare_kafka.start()
    assert described(spare_kafka, topic_name) == before
    assert end_offsets(spare_kafka.connection, [topic_name]) == {(topic_name, 0): 1}
