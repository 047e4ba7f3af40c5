"""Validated events per second into Kafka, confirmed: headrace's producer beside plain clients with the same settings.

    python -m benchmarks.produce [--quick] [--json] [--rounds N] [--broker HOST:PORT]

Every side gets the same dicts and sends them idempotently, acknowledged by all replicas, with the same batch size and
linger, keyed by user, into a topic of its own. The clock runs from the first event until the broker has confirmed the
last. Ours validates each event with its pydantic model; the plain clients send what they are given. Each topic is read
back, and must hold the same events in the same order in the same partitions.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

from confluent_kafka import Producer
from kafka import KafkaProducer

from benchmarks import servers
from benchmarks.payments.events import Payment
from benchmarks.side_by_side import Measure, Options, Report, Skipped, command_line, in_turns
from benchmarks.workload import PARTITIONS, Payments, payments_plan, user_id
from headrace.kafka import KafkaConnection, end_offsets, ensure_topics
from headrace.kafka.committed_records import read_records
from headrace.produce import EventProducer

OURS, ONE_BY_ONE = "headrace", "headrace, one by one"
KAFKA_PYTHON, CONFLUENT = "kafka-python, json", "confluent-kafka, orjson"

_WANTED = 50_000.0
_LINGER_MS = 20
_BATCH_BYTES = 512 * 1024
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TOPICS = count(1)


@dataclass(frozen=True)
class Work:
    """What is sent.

    Attributes:
        broker: Kafka's ``host:port``.
        events: The events.
        at_ms: Their records' timestamps, in ms.
        at: The same, as datetimes.
    """

    broker: str
    events: list[dict[str, Any]]
    at_ms: list[int]
    at: list[datetime]


def with_headrace(work: Work, topic: str) -> None:
    """A thousand events at a time."""
    source = payments_plan(topic).sources["payments"]
    with EventProducer(source, Payment, work.broker, linger_ms=_LINGER_MS) as producer:
        producer.send_many(work.events, timestamps=work.at)
    assert producer.confirmed == len(work.events), "headrace has not confirmed every event"


def with_headrace_one_by_one(work: Work, topic: str) -> None:
    """As a service does that has one event at a time."""
    source = payments_plan(topic).sources["payments"]
    with EventProducer(source, Payment, work.broker, linger_ms=_LINGER_MS) as producer:
        for event, at in zip(work.events, work.at, strict=True):
            producer.send(event, timestamp=at)
    assert producer.confirmed == len(work.events), "headrace has not confirmed every event"


def with_kafka_python(work: Work, topic: str) -> None:
    """The client that headrace builds on, used as its documentation does."""
    producer = KafkaProducer(
        bootstrap_servers=work.broker,
        enable_idempotence=True,
        acks="all",
        linger_ms=_LINGER_MS,
        batch_size=_BATCH_BYTES,
        max_request_size=8 * 1024 * 1024,
        metrics_enabled=False,
    )
    sent = [
        producer.send(topic, json.dumps(event).encode(), key=event["user_id"].encode(), timestamp_ms=at)
        for event, at in zip(work.events, work.at_ms, strict=True)
    ]
    producer.flush()
    assert all(one.succeeded() for one in sent), "kafka-python has not confirmed every event"
    producer.close()


def with_confluent(work: Work, topic: str) -> None:
    """librdkafka, in C, and a JSON encoder in Rust."""
    from orjson import dumps

    confirmed = 0

    def told(error: object, _: object) -> None:
        nonlocal confirmed
        confirmed += error is None

    producer = Producer(
        {
            "bootstrap.servers": work.broker,
            "enable.idempotence": True,
            "acks": "all",
            "linger.ms": _LINGER_MS,
            "batch.size": _BATCH_BYTES,
            "partitioner": "murmur2_random",
        }
    )
    for event, at in zip(work.events, work.at_ms, strict=True):
        while True:
            try:
                producer.produce(topic, dumps(event), key=event["user_id"].encode(), timestamp=at, on_delivery=told)
                break
            except BufferError:
                producer.poll(0.05)
        producer.poll(0)
    producer.flush(60)
    assert confirmed == len(work.events), "confluent-kafka has not confirmed every event"


SIDES: dict[str, Callable[[Work, str], None]] = {
    OURS: with_headrace,
    ONE_BY_ONE: with_headrace_one_by_one,
    KAFKA_PYTHON: with_kafka_python,
    CONFLUENT: with_confluent,
}


def held(broker: str, topic: str) -> dict[int, list[tuple[bytes, int, Payment]]]:
    """What a topic holds: per partition key, timestamp and event of each record, in order."""
    found: dict[int, list[tuple[bytes, int, Payment]]] = {partition: [] for partition in range(PARTITIONS)}
    ranges = {place: (0, end) for place, end in end_offsets(KafkaConnection.of(broker), [topic]).items()}
    for record in read_records(KafkaConnection.of(broker), ranges):
        event = Payment.model_validate_json(record.value or b"")
        found[record.partition].append((record.key or b"", record.timestamp, event))
    return found


def _fresh_topic(broker: str) -> str:
    topic = f"produced-{next(_TOPICS)}"
    ensure_topics(KafkaConnection.of(broker), [payments_plan(topic).sources["payments"]], PARTITIONS)
    return topic


def _rate(side: Callable[[Work, str], None], work: Work) -> Callable[[], float]:
    def run() -> float:
        topic = _fresh_topic(work.broker)
        begun = time.perf_counter()
        side(work, topic)
        return len(work.events) / (time.perf_counter() - begun)

    return run


def _work(broker: str, events: int, keys: int) -> Work:
    payments = Payments(events, keys, skewed=False, end_ms=time.time_ns() // 1_000_000)
    at_ms = payments.arrival_ms.tolist()
    columns = zip(payments.user.tolist(), payments.amount.tolist(), payments.ts_ms.tolist(), strict=True)
    return Work(
        broker,
        [
            {"event_id": f"e{n:09}", "user_id": user_id(user), "amount": amount, "merchant": f"m{n % 97:03}", "ts": ts}
            for n, (user, amount, ts) in enumerate(columns)
        ],
        at_ms,
        [_EPOCH + timedelta(milliseconds=at) for at in at_ms],
    )


def _assert_equal(work: Work, sides: Sequence[str]) -> None:
    """Every side's topic holds every event, in the order and the partition of the others."""
    some = Work(work.broker, work.events[:5_000], work.at_ms[:5_000], work.at[:5_000])
    wanted = None
    for name in sides:
        topic = _fresh_topic(work.broker)
        SIDES[name](some, topic)
        found = held(work.broker, topic)
        wanted = wanted or found
        assert found == wanted, f"{name} has put other records into its topic than {sides[0]}."
        assert sum(map(len, found.values())) == len(some.events), f"{name} has not put every event into its topic."


