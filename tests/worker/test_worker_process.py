"""What is seen of a worker from outside its event loop."""

from __future__ import annotations

import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from headrace.kafka import KafkaConnection
from headrace.worker.heartbeat import Heart, WorkerState, read_heartbeats
from headrace.worker.liveness import Life
from headrace.worker.worker_process import what_is_wrong

SOUND: Any = SimpleNamespace(crashed=False)
PROJECT: Any = SimpleNamespace(group="workers")
BROKER = KafkaConnection.of("broker:9092")


@pytest.fixture
def app(tmp_path: Path) -> Any:
    """A worker that has asked its group for partitions."""
    life = Life(Heart(tmp_path))
    life.joining("workers")
    return SimpleNamespace(failure=None, crashed=False, pulse=None, worker=SimpleNamespace(life=life))


def test_worker_that_its_group_lets_wait_gives_signs_of_life(
    app: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time() + 30
    later = SimpleNamespace(time=lambda: now, monotonic=lambda: time.monotonic() + 30)
    monkeypatch.setattr("headrace.worker.heartbeat.time", later)
    assert what_is_wrong(app, SOUND, PROJECT, BROKER) is None
    (told,) = read_heartbeats(tmp_path)
    assert told.state is WorkerState.JOINING
    assert not told.is_stale(now)


def test_worker_that_its_group_gives_nothing_for_long_ends(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    since = time.monotonic()
    monkeypatch.setattr("headrace.worker.liveness.time.monotonic", lambda: since + 91)
    error = what_is_wrong(app, SOUND, PROJECT, BROKER)
    assert "'workers' has given this worker no partitions in 90 s" in str(error)
