"""On Apache Kafka: what can be read of a topic, where its partitions end, and who is told that records are gone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import ConfigResource  # type: ignore[attr-defined]

from headrace.errors import BrokerUnavailableError, TopicError
from headrace.kafka import KafkaConnection, end_offsets, ensure_topics
from headrace.kafka.committed_records import read_records
from tests.produce.examples import source_of
from tests.servers.kafka import ApacheKafka

pytestmark = [pytest.mark.slow, pytest.mark.apache_kafka]


def send(kafka: ApacheKafka, topic: str, values: Sequence[bytes], **settings: str) -> None:
    producer = Producer({"bootstrap.servers": kafka.address, **{k.replace("_", "."): v for k, v in settings.items()}})
    for value in values:
        producer.produce(topic, value, partition=0, headers={"n": value})
    assert producer.flush(30) == 0


def transaction(kafka: ApacheKafka, topic: str, *values: bytes) -> Producer:
    """A transaction that is open."""
    producer = Producer({"bootstrap.servers": kafka.address, "transactional.id": f"{topic}-writer", "log_level": 0})
    producer.init_transactions(30)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value, partition=0)
    producer.flush(30)
    return producer


def both_ends(kafka: ApacheKafka, topic: str) -> tuple[int, int]:
    """The end of what can be read, and of all there is, of partition 0."""
    stable = end_offsets(kafka.connection, [topic], committed=True)
    return stable[topic, 0], end_offsets(kafka.connection, [topic])[topic, 0]


def values_of(kafka: ApacheKafka, topic: str, first: int, stop: int) -> list[bytes | None]:
    return [record.value for record in read_records(kafka.connection, {(topic, 0): (first, stop)})]


def test_open_transaction_parts_the_end_of_what_can_be_read_from_the_end(
    apache_kafka: ApacheKafka, topic_name: str
) -> None:
    apache_kafka.create_topic(topic_name, 2)
    send(apache_kafka, topic_name, [b"before"])
    assert both_ends(apache_kafka, topic_name) == (1, 1)
    producer = transaction(apache_kafka, topic_name, b"open", b"open too")
    send(apache_kafka, topic_name, [b"behind"])
    assert both_ends(apache_kafka, topic_name) == (1, 4)
    assert values_of(apache_kafka, topic_name, 0, 4) == [b"before"]
    producer.abort_transaction(30)
    assert both_ends(apache_kafka, topic_name) == (5, 5)
    assert values_of(apache_kafka, topic_name, 0, 5) == [b"before", b"behind"]
    assert values_of(apache_kafka, topic_name, 1, 3) == []


def test_emptied_partition_ends_where_its_records_ended(apache_kafka: ApacheKafka, topic_name: str) -> None:
    apache_kafka.create_topic(topic_name)
    send(apache_kafka, topic_name, [b"x"] * 7)
    for done in apache_kafka.admin.delete_records([TopicPartition(topic_name, 0, 7)]).values():
        done.result(30)
    assert both_ends(apache_kafka, topic_name) == (7, 7)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_last_batch_of_any_codec_has_an_end_and_is_read(apache_kafka: ApacheKafka, topic_name: str, codec: str) -> None:
    apache_kafka.create_topic(topic_name)
    values = [b"%d " % number * 100 for number in range(50)]
    send(apache_kafka, topic_name, values, compression_type=codec, linger_ms="50")
    assert both_ends(apache_kafka, topic_name) == (50, 50)
    assert values_of(apache_kafka, topic_name, 0, 50) == values
    (last,) = read_records(apache_kafka.connection, {(topic_name, 0): (49, 50)})
    assert (last.offset, last.headers, last.is_append_time) == (49, (("n", values[-1]),), False)


def test_range_whose_beginning_is_gone_is_refused(apache_kafka: ApacheKafka, topic_name: str) -> None:
    apache_kafka.create_topic(topic_name)
    send(apache_kafka, topic_name, [b"x"] * 7)
    for done in apache_kafka.admin.delete_records([TopicPartition(topic_name, 0, 5)]).values():
        done.result(30)
    with pytest.raises(TopicError, match=rf"from offset 2 of topic '{topic_name}', partition 0 are gone(?s:.*)at 5"):
        list(read_records(apache_kafka.connection, {(topic_name, 0): (2, 7)}))


def test_broker_that_is_away_is_said() -> None:
    with pytest.raises(BrokerUnavailableError, match="No Kafka broker answers"):
        list(read_records(KafkaConnection.of("127.0.0.1:1"), {("t", 0): (0, 7)}))


@pytest.mark.parametrize(("keeps_history", "retention_ms"), [(True, "-1"), (False, "604800000")])
def test_new_topic_keeps_history_or_has_the_brokers_retention(
    apache_kafka: ApacheKafka, topic_name: str, *, keeps_history: bool, retention_ms: str
) -> None:
    ensure_topics(apache_kafka.connection, [source_of(topic_name)], 1, keeps_history=keeps_history)
    for name in (topic_name, f"{topic_name}.dlq"):
        asked = ConfigResource(ConfigResource.Type.TOPIC, name)
        found = apache_kafka.admin.describe_configs([asked])[asked].result(30)
        assert found["retention.ms"].value == retention_ms
        assert found["message.timestamp.type"].value == "CreateTime"
        assert found["message.timestamp.before.max.ms"].value == str(2**63 - 1)  # a broker's default as well
