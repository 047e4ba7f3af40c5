"""What a worker tells of itself: it beats by its rounds, and says what is away once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from headrace.errors import StoreUnavailableError
from headrace.events.source_partition import SourcePartition
from headrace.worker.heartbeat import Heart, Heartbeat, WorkerState, read_heartbeats
from headrace.worker.liveness import Away, Life, named
from headrace.worker.progress import Progress

HERE = [SourcePartition("orders", 0), SourcePartition("orders", 2), SourcePartition("refunds", 0)]
AWAY = StoreUnavailableError("Redis does not answer.")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def life(tmp_path: Path, clock: Clock) -> Life:
    return Life(Heart(tmp_path), Progress(clock))


def told(folder: Path) -> Heartbeat:
    (one,) = read_heartbeats(folder)
    return one


def test_partitions_are_named_by_topic() -> None:
    assert named(HERE) == "orders[0,2], refunds[0]"
    assert named([]) == "nothing"


def test_states_of_a_worker_that_joins_catches_up_and_waits(life: Life, tmp_path: Path) -> None:
    seen = []

    def beat(*, is_moved: bool = False, is_caught_up: bool = False) -> None:
        assert life.beat(is_moved=is_moved, is_caught_up=is_caught_up) is None
        seen.append(told(tmp_path).state)

    beat()
    life.assigned(HERE)
    beat()
    beat(is_caught_up=True)
    life.away("rounds").note(AWAY)
    beat(is_caught_up=True)
    life.away("rounds").over()
    beat()
    beat(is_moved=True)
    life.stopping()
    beat()
    assert seen == [
        WorkerState.JOINING,
        WorkerState.CATCHING_UP,
        WorkerState.RUNNING,
        WorkerState.WAITING,
        WorkerState.RUNNING,
        WorkerState.JOINING,
        WorkerState.STOPPING,
    ]
    assert told(tmp_path).partitions == ("orders[0]", "orders[2]", "refunds[0]")


def test_worker_whose_fetches_stand_still_beats_no_more(life: Life, clock: Clock) -> None:
    life.assigned(HERE)
    assert life.beat(is_moved=False, is_caught_up=False) is None
    clock.now += 10
    assert life.beat(is_moved=False, is_caught_up=False) == "no fetch for 10 s"
    assert life.beat(is_moved=True, is_caught_up=False) is None  # the group is sharing partitions out
    life.progress.turn()
    assert life.beat(is_moved=False, is_caught_up=False) is None


def test_worker_whose_round_hangs_beats_no_more_though_its_fetches_go_on(life: Life, clock: Clock) -> None:
    life.assigned(HERE)
    with life.progress.doing("applying a round", 3.0) as step:
        clock.now += 2
        life.progress.turn()
        assert life.beat(is_moved=False, is_caught_up=False) is None
        clock.now += 2
        life.progress.turn()
        assert life.beat(is_moved=False, is_caught_up=False) == "applying a round for 4 s"
        step()  # a try has failed, and the next one begins
        assert life.beat(is_moved=False, is_caught_up=False) is None
        clock.now += 4
    life.progress.turn()
    assert life.beat(is_moved=False, is_caught_up=False) is None


def test_worker_whose_fetches_wait_for_a_round_that_waits_for_a_store_goes_on_beating(life: Life, clock: Clock) -> None:
    life.assigned(HERE)
    with life.progress.doing("applying a round", 30.0) as step:
        for _ in range(10):
            clock.now += 10
            assert life.beat(is_moved=False, is_caught_up=False) is None
            step()


def test_what_is_away_is_said_once_then_again_with_how_long_and_when_it_is_back(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    away = Away(clock)
    for _ in range(130):
        away.note(AWAY)
        clock.now += 1
    away.over()
    away.over()
    assert [record.getMessage() for record in caplog.records] == [
        "Redis does not answer. The worker waits for it and goes on where it was.",
        "Still away, for 60 s: Redis does not answer.",
        "Still away, for 120 s: Redis does not answer.",
        "Back after 130 s: Redis does not answer.",
    ]


def test_assignment_and_catching_up_are_told_at_the_default_level(life: Life, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "headrace"):
        life.joining("workers")
        life.assigned(HERE)
        life.assigned(HERE)
        life.beat(is_moved=False, is_caught_up=True)
        life.beat(is_moved=False, is_caught_up=True)
        life.stopping()
        life.stopping()
    said = [record.getMessage() for record in caplog.records]
    assert said[:2] == ["Joining the group 'workers'.", "Assigned: orders[0,2], refunds[0]."]
    assert said[2].startswith("Caught up with orders[0,2], refunds[0] in ")
    assert said[3].startswith("Stopping: ")
    assert len(said) == 4
