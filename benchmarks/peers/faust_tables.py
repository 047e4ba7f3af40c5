"""Faust with windowed Tables, as its documentation teaches: `app.Table(…).hopping(size, step)`.

Each event goes into every window that holds it, 60 and 96 of them in four tables each, and each of those 624 cells is
also a message to the table's changelog topic. It therefore gets few events, and its rate is what is told.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import timedelta
from typing import Any

import faust
from redis import Redis

from benchmarks.peers.protocol import PACKED, WINDOWS, Job, Run, Timer, main


class Payment(faust.Record, serializer="json"):
    """An event."""

    event_id: str
    user_id: str
    amount: float
    merchant: str
    ts: int


class _Worker(faust.Worker):
    def end(self) -> None:
        """Stop as by a signal."""
        self._on_sigterm()


def _tables(app: faust.App, job: Job) -> list[dict[str, Any]]:
    """By window: the tables of counts, sums, minima and maxima."""
    starts = {"count": (0, int), "sum": (0.0, float), "min": (float("inf"), float), "max": (float("-inf"), float)}

    def table(name: str, slide: int, length: int) -> Any:
        start, kind = starts[name]
        whole = app.Table(f"{name}-{length}", default=lambda: kind(start), partitions=job.partitions)
        windowed: Any = whole.hopping(
            timedelta(milliseconds=slide * length), timedelta(milliseconds=slide), expires=timedelta(days=2)
        )
        return windowed.relative_to(_seconds)

    return [{name: table(name, slide, length) for name in starts} for slide, length in WINDOWS]


def _seconds(event: Any) -> float:
    return float(event.value.ts / 1000)


def run(job: Job) -> Run:
    """Read the topic.

    Args:
        job: What to do.
    """
    app = faust.App(
        job.group,
        broker=f"kafka://{job.broker}",
        store="memory://",
        datadir=job.folder,
        web_enabled=False,
        topic_disable_leader=True,
        topic_partitions=job.partitions,
        topic_replication_factor=1,
        stream_wait_empty=False,
        consumer_auto_offset_reset="earliest",
        broker_session_timeout=3.0,
        broker_heartbeat_interval=0.5,
    )
    store = Redis(unix_socket_path=job.redis)
    windows = _tables(app, job)
    worker = _Worker(app, loglevel="warn", quiet=True, override_logging=False, redirect_stdouts=False)
    worker.spinner = None
    timer = Timer()
    seen = 0

    async def count(stream: Any) -> None:
        nonlocal seen
        async for payment in stream:
            timer.begin()
            user, amount = payment.user_id, payment.amount
            found: list[float] = []
            for tables in windows:
                tables["count"][user] += 1
                tables["sum"][user] += amount
                tables["min"][user].apply(min, amount)
                tables["max"][user].apply(max, amount)
                # `.current()` is the newest window, which has just opened. The earliest window with the event is whole.
                whole = tables["count"].table.window.earliest(payment.ts / 1000)
                n, total, low, high = (tables[name][user][whole] for name in ("count", "sum", "min", "max"))
                found += [n, total, total / n, low, high]
            store.set(user, PACKED.pack(payment.ts, *found))
            timer.stop()
            seen += 1
            if seen == job.events:
                worker.end()

    app.agent(app.topic(job.topic, value_type=Payment))(count)
    with suppress(SystemExit):  # Faust ends its worker this way
        worker.execute_from_commandline()
    return Run(seen, timer.seconds)


if __name__ == "__main__":
    sys.argv[0] = "faust"
    main(run)
