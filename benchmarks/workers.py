"""Two workers of one group beside one, on Redis: how much faster the same topic is read.

Both are measured from outside, by the positions in the store: events per second from the first round that is seen there to the last.
"""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from redis import Redis

from benchmarks.side_by_side import Measure, Options, in_turns
from benchmarks.workload import VIEW, Payments, assert_features, payments_plan, user_id, write_project
from headrace import FeatureClient, Project
from headrace.broker import end_offsets
from headrace.online import SourcePartition, open_store

__all__ = ["running_workers", "two_against_one"]

_POLL_S = 0.01
_TIMEOUT_S = 300
_SAMPLE = 20


def two_against_one(scratch: Path, broker: str, socket: str, filled: tuple[str, Payments], options: Options) -> Measure:
    """Measure one worker and two.

    Args:
        scratch: A folder for their projects.
        broker: Kafka's ``host:port``.
        socket: Redis' socket.
        filled: The topic and what it holds.
        options: How often.
    """
    two, one = "two workers", "one worker"
    runs = {name: partial(_rate, workers, scratch, broker, socket, filled) for name, workers in ((two, 2), (one, 1))}
    found = in_turns(runs, options.rounds)
    return Measure("two workers ÷ one, Redis, 1k keys", "events/s", found, two, one, more_is_better=True, target=1.6)


@contextmanager
def running_workers(folder: Path, workers: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Workers of a project as processes, stopped in good order at the end.

    Args:
        folder: The project's folder.
        workers: How many.
    """
    command = [sys.executable, "-m", "headrace.cli", "stream", "--json"]
    with (folder / "workers.log").open("wb") as log:
        started = [subprocess.Popen(command, cwd=folder, stdout=log, stderr=log) for _ in range(workers)]
        try:
            yield started
        finally:
            for worker in started:
                worker.send_signal(signal.SIGTERM)
            for worker in started:
                try:
                    worker.wait(30)
                except subprocess.TimeoutExpired:
                    worker.kill()
                    worker.wait()


def _rate(workers: int, scratch: Path, broker: str, socket: str, filled: tuple[str, Payments]) -> float:
    topic, payments = filled
    group = f"bench-{time.time_ns()}"
    folder = scratch / group
    url = f"unix://{socket}?db=0"
    with Redis(unix_socket_path=socket) as redis:
        redis.flushall()
    write_project(folder, payments_plan(topic), broker, store=url, group=group, session_timeout=3.0)
    ends = {SourcePartition(*source): end for source, end in end_offsets(broker, [topic]).items() if end}
    with running_workers(folder, workers) as started:
        rate = _watch(url, ends, started, folder)
    _all_took_part(folder, workers)
    with FeatureClient(Project.load(folder)) as client:
        users = payments.sample(_SAMPLE)
        served = client.get_online_features([f"{VIEW}:*"], {"user_id": [user_id(user) for user in users]})
    columns = [values for column, values in served.to_dict().items() if column.startswith(f"{VIEW}__")]
    for row, user in enumerate(users):
        assert_features(f"{workers} workers", payments, user, served.at_us // 1000, [one[row] for one in columns])
    shutil.rmtree(folder)
    print(f"{topic}: {workers} on Redis: {rate:,.0f} events/s", file=sys.stderr, flush=True)
    return rate


def _watch(url: str, ends: dict[SourcePartition, int], started: list[subprocess.Popen[bytes]], folder: Path) -> float:
    """Events per second from the first positions seen in the store to the last."""
    deadline = time.monotonic() + _TIMEOUT_S
    first: tuple[float, int] | None = None
    with open_store(url, writable=False) as store:
        while time.monotonic() < deadline and all(worker.poll() is None for worker in started):
            done = {source: position.offset + 1 for source, position in store.positions().items()}
            count, now = sum(done.values()), time.perf_counter()
            if count and first is None:
                first = now, count
            if first is not None and all(done.get(source, 0) >= end for source, end in ends.items()):
                return (count - first[1]) / (now - first[0])
            time.sleep(_POLL_S)
    msg = f"The workers have not come to the end:\n{(folder / 'workers.log').read_text()[-4_000:]}"
    raise RuntimeError(msg)


def _all_took_part(folder: Path, workers: int) -> None:
    """Refuse a run in which one worker had all partitions: it says nothing about two."""
    told = [json.loads(line) for line in (folder / "workers.log").read_text().splitlines() if line.startswith("{")]
    shares = [one["events"] for one in told]
    assert len(shares) == workers, f"Of {workers} workers {len(shares)} have ended in good order."
    assert min(shares) > 0.2 * max(shares), f"The workers have had {shares} events; they did not share the partitions."
