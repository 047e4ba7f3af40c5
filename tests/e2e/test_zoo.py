"""Records of every kind on a real broker: the worker continues with the good ones, and says where each bad one is."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from confluent_kafka import Producer

from tests.e2e.rides import Rides
from tests.worker.test_zoo import BAD

if TYPE_CHECKING:
    from tests.servers.kafka import ApacheKafka

pytestmark = [pytest.mark.slow, pytest.mark.kafka]

DAY_MS = 86_400_000


@pytest.fixture
def rides(request: pytest.FixtureRequest, tmp_path: Path, topic_name: str) -> Rides:
    """A project on the broker that the test is given, in one partition."""
    if request.param == "embedded":
        return Rides(tmp_path / "rides", topic_name, request.getfixturevalue("broker"), partitions=1)
    kafka: ApacheKafka = request.getfixturevalue("apache_kafka")
    kafka.create_topic(topic_name, message_timestamp_after_max_ms=str(2**63 - 1))
    kafka.create_topic(f"{topic_name}.dlq", max_message_bytes="200000", message_timestamp_after_max_ms=str(DAY_MS))
    return Rides(tmp_path / "rides", topic_name, kafka.address, partitions=1)


def ride(at_ms: int) -> bytes:
    return json.dumps({"driver": "d1", "at": at_ms, "fare": 1}).encode()


def records(codec: str) -> Iterator[tuple[bool, dict[str, Any]]]:
    """Each record to send, and whether it is an event."""
    now_ms = time.time_ns() // 1_000_000
    for value in BAD.values():
        yield False, {"value": value}
    yield False, {"value": b'{"driver": "d1", "bad": "' + os.urandom(1_500_000).hex().encode() + b'"}'}
    yield False, {"value": b"{", "key": os.urandom(700_000)}
    yield False, {"value": b"{", "timestamp": now_ms + 30 * DAY_MS}
    yield False, {"value": ride(now_ms), "timestamp": 9_400_000_000_000_000}
    yield True, {"value": ride(now_ms), "key": b"k" * 700_000}
    yield True, {"value": ride(now_ms), "headers": [(f"h{n}", os.urandom(1_000)) for n in range(700)]}
    yield True, {"value": ride(now_ms), "headers": [("", None), ("\u2028", b"\xff"), ("same", b""), ("same", b"")]}
    yield True, {"value": ride(now_ms), "key": b"\xff\xfe"}
    yield True, {"value": ride(now_ms + 29 * DAY_MS), "timestamp": now_ms + 30 * DAY_MS}
    for _ in range(200):
        yield True, {"value": ride(now_ms)}


@pytest.mark.parametrize(
    ("rides", "codec"),
    [
        ("embedded", "none"),
        pytest.param("apache", "none", marks=pytest.mark.apache_kafka),
        pytest.param("apache", "zstd", marks=pytest.mark.apache_kafka),
    ],
    indirect=["rides"],
)
def test_worker_goes_on_with_the_good_events_of_a_zoo(rides: Rides, codec: str) -> None:
    sent = list(records(codec))
    rides.json("stream", "--until-end")  # makes what topics are missing
    producer = Producer(
        {"bootstrap.servers": rides.broker, "compression.type": codec, "message.max.bytes": 20_000_000, "linger.ms": 20}
    )
    for _, more in sent:
        producer.produce(rides.topic, partition=0, **more)
    assert producer.flush(60) == 0
    done = rides.json("stream", "--until-end")
    good = sum(is_event for is_event, _ in sent)
    assert (done["events"], done["dead_letters"]) == (good, len(sent) - good)
    assert rides.looked_up()[:2] == [good, good]
    (row,) = rides.json("status")["partitions"]
    assert (row["end"], row["lag"]) == (len(sent), 0)
    letters = rides.json("deadletters", "--limit", "0")["dead_letters"]
    assert [letter["offset"] for letter in letters] == [n for n, (is_event, _) in enumerate(sent) if not is_event]
    large = letters[len(BAD)]["whole_value"]
    assert large is None or large["size"] == 3_000_027  # the embedded broker takes it whole
    assert not (rides.state / "undelivered.jsonl").exists()
