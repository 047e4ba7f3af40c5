"""A worker's sign of life: what is read is what was written last, and silence tells by itself."""

from __future__ import annotations

import json
import os
import socket
import time
from pathlib import Path

import pytest

from headrace.worker import heartbeat
from headrace.worker.heartbeat import STALE_S, Heart, WorkerState, read_heartbeats

NO_PROCESS = 2**22 + 1  # Linux counts no further


def rewrite(folder: Path, **changes: object) -> None:
    (path,) = folder.glob("*.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_what_a_worker_says_is_read_with_what_it_said_before(tmp_path: Path) -> None:
    heart = Heart(tmp_path)
    heart.beat(WorkerState.RUNNING, partitions=("orders[0]",), round_at=12.5)
    heart.beat(WorkerState.WAITING, note="Redis is away")
    (told,) = read_heartbeats(tmp_path)
    assert (told.worker, told.pid, told.host) == (heart.worker, os.getpid(), socket.gethostname())
    assert (told.state, told.partitions, told.round_at) == (WorkerState.WAITING, ("orders[0]",), 12.5)
    assert told.note == "Redis is away"
    assert not told.is_gone
    heart.beat(WorkerState.RUNNING)
    assert read_heartbeats(tmp_path)[0].note is None


def test_lag_and_dead_letters_are_told_and_stay_until_they_change(tmp_path: Path) -> None:
    heart = Heart(tmp_path)
    assert read_heartbeats(tmp_path)[0].lag is None
    heart.beat(WorkerState.CATCHING_UP, dead_letters=2, lag={"orders[0]": 7})
    heart.beat(WorkerState.RUNNING)
    (told,) = read_heartbeats(tmp_path)
    assert (told.dead_letters, told.lag) == (2, {"orders[0]": 7})


def test_numbers_alone_do_not_make_a_worker_write_more_often(tmp_path: Path) -> None:
    heart = Heart(tmp_path)
    heart.beat(WorkerState.RUNNING, lag={"orders[0]": 7})
    heart.beat(WorkerState.RUNNING, lag={"orders[0]": 6}, dead_letters=1)
    assert read_heartbeats(tmp_path)[0].lag == {"orders[0]": 7}


def test_worker_that_beats_no_more_is_stale_within_seconds(tmp_path: Path) -> None:
    Heart(tmp_path).beat(WorkerState.RUNNING)
    (told,) = read_heartbeats(tmp_path)
    assert not told.is_stale(told.beat + STALE_S - 1)
    assert told.is_stale(told.beat + STALE_S + 1)


def test_worker_that_fills_its_store_is_given_longer(tmp_path: Path) -> None:
    Heart(tmp_path).beat(WorkerState.RECOVERING)
    (told,) = read_heartbeats(tmp_path)
    assert not told.is_stale(told.beat + 20)
    assert told.is_stale(told.beat + 70)


@pytest.mark.parametrize(("why", "state"), [(None, WorkerState.ENDED), ("The disk is full.", WorkerState.FAILED)])
def test_worker_that_ends_leaves_the_reason(tmp_path: Path, why: str | None, state: WorkerState) -> None:
    Heart(tmp_path).end(why)
    (told,) = read_heartbeats(tmp_path)
    assert (told.state, told.note, told.is_gone) == (state, why, True)
    assert not told.is_stale(told.beat + 1_000)


def test_worker_whose_process_is_gone_is_gone_though_it_never_said_so(tmp_path: Path) -> None:
    Heart(tmp_path).beat(WorkerState.RUNNING)
    rewrite(tmp_path, pid=NO_PROCESS)
    assert read_heartbeats(tmp_path)[0].is_gone
    rewrite(tmp_path, host="another-machine")  # whose processes nobody can ask for here
    (told,) = read_heartbeats(tmp_path)
    assert not told.is_gone
    assert told.is_stale(told.beat + STALE_S + 1)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells when a process began")
def test_process_that_has_a_dead_workers_number_is_not_taken_for_it(tmp_path: Path) -> None:
    Heart(tmp_path).beat(WorkerState.RUNNING)
    assert not read_heartbeats(tmp_path)[0].is_gone
    rewrite(tmp_path, born="1")
    assert read_heartbeats(tmp_path)[0].is_gone


def test_files_that_are_no_sign_of_life_are_passed_over(tmp_path: Path) -> None:
    Heart(tmp_path)
    (tmp_path / "half.json").write_text('{"worker": "x"')
    (tmp_path / "other.json").write_text('{"worker": "x"}')
    (tmp_path / "list.json").write_text("[]")
    assert len(read_heartbeats(tmp_path)) == 1
    assert read_heartbeats(tmp_path / "nowhere") == []


def test_signs_of_life_of_another_version_are_read_as_far_as_they_are_known(tmp_path: Path) -> None:
    Heart(tmp_path)
    rewrite(tmp_path, mood="good")
    assert len(read_heartbeats(tmp_path)) == 1


def test_file_is_written_once_a_second_and_when_the_state_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    written: list[str] = []
    monkeypatch.setattr(heartbeat.Heart, "_write", lambda _, told: written.append(told.state))
    heart = Heart(tmp_path)
    for moment in range(30):
        now[0] = 100 + moment / 10
        heart.beat(WorkerState.RUNNING, round_at=float(moment))
    heart.beat(WorkerState.STOPPING)
    assert written == ["starting", "running", "running", "running", "stopping"]


def test_old_files_of_workers_that_are_gone_are_removed(tmp_path: Path) -> None:
    Heart(tmp_path).end(None)
    rewrite(tmp_path, beat=0.0, pid=NO_PROCESS)
    (tmp_path / next(tmp_path.glob("*.json")).name).rename(tmp_path / "old.json")
    Heart(tmp_path)
    assert [path.name for path in tmp_path.glob("*.json")] != ["old.json"]
    assert len(read_heartbeats(tmp_path)) == 1


def test_folder_that_cannot_be_written_does_not_stop_a_worker(tmp_path: Path) -> None:
    (tmp_path / "workers").write_text("a file")
    Heart(tmp_path / "workers").beat(WorkerState.RUNNING)
