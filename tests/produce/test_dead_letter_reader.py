from __future__ import annotations

import pytest
from kafka import KafkaProducer

from headrace.errors import BrokerUnavailableError, TopicError
from headrace.events.dead_letter import DeadLetter
from headrace.kafka import KafkaConnection
from headrace.plan import Source
from headrace.produce import read_dead_letters

pytestmark = pytest.mark.kafka


def letter(
    topic: str, partition: int, offset: int, *, key: bytes | None = b"s1", value: bytes | None = b"{broken"
) -> DeadLetter:
    return DeadLetter(
        topic=topic,
        partition=partition,
        offset=offset,
        reason="Invalid JSON",
        field=None,
        model="events:Reading",
        key=key,
        value=value,
        recorded_at_ms=1_000 + offset,
    )


def write(broker: str, letters: list[DeadLetter]) -> None:
    producer = KafkaProducer(bootstrap_servers=broker)
    for one in letters:
        producer.send(
            f"{one.topic}.dlq", one.value, key=one.key, headers=one.to_headers(), timestamp_ms=one.recorded_at_ms
        ).get(10)
    producer.close()


def test_dead_letters_come_back_once_each_by_position(broker: str, source: Source) -> None:
    topic = source.topic
    first, second, third = letter(topic, 0, 5), letter(topic, 0, 41, key=None), letter(topic, 2, 3, value=b"\xff\xfe")
    write(broker, [third, second, first, second, third])
    assert read_dead_letters(KafkaConnection.of(broker), [topic]) == [first, second, third]


def test_dead_letters_of_several_topics_come_together(broker: str, source: Source, topic_name: str) -> None:
    assert read_dead_letters(KafkaConnection.of(broker), [source.topic]) == []
    assert read_dead_letters(KafkaConnection.of(broker), []) == []
    letters = [letter(source.topic, 1, offset) for offset in range(1_200)]
    write(broker, letters[:50])
    assert read_dead_letters(KafkaConnection.of(broker), [source.topic]) == letters[:50]


def test_foreign_record_among_them_is_shown_and_hides_none(broker: str, source: Source) -> None:
    write(broker, [letter(source.topic, 0, 1)])
    producer = KafkaProducer(bootstrap_servers=broker)
    producer.send(f"{source.topic}.dlq", b"hello").get(10)
    producer.close()
    good, foreign = read_dead_letters(KafkaConnection.of(broker), [source.topic])
    assert good == letter(source.topic, 0, 1)
    assert (foreign.topic, foreign.partition, foreign.offset, foreign.value) == (f"{source.topic}.dlq", 0, 1, b"hello")
    assert "no header headrace.topic" in foreign.reason


def test_topic_without_dead_letters_topic_is_named(broker: str, topic_name: str) -> None:
    with pytest.raises(TopicError, match=rf"{topic_name}\.dlq"):
        read_dead_letters(KafkaConnection.of(broker), [topic_name])


def test_broker_away_is_said() -> None:
    with pytest.raises(BrokerUnavailableError):
        read_dead_letters(KafkaConnection.of("127.0.0.1:1"), ["readings"])
