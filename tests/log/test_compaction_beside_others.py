"""Appends, erasures, vacuums, readers and other compactions beside a compaction lose and double nothing."""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from headrace.errors import LogUnavailableError
from headrace.log import EventLog, Upkeep
from headrace.log import compaction as compacting
from headrace.log.parquet_files import write_files
from tests.log.conftest import DAY, SOURCE
from tests.log.trickles import NEVER, held, scanned, trickle, trickled


@pytest.mark.slow
def test_appends_beside_a_compaction_all_land(tmp_path: Path) -> None:
    """A worker in its own process appends while this one compacts repeatedly: no row is lost or doubled."""
    trickled(tmp_path, 30)
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=append_on, args=(tmp_path, 30, 40))
    worker.start()
    log, merges = EventLog(tmp_path, SOURCE), 0
    while worker.is_alive():
        merges += log.compact().rows > 0
    worker.join()
    assert worker.exitcode == 0
    assert merges
    log.compact()
    assert [(row["_partition"], row["_offset"]) for row in held(log)] == [(p, o) for p in (0, 1) for o in range(350)]
    assert log.last_offsets() == {0: 349, 1: 349}
    assert len(log.snapshot().files) == 1


@pytest.mark.parametrize(
    "appends", [pytest.param(40, marks=pytest.mark.slow), pytest.param(300, marks=pytest.mark.long)]
)
def test_everything_at_once_loses_and_doubles_nothing(tmp_path: Path, appends: int) -> None:
    """A worker appends and merges by itself, while others compact, vacuum without any retention, erase and read."""
    trickled(tmp_path, 10)
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=append_and_merge, args=(tmp_path, 10, appends))
    worker.start()
    log, turn = EventLog(tmp_path, SOURCE), 0
    while worker.is_alive():
        turn += 1
        log.compact()
        log.vacuum(retention_s=0)
        if turn % 5 == 0:
            log.erase({"sensor": pa.scalar("s1")}, alone=False)
        seen = [offset for partition, offset in scanned_with_patience(log) if partition == 0]
        assert seen == list(range(len(seen)))
    worker.join()
    assert worker.exitcode == 0
    assert turn
    end = (10 + appends) // 2 * 10 - 1
    log.erase({"sensor": pa.scalar("s1")}, alone=True)
    assert [(row["_partition"], row["_offset"]) for row in held(log)] == [(0, offset) for offset in range(end + 1)]
    assert log.last_offsets([0, 1]) == {0: end, 1: end}
    log.vacuum(retention_s=0)
    assert all(b"s1" not in path.read_bytes() for path in log.path.glob("_date=*/*.parquet"))


def scanned_with_patience(log: EventLog) -> list[tuple[int, int]]:
    """A reader whose files are vacuumed at once, without any retention, reads again."""
    while True:
        try:
            return scanned(log)
        except LogUnavailableError:
            continue


def append_and_merge(root: Path, first: int, count: int) -> None:
    log = EventLog(root, SOURCE, Upkeep(small_files=4))
    for number in range(first, first + count):
        trickle(log, number)


def append_on(root: Path, first: int, count: int) -> None:
    log = EventLog(root, SOURCE, NEVER)
    for number in range(first, first + count):
        trickle(log, number)


def test_append_between_reading_and_committing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = trickled(tmp_path, 6)
    between(monkeypatch, lambda: trickle(EventLog(tmp_path, SOURCE, NEVER), 6))
    done = log.compact()
    assert (done.before, done.rows) == (6, 60)
    assert len(held(log)) == 70
    assert len(log.snapshot().files) == 2


def test_files_that_an_erasure_replaced_meanwhile_do_not_come_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = trickled(tmp_path, 6)

    def erase() -> None:
        EventLog(tmp_path, SOURCE).erase({"sensor": pa.scalar("s1")}, alone=False)

    between(monkeypatch, erase)
    assert log.compact().rows == 0
    assert {row["sensor"] for row in held(log)} == {"s0"}
    everything = [pq.ParquetFile(path).read(["sensor"]).to_pylist() for path in log.path.glob("_date=*/*.parquet")]
    assert {row["sensor"] for file in everything for row in file} == {"s0"}


