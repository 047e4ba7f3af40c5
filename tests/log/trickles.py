"""A log that is filled in small appends, and what it holds then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from headrace.log import EventLog, Upkeep
from tests.log.conftest import SOURCE, rows

NEVER = Upkeep(small_files=0)
Row = dict[str, Any]


def held(log: EventLog, version: int | None = None) -> list[Row]:
    """Every row of a version, by position, read from its files alone."""
    read = [pq.ParquetFile(file.path).read().to_pylist() for file in log.snapshot(version).files]
    return sorted((row for table in read for row in table), key=lambda row: (row["_partition"], row["_offset"]))


def scanned(log: EventLog, **options: Any) -> list[tuple[int, int]]:
    return [
        (row["_partition"], row["_offset"])
        for batch in log.scan(**options)
        for row in batch.select(["_partition", "_offset"]).to_pylist()
    ]


def trickled(root: Path, appends: int, rule: Upkeep = NEVER, *, step_us: int = 1_000_000) -> EventLog:
    """A log that got ten rows at a time, of two partitions in turn."""
    log = EventLog(root, SOURCE, rule)
    for number in range(appends):
        trickle(log, number, step_us=step_us)
    return log


def trickle(log: EventLog, number: int, *, step_us: int = 1_000_000) -> None:
    partition, first = number % 2, number // 2 * 10
    log.append(rows(partition, range(first, first + 10), step_us=step_us), {partition: first + 9})


def lookup(number: int) -> Row:
    """A recorded lookup."""
    texts = dict.fromkeys(("plan", "keys", "features", "views", "evidence"), "{}")
    return {"served_at_us": number, "at_us": number, "unrecorded": 0, "origin": None, "problems": None, **texts}
