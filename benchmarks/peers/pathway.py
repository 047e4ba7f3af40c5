"""Pathway: a stateful reducer over tiles per user, and a subscription that writes each commit's features with one MSET.

Its own sliding windows put each event into every one of the 60 + 96 windows that hold it.
"""

from __future__ import annotations

import gc
import json
import os
from dataclasses import asdict
from typing import Any

import pathway as pw
from redis import Redis

from benchmarks.peers.protocol import Job, Run, Timer, main
from benchmarks.peers.tiles import Tiles, add, features

_State = tuple[int, bytes]


class Payment(pw.Schema):  # type: ignore[misc]
    """An event."""

    event_id: str
    user_id: str
    amount: float
    merchant: str
    ts: int


class _Side:
    """What the reducer and the subscription know together."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._redis = Redis(unix_socket_path=job.redis)
        self._users: dict[str, Tiles] = {}
        self._changed: dict[str, bytes] = {}
        self._counted: dict[str, int] = {}
        self.timer = Timer()
        self.seen = self.newest = 0

    def reduce(self, state: _State | None, rows: list[tuple[list[Any], int]]) -> _State:
        """Count a user's new events; what Pathway keeps is their number and the features, the tiles are beside it."""
        self.timer.begin()
        user = rows[0][0][0]
        tiles = self._users.setdefault(user, ({}, {}))
        for (_, ts, amount), _ in rows:
            add(tiles, ts, amount)
            self.newest = max(self.newest, ts)
        return (state[0] if state else 0) + len(rows), features(tiles, self.newest)

    def change(self, key: pw.Pointer, row: dict[str, Any], time: int, is_addition: bool) -> None:
        """A user has new features."""
        if is_addition:
            user, (count, found) = row["user_id"], row["found"]
            self._changed[user] = found
            # Counted here, as later commits are reduced before an earlier one's changes arrive.
            self.seen += count - self._counted.get(user, 0)
            self._counted[user] = count

    def end(self, time: int) -> None:
        """All changes of a commit are known."""
        if not self._changed:
            return
        self._redis.mset(self._changed)
        self.timer.stop()
        self._changed = {}
        if self.seen >= self._job.events:
            # The topic never ends for Pathway: say what was done, and leave.
            print(json.dumps(asdict(Run(self.seen, self.timer.seconds))), flush=True)
            os._exit(0)


def run(job: Job) -> Run:
    """Read the topic.

    Args:
        job: What to do.
    """
    gc.disable()  # as in the hand-written loop
    side = _Side(job)
    settings = {
        "bootstrap.servers": job.broker,
        "group.id": job.group,
        "auto.offset.reset": "earliest",
        "session.timeout.ms": "6000",
        "fetch.queue.backoff.ms": "5",
    }
    payments = pw.io.kafka.read(settings, topic=job.topic, schema=Payment, format="json", autocommit_duration_ms=100)
    reducer = pw.reducers.stateful_many(side.reduce)
    found = payments.groupby(payments.user_id).reduce(
        payments.user_id, found=reducer(payments.user_id, payments.ts, payments.amount)
    )
    pw.io.subscribe(found, on_change=side.change, on_time_end=side.end)
    pw.run(monitoring_level=pw.MonitoringLevel.NONE)
    return Run(side.seen, side.timer.seconds)


if __name__ == "__main__":
    main(run)
