"""Two workers of one group beside one, on Redis: how much faster the same events are read.

Workers that join one after the other hand partitions over in the middle of the run. So they join on an empty topic, and
once each has its share they are stopped (SIGSTOP) while the topic is filled, and continued together. Both sides are
measured from outside: events per second from then until the positions in the store show the last one.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from confluent_kafka import Producer
from redis import Redis

from benchmarks.side_by_side import Measure, Options, in_turns
from benchmarks.workload import (
    PARTITIONS,
    VIEW,
    Payments,
    assert_features,
    payments_plan,
    send,
    user_id,
    write_project,
)
from headrace import FeatureClient, Project
from headrace.kafka import KafkaConnection, end_offsets
from headrace.kafka.topics import ensure_topics
from headrace.stores import OnlineStore, open_store

__all__ = ["Worker", "running_workers", "two_against_one"]

_ROOT = Path(__file__).parents[1]
_POLL_S = 0.01
_TIMEOUT_S = 300
_JOIN_S = 90
_SESSION_S = 10.0
"""Longer than filling the topic takes, as stopped workers do not answer the broker."""
_QUICK_SESSION_S = 4.0
_SAMPLE = 20


@dataclass(frozen=True)
class Worker:
    """A worker as a process.

    Attributes:
        process: It.
        file: Where it keeps how many events it has applied.
    """

    process: subprocess.Popen[bytes]
    file: Path

    @property
    def events(self) -> int:
        """How many events it has applied."""
        return int(self.file.read_text(encoding="utf-8")) if self.file.exists() else 0


def two_against_one(scratch: Path, broker: str, socket: str, payments: Payments, options: Options) -> Measure:
    """Measure one worker and two.

    Args:
        scratch: A folder for their projects.
        broker: Kafka's ``host:port``.
        socket: Redis' socket.
        payments: What they read.
        options: How often.
    """
    two, one = "two workers", "one worker"
    session_s = _QUICK_SESSION_S if options.quick else _SESSION_S
    runs = {
        name: partial(_rate, workers, scratch, broker, socket, payments, session_s)
        for name, workers in ((two, 2), (one, 1))
    }
    found = in_turns(runs, options.rounds)
    return Measure("two workers ÷ one, Redis, 1k keys", "events/s", found, two, one, more_is_better=True, target=1.6)


@contextmanager
def running_workers(folder: Path, workers: int) -> Iterator[list[Worker]]:
    """Workers of a project as processes, stopped in good order at the end.

    Args:
        folder: The project's folder.
        workers: How many.
    """
    command = [sys.executable, "-m", "benchmarks.peers.worker", str(folder)]
    files = [folder / f"worker-{number}" for number in range(workers)]
    with (folder / "workers.log").open("wb") as log:
        started = [
            Worker(subprocess.Popen([*command, str(file)], cwd=_ROOT, stdout=log, stderr=log), file) for file in files
        ]
        try:
            yield started
        finally:
            for worker in started:
                worker.process.send_signal(signal.SIGCONT)
                worker.process.send_signal(signal.SIGTERM)
            for worker in started:
                try:
                    worker.process.wait(30)
                except subprocess.TimeoutExpired:
                    worker.process.kill()
                    worker.process.wait()


def _rate(workers: int, scratch: Path, broker: str, socket: str, payments: Payments, session_s: float) -> float:
    topic = f"payments-{time.time_ns()}"
    folder = scratch / topic
    url = f"unix://{socket}?db=0"
    with Redis(unix_socket_path=socket) as redis:
        redis.flushall()
    plan = payments_plan(topic)
    ensure_topics(KafkaConnection.of(broker), plan.sources.values(), PARTITIONS)
    write_project(folder, plan, broker, store=url, group=topic, session_timeout=session_s)
    with running_workers(folder, workers) as started, open_store(url, writable=False) as store:
        _share(broker, topic, started, payments)
        for worker in started:
            worker.process.send_signal(signal.SIGSTOP)
        send(broker, topic, payments)
        end = sum(end_offsets(KafkaConnection.of(broker), [topic]).values())
        begun = time.perf_counter()
        for worker in started:
            worker.process.send_signal(signal.SIGCONT)
        _wait_for(store, end, started, folder)
        rate = payments.events / (time.perf_counter() - begun)
    with FeatureClient(Project.load(folder)) as client:
        users = payments.sample(_SAMPLE)
        served = client.get_online_features([f"{VIEW}:*"], {"user_id": [user_id(user) for user in users]})
    columns = [values for column, values in served.to_dict().items() if column.startswith(f"{VIEW}__")]
    for row, user in enumerate(users):
        assert_features(f"{workers} workers", payments, user, served.at_us // 1000, [one[row] for one in columns])
    shutil.rmtree(folder)
    print(f"{workers} on Redis: {rate:,.0f} events/s", file=sys.stderr, flush=True)
    return rate


def _share(broker: str, topic: str, started: list[Worker], payments: Payments) -> None:
    """Send an event to each partition again and again, until every worker has had its share of one such round."""
    producer = Producer({"bootstrap.servers": broker})
    at = int(payments.arrival_ms[0])
    value = f'{{"event_id":"e","user_id":"nobody","amount":1.0,"merchant":"m","ts":{at}}}'
    deadline = time.monotonic() + _JOIN_S
    while time.monotonic() < deadline:
        before = [worker.events for worker in started]
        for number in range(PARTITIONS):
            producer.produce(topic, value, "nobody", partition=number, timestamp=at)
        producer.flush()
        time.sleep(1.0)  # they tell four times a second
        if [worker.events - was for worker, was in zip(started, before, strict=True)] == [
            PARTITIONS // len(started)
        ] * len(started):
            return
    log = (started[0].file.parent / "workers.log").read_text()[-4_000:]
    msg = (
        f"The workers do not share the partitions, but have had {[worker.events for worker in started]} events:\n{log}"
    )
    raise RuntimeError(msg)


def _wait_for(store: OnlineStore, end: int, started: list[Worker], folder: Path) -> None:
    """Return once the positions in the store add up to `end`."""
    deadline = time.monotonic() + _TIMEOUT_S
    while time.monotonic() < deadline and all(worker.process.poll() is None for worker in started):
        if sum(position.offset + 1 for position in store.positions().values()) >= end:
            return
        time.sleep(_POLL_S)
    msg = f"The workers have not come to the end:\n{(folder / 'workers.log').read_text()[-4_000:]}"
    raise RuntimeError(msg)
