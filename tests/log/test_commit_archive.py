"""However many commits a table has had, few lie in it; the older ones are put by, and old versions still open."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from headrace.errors import LogError
from headrace.log import EventLog, Upkeep, commit_archive
from headrace.log.upkeep_lock import upkeep
from tests.log.conftest import SOURCE, rows
from tests.log.test_compaction import held, scanned, trickle

RULE = Upkeep(small_files=8)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fifty commits are many."""
    monkeypatch.setattr(commit_archive, "_KEPT", 25)
    monkeypatch.setattr("headrace.log.auto_compaction._COUNT_EVERY", 10)


def commits_in(log: EventLog) -> int:
    return len(list((log.path / "_delta_log").glob("*.json")))


def appended(root: Path, appends: int) -> EventLog:
    log, most = EventLog(root, SOURCE, RULE), 0
    for number in range(appends):
        trickle(log, number)
        most = max(most, commits_in(log))
    assert most < 120
    return log


def test_commits_in_the_table_are_few_and_every_version_opens(tmp_path: Path) -> None:
    log = appended(tmp_path, 260)
    newest = log.version()
    assert newest is not None
    assert newest > 260
    counts = [log.snapshot(version).rows for version in range(newest + 1)]
    assert counts == sorted(counts)
    assert set(counts) == set(range(0, 2_601, 10))
    assert len(held(log, 5)) == 50
    assert scanned(log) == [(partition, offset) for partition in (0, 1) for offset in range(1_300)]
    assert EventLog(tmp_path, SOURCE).last_offsets() == {0: 1_299, 1: 1_299}
    assert log.facts().commits == newest + 1
    with pytest.raises(LogError, match="cannot be read"):
        log.snapshot(newest + 1)


def test_worker_that_slept_meanwhile_goes_on(tmp_path: Path) -> None:
    sleeper = EventLog(tmp_path, SOURCE, RULE)
    trickle(sleeper, 0)
    log = EventLog(tmp_path, SOURCE, RULE)
    for number in range(1, 200):
        trickle(log, number)
    assert not (log.path / "_delta_log" / f"{3:020}.json").exists()
    assert sleeper.append(rows(0, range(1_000)), {0: 999}).rows == 0
    trickle(sleeper, 200)
    assert log.append(rows(0, range(1_010)), {0: 1_009}).rows == 0
    assert scanned(log) == [(0, offset) for offset in range(1_010)] + [(1, offset) for offset in range(1_000)]


def test_vacuum_keeps_pinned_versions_of_commits_put_by_and_frees_the_rest(tmp_path: Path) -> None:
    log = appended(tmp_path, 200)
    pins = {version: held(log, version) for version in (7, 60)}
    done = log.vacuum(retention_s=0, pinned=pins)
    assert (done.kept, done.lost) == ((7, 60), ())
    assert log.facts().commits == 1
    for version, rows_then in pins.items():
        assert held(log, version) == rows_then
    with pytest.raises(LogError):
        log.snapshot(8)
    trickle(log, 200)
    assert len(scanned(log)) == 2_010
    log.vacuum(retention_s=0)
    with pytest.raises(LogError):
        log.snapshot(7)
    assert not list(commit_archive.older_folder(log.path).rglob("*.json"))


def test_vacuum_within_the_retention_keeps_what_was_put_by(tmp_path: Path) -> None:
    log = appended(tmp_path, 200)
    done = log.vacuum(retention_s=3_600)
    assert (done.files, done.commits, done.oldest) == (0, 0, 0)
    for version, file in commit_archive.history_files(log.path):
        if version <= 30:
            os.utime(file, (0, 0))
    assert log.vacuum(retention_s=3_600).oldest == 30
    assert [log.snapshot(version).rows for version in (30, 31, 100)] == sorted(
        log.snapshot(version).rows for version in (30, 31, 100)
    )
    with pytest.raises(LogError):
        log.snapshot(29)


def test_commits_without_checkpoints_between_are_put_by_too(tmp_path: Path) -> None:
    log = EventLog(tmp_path, SOURCE, Upkeep(small_files=0))
    for number in range(70):
        trickle(log, number)
    for file in (log.path / "_delta_log").iterdir():
        if "checkpoint" in file.name:
            file.unlink()
    with upkeep(log.path, wait_s=0):
        assert commit_archive.put_by(log.path) == 45
    assert [log.snapshot(version).rows for version in range(71)] == list(range(0, 701, 10))
    trickle(log, 70)
    assert len(scanned(log)) == 710


def test_moving_that_was_cut_short_is_taken_up_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = EventLog(tmp_path, SOURCE, Upkeep(small_files=0))
    for number in range(120):
        trickle(log, number)
    rename, left = Path.rename, [10]

    def fail_later(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_later)
    with upkeep(log.path, wait_s=0), pytest.raises(OSError, match="No space"):
        commit_archive.put_by(log.path)
    monkeypatch.setattr(Path, "rename", rename)
    assert len(scanned(log)) == 1_200
    with upkeep(log.path, wait_s=0):
        commit_archive.put_by(log.path)
    assert [log.snapshot(version).rows for version in range(121)] == list(range(0, 1_201, 10))
