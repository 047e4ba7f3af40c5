"""Old commits go once a checkpoint covers them; versions that have a checkpoint stay readable."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

import pytest

from headrace.errors import LogError
from headrace.log import EventLog, Upkeep
from headrace.log.commits import commits_of, keep_readable, trim_commits
from tests.log.conftest import SOURCE, rows
from tests.log.trickles import NEVER, held, scanned, trickle, trickled

HOUR = 3600.0


def aged(log: EventLog, upto: int) -> None:
    """Let the commits up to a version be two hours old."""
    then = time.time() - 2 * HOUR
    for one in commits_of(log.location):
        if one.version <= upto:
            os.utime(log.location.file(one.name), (then, then))


def commit_versions(log: EventLog) -> list[int]:
    return [one.version for one in commits_of(log.location) if not one.is_checkpoint]


def test_old_commits_before_a_checkpoint_go_and_young_ones_stay(tmp_path: Path) -> None:
    log = trickled(tmp_path, 10)
    keep_readable(log.location, [2, 5])
    aged(log, 6)
    assert trim_commits(log.location) == 5
    assert commit_versions(log) == [5, 6, 7, 8, 9, 10]
    assert [log.snapshot(version).rows for version in (2, 5, 6, 10)] == [20, 50, 60, 100]
    for version in (0, 1, 3, 4):
        with pytest.raises(LogError, match=f"no version {version}|cannot be read"):
            log.snapshot(version)
    assert trim_commits(log.location) == 0
    trickle(log, 10)
    assert len(scanned(EventLog(tmp_path, SOURCE))) == 110


def test_commits_without_a_checkpoint_get_one_first(tmp_path: Path) -> None:
    log = trickled(tmp_path, 10)
    aged(log, 6)
    assert trim_commits(log.location) == 6
    assert [log.snapshot(version).rows for version in (6, 7, 10)] == [60, 70, 100]


def test_young_commits_all_stay(tmp_path: Path) -> None:
    log = trickled(tmp_path, 10)
    keep_readable(log.location, [9])
    assert trim_commits(log.location) == 0


def test_appending_worker_trims_by_itself(tmp_path: Path) -> None:
    log = trickled(tmp_path, 30)
    aged(log, 30)
    worker = EventLog(tmp_path, SOURCE, Upkeep(small_files=1000))
    trickle(worker, 30)
    assert commit_versions(log) == [30, 31]
    assert len(scanned(log)) == 310


def test_worker_that_slept_meanwhile_goes_on(tmp_path: Path) -> None:
    sleeper = EventLog(tmp_path, SOURCE, NEVER)
    trickle(sleeper, 0)
    log = EventLog(tmp_path, SOURCE, NEVER)
    for number in range(1, 20):
        trickle(log, number)
    aged(log, 15)
    trim_commits(log.location)
    assert 3 not in commit_versions(log)
    assert sleeper.append(rows(0, range(100)), {0: 99}).rows == 0
    trickle(sleeper, 20)
    assert log.append(rows(0, range(110)), {0: 109}).rows == 0
    assert scanned(log) == [(0, offset) for offset in range(110)] + [(1, offset) for offset in range(100)]


def test_pinned_version_stays_readable_through_trims_until_a_vacuum_that_does_not_keep_it(tmp_path: Path) -> None:
    log = trickled(tmp_path, 20)
    log.keep_readable([7])
    pinned = held(log, 7)
    aged(log, 18)
    trim_commits(log.location)
    log.compact()
    assert log.vacuum(retention_s=0, pinned=[7]).kept == (7,)
    assert held(log, 7) == pinned
    log.vacuum(retention_s=0)
    with pytest.raises(LogError):
        log.snapshot(7)


def test_version_that_is_gone_cannot_be_kept_and_is_passed_over(tmp_path: Path) -> None:
    log = trickled(tmp_path, 10)
    aged(log, 8)
    trim_commits(log.location)
    log.keep_readable([3, 9])
    assert log.snapshot(9).rows == 90
    assert [one.version for one in commits_of(log.location) if one.is_checkpoint] == [8, 9]


def test_commits_that_the_version_before_archived_are_put_back_with_one_message(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    log = trickled(tmp_path, 12)
    keep_readable(log.location, [8])
    archive = log.path / "_commits" / "_delta_log"
    archive.mkdir(parents=True)
    for one in commits_of(log.location):
        if one.version < 8:
            (log.path / one.name).rename(archive / Path(one.name).name)
    with caplog.at_level(logging.WARNING):
        assert [EventLog(tmp_path, SOURCE).snapshot(version).rows for version in (3, 8, 12)] == [30, 80, 120]
    assert caplog.text.count("moved 8 archived commits back to _delta_log") == 1
    assert not (log.path / "_commits").exists()