def between(monkeypatch: pytest.MonkeyPatch, what: Any) -> None:
    """Have something happen once, after a merged file was written and before it is committed."""
    written = write_files

    def write_and_wait(*args: Any, **options: Any) -> Any:
        actions = written(*args, **options)
        monkeypatch.setattr(compacting, "write_files", written)
        what()
        return actions

    monkeypatch.setattr(compacting, "write_files", write_and_wait)


def test_scan_that_is_under_way_is_not_disturbed(tmp_path: Path) -> None:
    log = trickled(tmp_path, 20)
    scan = log.scan(batch_rows=1)
    first = next(scan).num_rows
    EventLog(tmp_path, SOURCE).compact()
    assert first + sum(batch.num_rows for batch in scan) == 200


def test_of_two_compactions_at_once_one_does_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = trickled(tmp_path, 4)
    done: list[int] = []
    between(monkeypatch, lambda: done.append(EventLog(tmp_path, SOURCE).compact().rows))
    assert log.compact().rows == 0
    assert done == [40]
    assert len(held(log)) == 40
    assert len(list(log.path.glob("_date=*/*.parquet"))) == 5  # the four that were merged stay for older versions


@pytest.mark.slow
def test_compaction_that_is_killed_leaves_a_file_that_a_vacuum_removes_once_it_is_old(tmp_path: Path) -> None:
    log = killed_in_the_middle(tmp_path)
    (left,) = log.path.glob("_date=*/merged-*.parquet")
    assert log.vacuum(retention_s=0).files == 0
    os.utime(left, (0, 0))
    assert log.vacuum(retention_s=0).files == 1
    assert not left.exists()
    assert len(held(log)) == 40


@pytest.mark.slow
def test_erasure_removes_what_a_killed_compaction_left_at_once(tmp_path: Path) -> None:
    log = killed_in_the_middle(tmp_path)
    log.erase({"sensor": pa.scalar("s1")}, alone=False)
    assert all(b"s1" not in path.read_bytes() for path in log.path.glob("_date=*/*.parquet"))
    assert len(held(log)) == 20


@pytest.mark.slow
def test_two_erasures_at_once_leave_nothing_of_either(tmp_path: Path) -> None:
    trickled(tmp_path, 20, step_us=DAY // 5)
    context = multiprocessing.get_context("spawn")
    others = [context.Process(target=erase_sensor, args=(tmp_path, name)) for name in ("s0", "s1")]
    for other in others:
        other.start()
    for other in others:
        other.join()
    assert [other.exitcode for other in others] == [0, 0]
    log = EventLog(tmp_path, SOURCE)
    assert held(log) == []
    assert not list(log.path.glob("_date=*/*.parquet"))
    assert DeltaTable(log.path).metadata().configuration["delta.appendOnly"] == "true"


def erase_sensor(root: Path, name: str) -> None:
    EventLog(root, SOURCE).erase({"sensor": pa.scalar(name)}, alone=False)


def killed_in_the_middle(root: Path) -> EventLog:
    """A log whose compaction was killed after it wrote a merged file, and before the commit."""
    log = trickled(root, 4)
    context = multiprocessing.get_context("spawn")
    victim = context.Process(target=die_before_the_commit, args=(root,))
    victim.start()
    victim.join()
    assert victim.exitcode == 9
    assert len(list(log.path.glob("_date=*/*.parquet"))) == 5
    return log


def die_before_the_commit(root: Path) -> None:
    DeltaTable.create_write_transaction = lambda *_, **__: os._exit(9)  # type: ignore[method-assign]
    EventLog(root, SOURCE).compact()
