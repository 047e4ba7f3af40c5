"""A worker merges small files by itself, and no append fails for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from headrace.log import EventLog, LookupTable, Upkeep
from tests.log.conftest import DAY, SOURCE
from tests.log.trickles import held, lookup, scanned, trickle, trickled


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


@pytest.mark.parametrize(
    "appends", [pytest.param(200, marks=pytest.mark.slow), pytest.param(3_000, marks=pytest.mark.long)]
)
def test_many_appends_of_a_worker_leave_a_bounded_number_of_files(tmp_path: Path, appends: int) -> None:
    log = trickled(tmp_path, appends, Upkeep())
    assert len(log.snapshot().files) < 3 * 32 + 8
    everything = [(partition, offset) for partition in (0, 1) for offset in range(5 * appends)]
    assert [(row["_partition"], row["_offset"]) for row in held(log)] == everything


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
