"""What a project's clock makes of an event that says no timestamp: producing never takes a replay's clock to today."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from headrace.config import Clock, Project
from headrace.errors import HeadraceWarning
from headrace.events.source_partition import SourcePartition
from headrace.produce.encode import EncodedEvent
from headrace.produce.record_timestamps import RecordClock, SystemClock, clock_of
from headrace.stores import Position, open_store
from headrace.times import us_of

NOON = datetime(2013, 1, 15, 12, tzinfo=UTC)


def ms(moment: datetime) -> int:
    return us_of(moment) // 1000


def event(moment: datetime) -> EncodedEvent:
    return EncodedEvent(b"key", b"{}", moment)


@contextmanager
def silence() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_by_the_system_clock_an_event_is_sent_now() -> None:
    before = ms(datetime.now(UTC))
    stamps = SystemClock().stamps_ms([event(NOON), event(NOON)])
    assert before <= stamps[0] == stamps[1] <= ms(datetime.now(UTC))


def test_by_the_record_clock_an_event_is_sent_when_it_happened() -> None:
    assert RecordClock("shop", None).stamps_ms([event(NOON)]) == [ms(NOON)]
    assert RecordClock("shop", ms(NOON)).stamps_ms([event(NOON + timedelta(minutes=1))]) == [ms(NOON) + 60_000]


def test_late_event_is_sent_now_by_the_record_clock() -> None:
    clock = RecordClock("shop", ms(NOON))
    times = [NOON - timedelta(days=3), NOON + timedelta(seconds=9), NOON]
    assert clock.stamps_ms([event(one) for one in times]) == [ms(NOON), ms(NOON) + 9000, ms(NOON) + 9000]


def test_event_is_not_known_before_it_happens() -> None:
    moment = NOON + timedelta(microseconds=1)
    (stamp,) = RecordClock("shop", None).stamps_ms([event(moment)])
    assert stamp * 1000 >= us_of(moment)
    assert stamp == ms(NOON) + 1


def test_clock_goes_on_with_what_is_sent() -> None:
    clock = RecordClock("shop", None)
    with silence():
        clock.moves_to(ms(NOON))
        clock.moves_to(ms(NOON) - 5)
    assert clock.stamps_ms([event(NOON - timedelta(days=1))]) == [ms(NOON)]


def test_step_of_more_than_a_day_is_warned_of_with_both_times() -> None:
    clock = RecordClock("shop", ms(NOON))
    with pytest.warns(HeadraceWarning, match="from 2013-01-15T12:00:00Z to 2026-") as said:
        clock.moves_to(ms(datetime(2026, 1, 1, tzinfo=UTC)))
    assert "timestamp" in str(said[0].message)
    with silence():
        clock.moves_to(ms(datetime(2026, 1, 1, 23, tzinfo=UTC)))


def test_step_of_a_day_and_the_first_event_are_no_jump() -> None:
    with silence():
        RecordClock("shop", ms(NOON)).moves_to(ms(NOON) + 86_400_000)
        RecordClock("shop", None).moves_to(ms(NOON))
        SystemClock().moves_to(ms(NOON))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "headrace.toml").write_text('[headrace]\nclock = "record"\n')
    return tmp_path


def test_projects_record_clock_is_its_stores_newest_record(root: Path) -> None:
    project = Project.load(root)
    assert project.clock is Clock.RECORD
    assert clock_of(project).stamps_ms([event(NOON)]) == [ms(NOON)]
    with open_store(project.store_url, writable=True) as store:
        for partition, at in enumerate((NOON, NOON + timedelta(hours=2))):
            position = Position(offset=1, record_ts_us=us_of(at), event_ts_us=us_of(at))
            store.commit([], {SourcePartition("orders", partition): position})
    assert clock_of(project).stamps_ms([event(NOON)]) == [ms(NOON + timedelta(hours=2))]


def test_project_on_the_system_clock_has_that(tmp_path: Path) -> None:
    (tmp_path / "headrace.toml").write_text("[headrace]\n")
    assert isinstance(clock_of(Project.load(tmp_path)), SystemClock)
