"""A vacuum removes what nothing needs, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pyarrow as pa
import pytest

from headrace.errors import LogError
from headrace.log import EventLog
from tests.log.conftest import SOURCE, rows
from tests.log.trickles import NEVER, held, scanned, trickle, trickled

HOUR = 3600.0


def on_disk(log: EventLog) -> set[Path]:
    return set(log.path.glob("_date=*/*.parquet"))


def aged(log: EventLog, seconds: float, upto: int | None = None) -> None:
    """Let the commits up to a version, and all files that are there, be as old as this."""
    then = time.time() - seconds
    for file in [*on_disk(log), *(log.path / "_delta_log").glob("*.json")]:
        if upto is None or not file.stem.isdigit() or int(file.stem) <= upto:
            os.utime(file, (then, then))


def test_files_that_were_merged_are_freed(tmp_path: Path) -> None:
    log = trickled(tmp_path, 10)
    before = held(log)
    log.compact()
    assert len(on_disk(log)) == 11
    told = log.vacuum(retention_s=0, dry_run=True)
    assert len(on_disk(log)) == 11
    done = log.vacuum(retention_s=0)
    assert done._replace(version=told.version) == told  # Delta notes a vacuum in commits of its own
    assert (done.files, done.kept, done.oldest) == (10, (), 11)
    assert len(on_disk(log)) == 1
    assert held(log) == before
    assert log.vacuum(retention_s=0).files == 0


def test_log_goes_on_after_a_vacuum(tmp_path: Path) -> None:
    log = trickled(tmp_path, 10)
    worker = EventLog(tmp_path, SOURCE, NEVER)
    trickle(worker, 10)
    log.compact()
    log.vacuum(retention_s=0)
    trickle(worker, 11)  # it has the table open at a version whose commits are gone
    assert EventLog(tmp_path, SOURCE).last_offsets() == {0: 59, 1: 59}
    assert scanned(log) == [(partition, offset) for partition in (0, 1) for offset in range(60)]
    assert worker.append(rows(0, range(60)), {0: 59}).rows == 0


def test_commits_that_led_to_older_versions_go_too(tmp_path: Path) -> None:
    log = trickled(tmp_path, 20)
    assert log.facts().commits == 21
    log.vacuum(retention_s=0)
    assert log.facts().commits == 1
    assert sorted(file.name for file in (log.path / "_delta_log").iterdir()) == [
        f"{20:020}.checkpoint.parquet",
        f"{20:020}.json",
        "_last_checkpoint",
    ]
    assert len(held(log)) == 200


def test_pinned_versions_stay_whole(tmp_path: Path) -> None:
    log = trickled(tmp_path, 10)
    pins = {version: held(log, version) for version in (3, 7)}
    log.compact()
    trickle(log, 10)
    done = log.vacuum(retention_s=0, pinned=pins)
    assert (done.kept, done.lost) == ((3, 7), ())
    assert done.files == 3  # the files that versions 8 to 10 added; those of 7 and before are pinned
    for version, rows_then in pins.items():
        assert held(log, version) == rows_then
    with pytest.raises(LogError, match="cannot be read"):
        log.snapshot(5)
    log.compact()
    again = log.vacuum(retention_s=0, pinned=[3, 5, 7])
    assert (again.kept, again.lost) == ((3, 7), (5,))
    assert held(log, 3) == pins[3]
    log.vacuum(retention_s=0)
    with pytest.raises(LogError, match="no version 3"):
        log.snapshot(3)


def test_versions_within_the_retention_stay(tmp_path: Path) -> None:
    log = trickled(tmp_path, 10)
    log.compact()
    trickle(log, 10)
    aged(log, 5 * HOUR, upto=8)
    done = log.vacuum(retention_s=2 * HOUR)
    assert (done.files, done.oldest, done.commits) == (0, 8, 8)
    for version in range(8, 13):
        assert len(held(log, version)) == min(version, 10) * 10 + (10 if version == 12 else 0)
    assert log.vacuum(retention_s=2 * HOUR).commits == 0
    assert log.vacuum(retention_s=0).files == 10


def test_young_log_loses_nothing(tmp_path: Path) -> None:
    log = trickled(tmp_path, 10)
    log.compact()
    done = log.vacuum(retention_s=24 * HOUR)
    assert (done.files, done.commits, done.oldest) == (0, 0, 0)


def test_file_of_an_append_that_was_cut_short_goes_once_it_is_old(tmp_path: Path) -> None:
    log = trickled(tmp_path, 2)
    left = next(iter(on_disk(log))).with_name("part-left.parquet")
    left.write_bytes(b"PAR1")
    assert log.vacuum(retention_s=0).files == 0
    assert left.exists()  # it may be about to be committed
    os.utime(left, (0, 0))
    assert log.vacuum(retention_s=0).files == 1
    assert len(held(log)) == 20


def test_erased_events_are_in_no_file_after_compaction_and_erasure(tmp_path: Path) -> None:
    """Compacted twice, with versions pinned: the erasure finds the rows in every generation of files."""
    log = trickled(tmp_path, 6)
    log.compact()
    for number in range(6, 10):
        trickle(log, number)
    log.compact()
    pinned = held(log, 3)
    assert log.erase({"sensor": pa.scalar("s1")}, alone=False).rows == 50
    for path in on_disk(log):
        assert b"s1" not in path.read_bytes()
    assert {row["sensor"] for row in held(log)} == {"s0"}
    assert {row["sensor"] for row in pinned} == {"s0", "s1"}
    with pytest.raises(FileNotFoundError):
        held(log, 3)


def test_erasure_leaves_old_files_that_do_not_hold_the_entity(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE, NEVER)
    for first in range(0, 40, 10):
        log.append(rows(0, range(first, first + 10)), {0: first + 9})
    before = held(log, 2)
    log.append(rows(1, range(10)), {1: 9})
    log.compact()
    log.erase({"sensor": pa.scalar("s1")}, alone=True)
    assert held(log, 2) == before
    assert len(held(log)) == 40


def test_topic_without_a_log_has_nothing_to_vacuum(tmp_path: Path) -> None:
    log = EventLog(tmp_path / "nowhere", SOURCE)
    assert log.vacuum(retention_s=0).version is None
    assert log.compact().version is None
    assert log.facts().version is None
