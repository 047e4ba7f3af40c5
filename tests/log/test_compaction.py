"""Compaction changes where rows lie and nothing else, whatever goes on beside it."""

from __future__ import annotations

import multiprocessing
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable

from headrace.errors import LogError, LogUnavailableError
from headrace.log import EventLog, LookupTable, Upkeep
from headrace.log import compaction as compacting
from headrace.log.log_columns import FIRST_IMPORT
from headrace.log.parquet_files import GROUP_ROWS, write_files
from headrace.plan import Column, DType
from tests.log.conftest import DAY, SOURCE, rows

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


def test_compaction_leaves_one_file_a_date_with_the_same_rows(tmp_path: Path) -> None:
    log = trickled(tmp_path, 12, step_us=DAY // 20)
    before, offsets = held(log), log.last_offsets()
    files = len(log.snapshot().files)
    done = log.compact()
    dates = {file.date for file in log.snapshot().files}
    assert (done.before, done.after, done.rows) == (files, len(dates), 120)
    assert len(log.snapshot().files) == len(dates) == 3
    assert held(log) == before
    assert log.last_offsets() == offsets
    assert scanned(log) == [(partition, offset) for partition in (0, 1) for offset in range(60)]
    assert [file.rows for file in log.snapshot().files] == [40, 40, 40]
    again = log.compact()
    assert (again.rows, again.version) == (0, done.version)


def test_version_before_stays_readable(tmp_path: Path) -> None:
    log = trickled(tmp_path, 6)
    before, version = held(log), log.version()
    log.compact()
    trickle(log, 6)
    assert held(log, version) == before
    assert len(held(log)) == 70


def test_commit_says_that_no_data_has_changed(tmp_path: Path) -> None:
    log = trickled(tmp_path, 4)
    version = log.compact().version
    commit = (log.path / "_delta_log" / f"{version:020}.json").read_text()
    assert '"dataChange":true' not in commit
    assert commit.count('"remove"') == 4
    assert DeltaTable(log.path).metadata().configuration["delta.appendOnly"] == "true"


def test_files_come_near_to_the_size_asked_for_and_not_past_it(tmp_path: Path) -> None:
    log = trickled(tmp_path, 20)
    sizes = [Path(file.path).stat().st_size for file in log.snapshot().files]
    target = 5 * max(sizes)
    log.compact(target)
    files = log.snapshot().files
    assert 1 < len(files) < 10
    assert all(Path(file.path).stat().st_size <= target for file in files)
    assert len(held(log)) == 200


def test_imports_and_kafkas_partitions_stay_in_files_of_their_own(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE, NEVER)
    for first in (0, 10):
        for partition in (0, 3, FIRST_IMPORT, FIRST_IMPORT + 2):
            log.append(rows(partition, range(first, first + 10)), {partition: first + 9})
    log.compact()
    assert sorted(file.partitions for file in log.snapshot().files) == [
        (0, 3),
        (FIRST_IMPORT, FIRST_IMPORT),
        (FIRST_IMPORT + 2, FIRST_IMPORT + 2),
    ]
    assert log.imports() == [FIRST_IMPORT, FIRST_IMPORT + 2]


def test_file_that_lacks_a_column_is_not_merged_with_those_that_have_it(tmp_path: Path) -> None:
    trickled(tmp_path, 4)
    note = Column(name="note", dtype=DType.STRING, fill='"none yet"')
    log = EventLog(tmp_path, SOURCE.model_copy(update={"columns": (*SOURCE.columns, note)}), NEVER)
    for first in (20, 22):
        log.append(rows(0, range(first, first + 2), note=pa.array(["x", None])), {0: first + 1})
    log.compact()
    assert sorted(file.rows for file in log.snapshot().files) == [4, 40]
    assert log.compact().rows == 0
    noted = [note for batch in log.scan() for note in batch.column("note").to_pylist()]
    assert noted == ["none yet"] * 20 + ["x", None, "x", None] + ["none yet"] * 20


def test_files_whose_names_do_not_say_their_columns_keep_them_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trickled(tmp_path, 2)
    note = Column(name="note", dtype=DType.STRING, fill='"none yet"')
    more = EventLog(tmp_path, SOURCE.model_copy(update={"columns": (*SOURCE.columns, note)}), NEVER)
    more.append(rows(0, range(20, 22), note=pa.array(["x", None])), {0: 21})
    monkeypatch.setattr(compacting, "columns_mark", lambda _: "")
    more.compact()
    assert sorted(file.rows for file in more.snapshot().files) == [2, 20]
    noted = [note for batch in more.scan(partitions=[0]) for note in batch.column("note").to_pylist()]
    assert noted == ["none yet"] * 10 + ["x", None]


@pytest.mark.slow
def test_row_groups_of_a_large_file_are_read_as_far_as_they_are_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = EventLog(tmp_path, SOURCE, NEVER)
    half = GROUP_ROWS + 1000
    for partition in (0, 1):
        for first in (0, half):
            log.append(rows(partition, range(first, first + half), step_us=10), {partition: first + half - 1})
    log.compact()
    (file,) = log.snapshot().files
    assert pq.read_metadata(file.path).num_row_groups == 5
    read: list[int] = []
    whole = pq.ParquetFile.read_row_group

    def noted(self: Any, number: int) -> Any:
        read.append(number)
        return whole(self, number)

    monkeypatch.setattr(pq.ParquetFile, "read_row_group", noted)
    assert scanned(log, after={1: half}, partitions=[1]) == [(1, offset) for offset in range(half + 1, 2 * half)]
    assert read == [2, 3, 4]  # the third begins with the end of the other partition
    assert scanned(log) == [(partition, offset) for partition in (0, 1) for offset in range(2 * half)]


# --- what goes on beside it


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


@pytest.mark.slow
def test_everything_at_once_loses_and_doubles_nothing(tmp_path: Path) -> None:
    """A worker appends and merges by itself, while others compact, vacuum without any retention, erase and read."""
    everything_at_once(tmp_path, 40)


@pytest.mark.slow
def test_everything_at_once_for_longer_loses_and_doubles_nothing(tmp_path: Path) -> None:
    everything_at_once(tmp_path, 300)


def everything_at_once(root: Path, appends: int) -> None:
    trickled(root, 10)
    context = multiprocessing.get_context("spawn")
    worker = context.Process(target=append_and_merge, args=(root, 10, appends))
    worker.start()
    log, turn = EventLog(root, SOURCE), 0
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


def test_damaged_file_ends_it_and_is_named(tmp_path: Path) -> None:
    log = trickled(tmp_path, 4)
    path = Path(log.snapshot().files[0].path)
    path.write_bytes(b"PAR1")
    with pytest.raises(LogError, match=f"{path.name} does not read"):
        log.compact()
    assert log.version() == 4


# --- by itself


@pytest.mark.slow
def test_thousands_of_tiny_appends_leave_a_bounded_number_of_files(tmp_path: Path) -> None:
    rule = Upkeep(small_files=4)
    log = EventLog(tmp_path, SOURCE, rule)
    most = 0
    for number in range(150):
        trickle(log, number, step_us=DAY // 1500)
        if number % 10 == 9:
            snapshot = log.snapshot()
            most = max(most, len(snapshot.files))
            assert len(snapshot.files) <= len({file.date for file in snapshot.files}) * (3 * 4 + 8)
    assert most < 30
    assert scanned(log) == [(partition, offset) for partition in (0, 1) for offset in range(750)]
    assert log.last_offsets() == {0: 749, 1: 749}


@pytest.mark.slow
def test_three_thousand_appends_of_a_worker_leave_a_bounded_number_of_files(tmp_path: Path) -> None:
    log = trickled(tmp_path, 3000, Upkeep())
    assert len(log.snapshot().files) < 3 * 32 + 8
    assert [(row["_partition"], row["_offset"]) for row in held(log)] == [(p, o) for p in (0, 1) for o in range(15_000)]


def test_worker_that_starts_anew_often_still_merges(tmp_path: Path) -> None:
    for number in range(24):
        trickle(EventLog(tmp_path, SOURCE, Upkeep(small_files=8)), number)
    assert len(EventLog(tmp_path, SOURCE).snapshot().files) <= 8


def test_merging_never_fails_an_append(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = trickled(tmp_path, 6)
    Path(log.snapshot().files[0].path).write_bytes(b"PAR1")
    fresh = EventLog(tmp_path, SOURCE, Upkeep(small_files=4))
    trickle(fresh, 6)
    assert "were not merged" in caplog.text
    assert fresh.last_offsets() == {0: 39, 1: 29}


def test_recorded_lookups_are_merged_too(tmp_path: Path) -> None:
    lookups = LookupTable(tmp_path / "audit", replace(Upkeep(), small_files=0))
    for number in range(5):
        lookups.append([lookup(number)])
    done = lookups.compact()
    assert (done.before, done.after) == (5, 1)
    assert [row for found in lookups.read() for row in found] == [lookup(number) for number in range(5)]


def test_recording_merges_by_itself(tmp_path: Path) -> None:
    lookups = LookupTable(tmp_path / "audit", Upkeep(small_files=4))
    for number in range(40):
        lookups.append([lookup(number)])
    assert lookups.facts().files <= 20
    assert sorted(row["served_at_us"] for found in lookups.read() for row in found) == list(range(40))


def lookup(number: int) -> Row:
    texts = dict.fromkeys(("plan", "keys", "features", "views", "evidence"), "{}")
    return {"served_at_us": number, "at_us": number, "unrecorded": 0, "origin": None, "problems": None, **texts}
