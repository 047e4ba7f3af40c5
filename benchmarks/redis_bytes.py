"""How many bytes a record takes on Redis: `python -m benchmarks.redis_bytes` prints the table of docs/redis.md.

Entities of one source partition, whose tiles hold count, sum, mean, min and max of a column. What a record holds is 8
bytes for each tile's number, for when it became known, and for each column of state; the encoded record adds a header
and the entity's key; Redis adds the key of the hash, the hash itself and what its allocator rounds up (`MEMORY USAGE`).
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.lookup_store import MINUTE_US, PLAN, SOURCE, user_id
from benchmarks.servers import redis_server
from headrace.config import Clock
from headrace.events.event_batch import EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.records.applier import Applier
from headrace.records.entity_keys import entity_key
from headrace.stores import CatalogueChange, RecordKey, open_store
from headrace.windows import ViewLayout

_TILES = (1, 10, 96)
_START_US = 4_000_000_000 * 1_000_000  # far from now: nothing expires meanwhile


def main() -> None:
    """Fill a server and print the table."""
    import redis

    view = PLAN.views["ten"]
    with tempfile.TemporaryDirectory(prefix="headrace") as folder, redis_server(Path(folder)) as path:
        url = f"unix://{path}?db=0"
        with open_store(url, writable=True) as store, redis.Redis.from_url(url) as client:
            store.change(CatalogueChange().clock(Clock.SYSTEM).serve(PLAN.views.values()))
            print("| tiles of 15 minutes | of 1 minute | what it holds | encoded | on Redis | beside what it holds |")
            print("| ---: | ---: | ---: | ---: | ---: | ---: |")
            for number, tiles in enumerate(_TILES):
                _fill(Applier(PLAN, store), number, tiles)
                (record,) = store.read(
                    [RecordKey(view.hash, entity_key([user_id(number)]), SourcePartition(SOURCE.topic, 0))]
                )
                assert record is not None
                minutes = min(tiles, 4)  # of the last hour
                held = 8 * sum(
                    n * (2 + len(family.columns))
                    for n, family in zip((minutes, tiles), ViewLayout.of(view, SOURCE).families, strict=True)
                )
                key = b"headrace:records:" + view.hash.encode() + b":" + entity_key([user_id(number)])
                used: Any = client.memory_usage(key, samples=0)
                print(f"| {tiles} | {minutes} | {held:,} B | {len(record):,} B | {used:,} B | {used / held:.2f}× |")


def _fill(applier: Applier, user: int, tiles: int) -> None:
    ts = _START_US - 15 * MINUTE_US * np.arange(tiles - 1, -1, -1)
    table = pa.table(
        {
            "user_id": [user_id(user)] * tiles,
            "amount": np.arange(tiles) / 4,
            "ts": pa.array(ts).cast(pa.timestamp("us", "UTC")),
        }
    )
    known = np.full(tiles, _START_US)
    batch = EventBatch(SOURCE, table, ts, np.zeros(tiles, np.int64), np.arange(tiles), known, known)
    applier.apply([batch], {}, _START_US)


if __name__ == "__main__":
    main()
