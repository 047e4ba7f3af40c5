"""Bytewax: `stateful_batch` over tiles per user, batch by batch. A sink writes each batch of features with one MSET.

Its own sliding windows (`fold_window`) put each event into every one of the 60 + 96 windows that hold it, and give a
window's value once it has closed; features that are fresh after every event need state of one's own, which is what
`stateful_batch` is for.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable
from datetime import datetime
from typing import Any

import bytewax.operators as op
from bytewax.connectors.kafka import KafkaSource
from bytewax.dataflow import Dataflow
from bytewax.operators import StatefulBatchLogic
from bytewax.outputs import DynamicSink, StatelessSinkPartition
from bytewax.testing import run_main
from orjson import loads
from redis import Redis

from benchmarks.peers.protocol import Job, Run, Timer, main
from benchmarks.peers.tiles import Tiles, add, features

_BATCH = 5_000


class _Shared:
    """What the steps of a flow, which one thread runs, know together."""

    def __init__(self) -> None:
        self.timer = Timer()
        self.seen = self.newest = 0


class _User(StatefulBatchLogic):  # type: ignore[misc]
    """One user's tiles."""

    def __init__(self, shared: _Shared) -> None:
        self._shared = shared
        self._tiles: Tiles = ({}, {})

    def on_batch(self, values: list[tuple[int, float]]) -> tuple[Iterable[bytes], bool]:
        for ts, amount in values:
            add(self._tiles, ts, amount)
        return [features(self._tiles, self._shared.newest)], StatefulBatchLogic.RETAIN

    def on_notify(self) -> tuple[Iterable[bytes], bool]:
        return [], StatefulBatchLogic.RETAIN

    def on_eof(self) -> tuple[Iterable[bytes], bool]:
        return [], StatefulBatchLogic.RETAIN

    def notify_at(self) -> datetime | None:
        return None

    def snapshot(self) -> Tiles:
        return self._tiles


class _Features(DynamicSink[tuple[str, bytes]]):  # type: ignore[misc]
    def __init__(self, job: Job, shared: _Shared) -> None:
        self._job = job
        self._shared = shared

    def build(self, step_id: str, worker_index: int, worker_count: int) -> _Writer:
        return _Writer(self._job, self._shared)


class _Writer(StatelessSinkPartition[tuple[str, bytes]]):  # type: ignore[misc]
    def __init__(self, job: Job, shared: _Shared) -> None:
        self._redis = Redis(unix_socket_path=job.redis)
        self._timer = shared.timer

    def write_batch(self, items: list[tuple[str, bytes]]) -> None:
        self._redis.mset(dict(items))
        self._timer.stop()


def run(job: Job) -> Run:
    """Read the topic.

    Args:
        job: What to do.
    """
    gc.disable()  # as in the hand-written loop
    shared = _Shared()

    def decode(messages: list[Any]) -> list[tuple[str, tuple[int, float]]]:
        shared.timer.begin()
        found: list[tuple[str, tuple[int, float]]] = []
        for message in messages:
            event = loads(message.value)
            found.append((event["user_id"], (event["ts"], event["amount"])))
        shared.newest = max(shared.newest, max(ts for _, (ts, _) in found))
        shared.seen += len(found)
        return found

    source = KafkaSource(
        [job.broker],
        [job.topic],
        tail=False,
        batch_size=_BATCH,
        add_config={"fetch.queue.backoff.ms": "5", "group.id": job.group},
    )
    flow = Dataflow("payments")
    messages = op.input("kafka", flow, source)
    events = op.flat_map_batch("decode", messages, decode)
    found = op.stateful_batch("tiles", events, lambda _: _User(shared))
    op.output("redis", found, _Features(job, shared))
    run_main(flow)
    return Run(shared.seen, shared.timer.seconds)


if __name__ == "__main__":
    main(run)