def run(options: Options) -> Report:
    """Measure.

    Raises:
        Skipped: There is no orjson.
    """
    if importlib.util.find_spec("orjson") is None:
        why = "orjson is not installed; `make bench` sets up an environment that has it."
        raise Skipped(why)
    events, keys = (5_000, 500) if options.quick else (100_000, 100_000)
    with ExitStack() as held_open:
        folder = Path(held_open.enter_context(tempfile.TemporaryDirectory()))
        broker = held_open.enter_context(servers.broker(folder, options.more.get("broker")))
        work = _work(broker, events, keys)
        _assert_equal(work, list(SIDES))
        rates = in_turns({name: _rate(side, work) for name, side in SIDES.items()}, options.rounds)
    goal = {"the goal": [_WANTED]}
    return Report(
        "produce",
        {"events": events, "keys": keys, "partitions": PARTITIONS},
        [
            Measure("validated events", "events/s", {OURS: rates[OURS], **goal}, OURS, "the goal", True, 1.0),
            _beside("beside kafka-python", rates, OURS, KAFKA_PYTHON),
            _beside("beside librdkafka", rates, OURS, CONFLUENT),
            _beside("one by one, beside kafka-python", rates, ONE_BY_ONE, KAFKA_PYTHON),
        ],
        [
            "The plain clients validate nothing; ours sends nothing that its model refuses.",
            "The broker runs on the same cores.",
        ],
    )


def _beside(what: str, rates: dict[str, list[float]], ours: str, peer: str) -> Measure:
    return Measure(what, "events/s", {ours: rates[ours], peer: rates[peer]}, ours, peer, True, None)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--broker", metavar="HOST:PORT", help="a Kafka to use; the embedded one if left out")


if __name__ == "__main__":
    command_line("produce", run, more=_options)
