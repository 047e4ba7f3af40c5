"""Quix Streams: a stateful `apply` keeps a user's tiles in the stream's state; a batching sink writes with one MSET.

Its own hopping windows put each event into every one of the 60 + 96 windows that hold it. The state is RocksDB on disk,
without changelog topics. Features are computed once per user and batch, in the sink, where only the last state of each
user matters.
"""

from __future__ import annotations

import gc
import logging
from pathlib import Path
from typing import Any

from quixstreams import Application, State
from quixstreams.sinks import BatchingSink, SinkBatch
from redis import Redis

from benchmarks.peers.protocol import WINDOWS, Job, Run, Timer, main
from benchmarks.peers.tiles import Cell, features

_COMMIT_EVERY = 5_000

_State = tuple[dict[str, Cell], dict[str, Cell]]
"""A user's tiles as the state keeps them: it is JSON, whose keys are text."""


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


def _numbered(cells: dict[str, Cell]) -> dict[int, Cell]:
    return {int(tile): cell for tile, cell in cells.items()}


def _add(tiles: _State, ts: int, amount: float) -> None:
    """Count an event, and when a tile begins forget those that no window reaches any more."""
    for cells, (slide, length) in zip(tiles, WINDOWS, strict=True):
        tile = str(ts // slide)
        cell = cells.get(tile)
        if cell is None:
            cells[tile] = [1, amount, amount, amount]
            before = ts // slide - length
            for old in [old for old in cells if int(old) <= before]:
                del cells[old]
            continue
        cell[0] += 1
        cell[1] += amount
        cell[2] = min(cell[2], amount)
        cell[3] = max(cell[3], amount)


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

    def count(event: dict[str, Any], state: State) -> _State:
        nonlocal seen
        timer.begin()
        seen += 1
        sink.newest = max(sink.newest, event["ts"])
        tiles: _State = state.get("tiles", ({}, {}))
        _add(tiles, event["ts"], event["amount"])
        state.set("tiles", tiles)
        return tiles

    events = app.dataframe(app.topic(job.topic, value_deserializer="json", key_deserializer="str"))
    events.apply(count, stateful=True).sink(sink)
    app.run(count=job.events)
    return Run(seen, timer.seconds)


if __name__ == "__main__":
    main(run)
