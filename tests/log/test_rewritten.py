"""A log whose files an erasure removes while it is read: worth another try, and no damage."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from headrace.errors import LogError, LogUnavailableError
from headrace.log import EventLog
from headrace.stores.memory import MemoryStore
from tests.worker.shop import SOURCE, KeptLetters, new_pipeline, one_round, record


def sold(tmp_path: Path) -> EventLog:
    log = EventLog(tmp_path / "log", SOURCE)
    pipeline = new_pipeline(MemoryStore(), log, KeptLetters())
    for offset in range(3):
        pipeline.process(one_round(record(offset, "ab"[offset % 2], offset)))
        pipeline.flush()
    return log


def test_erasure_beside_a_scan_is_worth_another_try(tmp_path: Path) -> None:
    log = sold(tmp_path)
    scan = log.scan(batch_rows=1)
    next(scan)
    EventLog(tmp_path / "log", SOURCE).erase({"shop": pa.scalar("a")}, alone=True)
    with pytest.raises(LogUnavailableError, match="rewritten while it was read"):
        list(scan)
    assert [batch.column("shop").to_pylist() for batch in log.scan()] == [["b"]]


def test_file_that_is_lost_is_not(tmp_path: Path) -> None:
    log = sold(tmp_path)
    for file in Path(log.path).rglob("*.parquet"):
        file.unlink()
    with pytest.raises(LogError):
        list(log.scan())
