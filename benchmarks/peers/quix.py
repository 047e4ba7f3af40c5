"""Quix Streams: a stateful `apply` that keeps a user's tiles in the stream's state, and a batching sink that writes with one MSET.

Its own hopping windows put each event into every one of the 60 + 96 windows that hold it. The state is RocksDB on disk, without changelog
topics. Features are computed once per user and batch, in the sink, where only the last state of each user matters.
"""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Any

from quixstreams import Application, State
from quixstreams.sinks import BatchingSink, SinkBatch
from redis import Redis

from benchmarks.peers.protocol import Job, Run, Timer, main
from benchmarks.peers.tiles import Cell, add, features

_COMMIT_EVERY = 5_000


class _Features(BatchingSink):  # type: ignore[misc]
    def __init__(self, job: Job, timer: Timer) -> None:
        super().__init__()
        self._redis = Redis(unix_socket_path=job.redis)
        self._timer = timer
        self.newest = 0

    def write(self, batch: SinkBatch) -> None:
        newest = {item.key: item.value for item in batch}
        self._redis.mset(
            {
                user: features((_numbered(minutes), _numbered(quarters)), self.newest)
                for user, (minutes, quarters) in newest.items()
            }
        )
        self._timer.stop()


def _numbered(cells: dict[Any, Cell]) -> dict[int, Cell]:
    """State comes back from JSON, whose keys are text."""
    return {int(tile): cell for tile, cell in cells.items()}


def run(job: Job) -> Run:
    """Read the topic.

    Args:
        job: What to do.
    """
    gc.disable()  # as in the hand-written loop
    logging.disable(logging.INFO)
    timer = Timer()
    app = Application(
        broker_address=job.broker,
        consumer_group=job.group,
        auto_offset_reset="earliest",
        state_dir=Path(job.folder) / "state",
        use_changelog_topics=False,
        commit_every=_COMMIT_EVERY,
        commit_interval=60,
        consumer_extra_config={"fetch.queue.backoff.ms": 5},
        loglevel=None,
    )
    sink = _Features(job, timer)
    seen = 0

    def count(event: dict[str, Any], state: State) -> tuple[dict[int, Cell], dict[int, Cell]]:
        nonlocal seen
        timer.begin()
        seen += 1
        ts = event["ts"]
        sink.newest = max(sink.newest, ts)
        minutes, quarters = state.get("tiles", ({}, {}))
        tiles = _numbered(minutes), _numbered(quarters)
        add(tiles, ts, event["amount"])
        for cells, before in zip(tiles, (ts // 60_000 - 62, ts // 900_000 - 97), strict=True):
            for tile in [tile for tile in cells if tile < before]:  # none that a window still reaches
                del cells[tile]
        state.set("tiles", tiles)
        return tiles

    events = app.dataframe(app.topic(job.topic, value_deserializer="json", key_deserializer="str"))
    events.apply(count, stateful=True).sink(sink)
    app.run(count=job.events)
    return Run(seen, timer.seconds)


if __name__ == "__main__":
    main(run)
