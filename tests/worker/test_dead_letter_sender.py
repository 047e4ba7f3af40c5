"""On Apache Kafka: a dead letter of any size and time is stored, or noted and skipped; refusals are reported."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    ResourcePatternType,
    ResourceType,
)

from headrace.errors import BrokerUnavailableError, TopicError
from headrace.events.dead_letter import DeadLetter, Whole
from headrace.produce import read_dead_letters
from headrace.worker.dead_letter_sender import KafkaDeadLetters
from tests.servers.kafka import ApacheKafka

pytestmark = [pytest.mark.slow, pytest.mark.apache_kafka]

NOW_MS = 1_790_000_000_000


@pytest.fixture
def undelivered(tmp_path: Path) -> Path:
    return tmp_path / "state" / "undelivered.jsonl"


@pytest.fixture
def sink(apache_kafka: ApacheKafka, undelivered: Path) -> Iterator[KafkaDeadLetters]:
    opened = KafkaDeadLetters(apache_kafka.connection, undelivered)
    yield opened
    opened.close()


def letter(
    topic: str, offset: int, value: bytes | None = b"{", *, key: bytes | None = b"k", at_ms: int = NOW_MS
) -> DeadLetter:
    return DeadLetter(
        topic=topic,
        partition=0,
        offset=offset,
        reason="Invalid JSON",
        field=None,
        model="events:Sale",
        key=key,
        value=value,
        recorded_at_ms=at_ms,
    )


def stored(kafka: ApacheKafka, sink: KafkaDeadLetters, letters: list[DeadLetter]) -> list[DeadLetter]:
    """What is read back of letters, all of one topic, that were sent and flushed; by offset, as retries may reorder."""
    sink.send(letters)
    sink.flush()
    return sorted(read_dead_letters(kafka.connection, [letters[0].topic]), key=lambda one: one.offset)


def test_letters_are_stored_as_they_are(apache_kafka: ApacheKafka, topic_name: str, sink: KafkaDeadLetters) -> None:
    apache_kafka.create_topic(topic_name)
    apache_kafka.create_topic(f"{topic_name}.dlq")
    letters = [
        letter(topic_name, 0),
        letter(topic_name, 1, None, key=None),
        letter(topic_name, 2, b"", key=b""),
        letter(topic_name, 3, b"\xff" * 300_000),
        letter(topic_name, 4, at_ms=-1),
        letter(topic_name, 5, at_ms=0),
    ]
    assert stored(apache_kafka, sink, letters) == letters


def test_letter_that_is_too_large_is_cut_and_its_neighbours_are_not(
    apache_kafka: ApacheKafka, topic_name: str, sink: KafkaDeadLetters, undelivered: Path
) -> None:
    apache_kafka.create_topic(topic_name)
    apache_kafka.create_topic(f"{topic_name}.dlq", max_message_bytes="100000")
    large, large_key = b"v" * 3_000_000, b"k" * 2_000_000
    letters = [letter(topic_name, offset, b"small") for offset in range(50)]
    letters += [letter(topic_name, 50, large), letter(topic_name, 51, b"small", key=large_key)]
    letters += [letter(topic_name, 52, b"m" * 99_950)]  # of a size that its headers make too large
    found = stored(apache_kafka, sink, letters)
    assert found[:50] == letters[:50]
    for cut, whole in zip(found[50:], letters[50:], strict=True):
        assert cut.position == whole.position
        assert cut.whole_value == (None if cut.value == whole.value else Whole.of(whole.value or b""))
        assert cut.whole_key == (None if cut.key == whole.key else Whole.of(whole.key or b""))
        assert cut.is_cut
        assert len(cut.value or b"") + len(cut.key or b"") == 90_000
        assert (whole.value or b"").startswith(cut.value or b"-")
    assert not undelivered.exists()


def test_letter_dated_ahead_is_sent_with_the_time_of_sending_and_keeps_its_own(
    apache_kafka: ApacheKafka, topic_name: str, sink: KafkaDeadLetters
) -> None:
    apache_kafka.create_topic(topic_name)
    apache_kafka.create_topic(
        f"{topic_name}.dlq", message_timestamp_after_max_ms="3600000", message_timestamp_before_max_ms="3600000"
    )
    now_ms = time.time_ns() // 1_000_000
    times = [now_ms, now_ms + 90_000_000, now_ms, now_ms - 90_000_000, 9_400_000_000_000_000]
    letters = [letter(topic_name, offset, at_ms=at_ms) for offset, at_ms in enumerate(times)]
    assert stored(apache_kafka, sink, letters) == letters


def test_letter_that_no_form_of_is_taken_is_noted_and_passed(
    apache_kafka: ApacheKafka,
    topic_name: str,
    sink: KafkaDeadLetters,
    undelivered: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    apache_kafka.create_topic(topic_name)
    apache_kafka.create_topic(f"{topic_name}.dlq", max_message_bytes="150")
    assert stored(apache_kafka, sink, [letter(topic_name, 7, b"v" * 1_000)]) == []
    assert sink.passed == 1
    (note,) = [json.loads(line) for line in undelivered.read_text().splitlines()]
    assert (note["topic"], note["partition"], note["offset"], note["reason"]) == (topic_name, 0, 7, "Invalid JSON")
    assert note["value"] == {"bytes": 1_000, "sha256": Whole.of(b"v" * 1_000).sha256}
    assert "large" in note["undelivered"].lower()
    assert f"{topic_name}[0]@7" in caplog.text


def test_letter_without_a_key_for_a_compacted_topic_is_noted_and_passed(
    apache_kafka: ApacheKafka, topic_name: str, sink: KafkaDeadLetters, undelivered: Path
) -> None:
    apache_kafka.create_topic(topic_name)
    apache_kafka.create_topic(f"{topic_name}.dlq", cleanup_policy="compact")
    letters = [letter(topic_name, 0, key=None), letter(topic_name, 1), letter(topic_name, 2, key=b"k2")]
    assert stored(apache_kafka, sink, letters) == letters[1:]
    assert len(undelivered.read_text().splitlines()) == 1


def test_writing_that_is_not_allowed_is_said_with_what_to_grant(apache_kafka: ApacheKafka, topic_name: str) -> None:
    apache_kafka.create_topic(f"{topic_name}.dlq")
    topic = (ResourceType.TOPIC, f"{topic_name}.dlq", ResourcePatternType.LITERAL, "User:ANONYMOUS", "*")
    denied = AclBinding(*topic, AclOperation.WRITE, AclPermissionType.DENY)
    for done in apache_kafka.admin.create_acls([denied]).values():
        done.result(30)
    sink = KafkaDeadLetters(apache_kafka.connection)

    def send_until_it_is_heeded() -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            sink.send([letter(topic_name, 0)])
            sink.flush()

    with pytest.raises(TopicError, match=rf"{topic_name}\.dlq(?s:.*)Grant WRITE"):
        send_until_it_is_heeded()
    sink.close()


def test_topic_that_is_missing_is_said(apache_kafka: ApacheKafka, topic_name: str) -> None:
    settings = {"topic.metadata.propagation.max.ms": 100}
    sink = KafkaDeadLetters(apache_kafka.connection, settings=settings)
    sink.send([letter(topic_name, 0)])
    with pytest.raises(TopicError, match=rf"{topic_name}\.dlq"):
        sink.flush()
    sink.close()


def test_broker_that_is_away_is_waited_for_and_nothing_is_lost(spare_kafka: ApacheKafka, topic_name: str) -> None:
    spare_kafka.create_topic(topic_name)
    spare_kafka.create_topic(f"{topic_name}.dlq")
    sink = KafkaDeadLetters(spare_kafka.connection, confirm_s=0.5)
    sink.send([letter(topic_name, 0)])
    sink.flush()
    spare_kafka.kill()
    try:
        sink.send([letter(topic_name, 1)])
        with pytest.raises(BrokerUnavailableError, match="1 dead letters"):
            sink.flush()
    finally:
        spare_kafka.start()
    deadline = time.monotonic() + 60
    while True:
        try:
            sink.flush()
            break
        except BrokerUnavailableError:
            assert time.monotonic() < deadline
    assert [found.offset for found in read_dead_letters(spare_kafka.connection, [topic_name])] == [0, 1]
    sink.close()
