"""From an event to its features at a steady 10,000 events a second: how long until another process can read them.

    python -m benchmarks.latency [--quick] [--json] [--rounds N] [--broker HOST:PORT]

A worker runs as in production (system clock, LMDB, log). This process sends events, notes when it handed each over to
Kafka's client, and reads the store's positions every two milliseconds, as a model server reads the store: an event is
readable at the first such look that shows its offset or a later one. What a poll takes therefore counts too.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from confluent_kafka import Producer

from benchmarks import servers
from benchmarks.side_by_side import Measure, Options, Report, command_line
from benchmarks.workers import running_workers
from benchmarks.workload import PARTITIONS, Ints, payments_plan, user_id, write_project
from headrace import FeatureClient, Project
from headrace.config import Clock
from headrace.errors import HeadraceError
from headrace.kafka import KafkaConnection
from headrace.kafka.topics import ensure_topics
from headrace.stores import OnlineStore, open_store

_TOPIC = "payments"
_RATE = 10_000
_TICK_S = 0.005
_POLL_S = 0.002
_WARM_UP_S = 2.0
_LIMIT_MS = 100.0
_READY_S = 30.0


def run(options: Options) -> Report:
    """Run the benchmark.

    Args:
        options: Its options; `broker` is its own.
    """
    seconds = 3 if options.quick else 10
    found: dict[str, list[float]] = {"p50": [], "p99": [], "max": []}
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        servers.broker(Path(folder), options.more.get("broker")) as address,
    ):
        for number in range(options.rounds):
            latency = _latencies_ms(Path(folder) / f"run-{number}", address, f"{_TOPIC}-{time.time_ns()}", seconds)
            for name, percent in (("p50", 50), ("p99", 99), ("max", 100)):
                found[name].append(float(np.percentile(latency, percent)))
    sides = {
        "headrace p99": found["p99"],
        "limit": [_LIMIT_MS],
        "headrace p50": found["p50"],
        "headrace max": found["max"],
    }
    measure = Measure("event to readable, ms at 10k events/s", "ms", sides, "headrace p99", "limit", target=1.0)
    return Report("latency", {"events/s": _RATE, "seconds": seconds, "rounds": options.rounds}, [measure])


def _latencies_ms(folder: Path, broker: str, topic: str, seconds: int) -> Ints:
    """Send for so long beside a worker; the latency of each event after the warm-up, in ms."""
    plan = payments_plan(topic)
    ensure_topics(KafkaConnection.of(broker), plan.sources.values(), PARTITIONS)
    write_project(folder, plan, broker, clock=Clock.SYSTEM, group=topic, session_timeout=2.0)
    with running_workers(folder, 1), _opened(folder) as store:
        sender = _Sender(broker, topic)
        sender.send_steadily(_WARM_UP_S)  # until the worker has joined and every code path is warm
        _wait_until_read(store, sender)
        sender.forget()
        watch = _Watch(store)
        watch.start()
        sender.send_steadily(seconds)
        _wait_until_read(store, sender)
        watch.end()
        with FeatureClient(Project.load(folder)) as client:
            sender.check(client)
    return watch.latencies_ms(sender)


class _Sender:
    """Sends events at a steady rate, each dated when it is sent."""

    def __init__(self, broker: str, topic: str) -> None:
        self._producer = Producer({"bootstrap.servers": broker, "linger.ms": 1})
        self._topic = topic
        self._random = np.random.default_rng(3)
        self.sent: list[list[float]] = [[] for _ in range(PARTITIONS)]
        """By partition: when each event was sent."""
        self.first = [0] * PARTITIONS
        self.counts: dict[int, int] = {}

    def send_steadily(self, seconds: float) -> None:
        """Send for so long."""
        begun = time.monotonic()
        per_tick = int(_RATE * _TICK_S)
        for tick in range(int(seconds / _TICK_S)):
            time.sleep(max(0.0, begun + tick * _TICK_S - time.monotonic()))
            self._send(per_tick)
        self._producer.flush()

    def _send(self, events: int) -> None:
        users = self._random.integers(0, 10_000, events).tolist()
        now = int(time.time() * 1000)
        for user in users:
            value = f'{{"event_id":"e","user_id":"{user_id(user)}","amount":1.5,"merchant":"m","ts":{now}}}'
            self.sent[user % PARTITIONS].append(time.perf_counter())
            self._producer.produce(self._topic, value, user_id(user), partition=user % PARTITIONS)
            self.counts[user] = self.counts.get(user, 0) + 1
        self._producer.poll(0)

    def forget(self) -> None:
        """Measure from here on."""
        self.first = [first + len(sent) for first, sent in zip(self.first, self.sent, strict=True)]
        self.sent = [[] for _ in range(PARTITIONS)]

    def ends(self) -> list[int]:
        """By partition: the offset of its last event."""
        return [first + len(sent) - 1 for first, sent in zip(self.first, self.sent, strict=True)]

    def check(self, client: FeatureClient) -> None:
        """Compare the counts of some users."""
        users = list(self.counts)[:50]
        served = client.get_online_features(["user_payments:count_60m"], {"user_id": [user_id(user) for user in users]})
        found = served.to_dict()["user_payments__count_60m"]
        assert found == [self.counts[user] for user in users], "the features do not count the events that were sent"


class _Watch(threading.Thread):
    """Reads the store's positions again and again."""

    def __init__(self, store: OnlineStore) -> None:
        super().__init__(daemon=True)
        self._store = store
        self._seen: list[tuple[float, list[int]]] = []
        self._ended = threading.Event()

    def run(self) -> None:
        """Look until told to end."""
        while not self._ended.wait(_POLL_S):
            offsets = _offsets(self._store)
            self._seen.append((time.perf_counter(), offsets))

    def end(self) -> None:
        """Stop looking."""
        self._ended.set()
        self.join()

    def latencies_ms(self, sender: _Sender) -> Ints:
        """By event: how long after it was sent a look first showed it, in ms."""
        when = np.array([at for at, _ in self._seen])
        found = []
        for partition, sent in enumerate(sender.sent):
            offsets = np.array([offsets[partition] for _, offsets in self._seen])
            mine = sender.first[partition] + np.arange(len(sent))
            found.append(when[np.searchsorted(offsets, mine)] - np.array(sent))
        return np.concatenate(found) * 1000


def _offsets(store: OnlineStore) -> list[int]:
    offsets = [-1] * PARTITIONS
    for source, position in store.positions().items():
        offsets[source.partition] = position.offset
    return offsets


def _wait_until_read(store: OnlineStore, sender: _Sender) -> None:
    deadline = time.monotonic() + _READY_S
    while any(at < end for at, end in zip(_offsets(store), sender.ends(), strict=True)):
        assert time.monotonic() < deadline, "The worker does not read what is sent."
        time.sleep(0.02)
    time.sleep(5 * _POLL_S)  # so that a look sees it


def _opened(folder: Path) -> OnlineStore:
    """The store, once the worker has made it."""
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            return open_store(Project.load(folder).store_url, writable=False)
        except HeadraceError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--broker", metavar="HOST:PORT", help="an Apache Kafka that runs; else the embedded broker")


if __name__ == "__main__":
    command_line("latency", run, more=_options)
