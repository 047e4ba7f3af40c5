from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from kafka.errors import InvalidConfigurationError
from kafka.structs import OffsetAndMetadata

from headrace.errors import BrokerUnavailableError, ConfigError, TopicError
from headrace.kafka import (
    KafkaConnection,
    beginning_offsets,
    cluster_id,
    committed_offsets,
    describe,
    end_offsets,
    ensure_topics,
)
from headrace.plan import Column, DType, Source

pytestmark = pytest.mark.kafka


def source(topic: str) -> Source:
    columns = (Column(name="id", dtype=DType.STRING), Column(name="at", dtype=DType.TIMESTAMP))
    return Source(name=topic, topic=topic, model="events:E", key="id", timestamp_field="at", columns=columns)


def closed_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def test_missing_topics_are_created_to_keep_history_and_existing_ones_stay(broker: str, topic_name: str) -> None:
    made = ensure_topics(KafkaConnection.of(broker), [source(topic_name)], 3)
    assert {topic: info.partitions for topic, info in made.items()} == {topic_name: 3, f"{topic_name}.dlq": 1}
    assert ensure_topics(KafkaConnection.of(broker), [source(topic_name)], 7) == made
    assert describe(KafkaConnection.of(broker), [topic_name]) == {topic_name: made[topic_name]}
    assert made[topic_name].topic_id


@pytest.mark.parametrize("keeps_history", [True, False])
def test_topics_are_asked_to_keep_producers_timestamps_and_history_where_it_is_replayed(
    broker: str, topic_name: str, monkeypatch: pytest.MonkeyPatch, *, keeps_history: bool
) -> None:
    """Tansu does not describe what it was told, so this looks at what it is told."""
    asked: dict[str, Any] = {}
    create = KafkaAdminClient.create_topics
    monkeypatch.setattr(
        KafkaAdminClient, "create_topics", lambda admin, topics: (asked.update(topics), create(admin, topics))
    )
    ensure_topics(KafkaConnection.of(broker), [source(topic_name)], 3, keeps_history=keeps_history)
    wanted = {"message.timestamp.type": "CreateTime"}
    if keeps_history:
        wanted |= {"retention.ms": "-1", "message.timestamp.before.max.ms": str(2**63 - 1)}
    assert {topic: options["configs"] for topic, options in asked.items()} == {
        topic_name: wanted,
        f"{topic_name}.dlq": wanted,
    }


def test_broker_that_does_not_know_a_setting_is_asked_without_it(
    broker: str, topic_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = KafkaAdminClient.create_topics

    def as_before_kafka_3_6(admin: Any, topics: dict[str, Any]) -> Any:
        if any("message.timestamp.before.max.ms" in options["configs"] for options in topics.values()):
            raise InvalidConfigurationError
        return create(admin, topics)

    monkeypatch.setattr(KafkaAdminClient, "create_topics", as_before_kafka_3_6)
    assert ensure_topics(KafkaConnection.of(broker), [source(topic_name)], 2)[topic_name].partitions == 2


def test_topics_created_by_two_at_once_are_created_once(broker: str, topic_name: str) -> None:
    results: list[object] = []
    threads = [
        threading.Thread(
            target=lambda: results.append(ensure_topics(KafkaConnection.of(broker), [source(topic_name)], 2))
        )
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [results[0]] * 4


def test_no_sources_need_no_broker() -> None:
    assert ensure_topics(KafkaConnection.of("127.0.0.1:1"), [], 3) == {}


def test_topic_without_partitions_is_refused(topic_name: str) -> None:
    with pytest.raises(ConfigError, match="partitions"):
        ensure_topics(KafkaConnection.of("127.0.0.1:1"), [source(topic_name)], 0)


@pytest.mark.parametrize("name", ["no spaces", "", ".", "..", "x" * 246, "schön"])
def test_impossible_topic_name_is_refused(name: str) -> None:
    with pytest.raises(TopicError, match="cannot be a topic's name"):
        ensure_topics(KafkaConnection.of("127.0.0.1:1"), [source(name)], 1)


def test_unknown_topic_is_named(broker: str, topic_name: str) -> None:
    for ask in (describe, end_offsets, beginning_offsets):
        with pytest.raises(TopicError, match=f"{topic_name}(?s:.*)headrace produce"):
            ask(KafkaConnection.of(broker), [topic_name])
    with pytest.raises(TopicError, match=f"'{topic_name}', '{topic_name}-b' do not exist"):
        describe(KafkaConnection.of(broker), [topic_name, f"{topic_name}-b"])


def test_offsets_count_every_record_of_every_batch(broker: str, topic_name: str) -> None:
    """Tansu lists an end offset that counts its last batch as one record."""
    ensure_topics(KafkaConnection.of(broker), [source(topic_name)], 3)
    producer = KafkaProducer(bootstrap_servers=broker, linger_ms=20)
    total = 0
    for count in (1, 10, 400, 3):
        for _ in range(count):
            producer.send(topic_name, b"x", partition=0)
        producer.send(topic_name, b"x", partition=2)
        producer.flush()
        total += count
        ends = end_offsets(KafkaConnection.of(broker), [topic_name, f"{topic_name}.dlq"])
        assert ends[topic_name, 0] == total
    producer.close()
    assert ends == {(topic_name, 0): 414, (topic_name, 1): 0, (topic_name, 2): 4, (f"{topic_name}.dlq", 0): 0}
    assert set(beginning_offsets(KafkaConnection.of(broker), [topic_name]).values()) == {0}


def test_committed_offsets_are_those_of_the_group(broker: str, topic_name: str) -> None:
    ensure_topics(KafkaConnection.of(broker), [source(topic_name)], 2)
    assert committed_offsets(KafkaConnection.of(broker), f"{topic_name}-group") == {}
    consumer = KafkaConsumer(bootstrap_servers=broker, group_id=f"{topic_name}-group", enable_auto_commit=False)
    consumer.assign([TopicPartition(topic_name, 0), TopicPartition(topic_name, 1)])
    consumer.commit({TopicPartition(topic_name, 1): OffsetAndMetadata(17, "", -1)})
    consumer.close()
    assert committed_offsets(KafkaConnection.of(broker), f"{topic_name}-group") == {(topic_name, 1): 17}


def test_broker_that_is_away_is_said_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    address = closed_port()
    with pytest.raises(BrokerUnavailableError, match=f"{address}(?s:.*)headrace dev"):
        cluster_id(KafkaConnection.of(address), timeout_s=1_000)  # longer than a test may take
    assert capfd.readouterr() == ("", "")


def test_server_that_never_answers_is_waited_for_so_long_only(capfd: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(BrokerUnavailableError, match="No Kafka broker answers"):
            cluster_id(KafkaConnection.of(f"127.0.0.1:{silent.getsockname()[1]}"), timeout_s=0.5)
    assert threading.active_count() < 20
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "address", ["", "localhost", "localhost:", ":9092", "localhost:kafka", "localhost:99999", "a:1,b"]
)
def test_malformed_address_is_a_wrong_setting(address: str) -> None:
    with pytest.raises(ConfigError, match="host:port"):
        cluster_id(KafkaConnection.of(address))
