"""A run's rates are of equal shares of its events, whatever its rounds were, and need no memory that grows."""

from __future__ import annotations

import sys

import pytest

from headrace.events.source_partition import SourcePartition
from headrace.worker.pipeline import RoundSummary
from headrace.worker.stats import WorkerStats

SALES = SourcePartition("sales", 0)


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def run(*rounds: tuple[int, float]) -> WorkerStats:
    """Rounds of some events, each of which took some seconds."""
    clock = Clock()
    stats = WorkerStats(clock)
    for events, seconds in rounds:
        stats.begin_round()
        clock.now += seconds
        stats.end_round(RoundSummary(events, 0, 1), {SALES: 1})
        stats.end_flush()
    clock.now += 5.0
    stats.end_flush()  # the log's last append is no part of the rates
    return stats


def test_steady_run_has_one_rate_however_large_its_rounds_are() -> None:
    steady = run((100, 1.0), (100, 1.0), (650, 6.5), (50, 0.5), (100, 1.0))
    assert steady.rates() == pytest.approx([100.0] * 4)


def test_share_that_was_slow_is_told_from_the_others() -> None:
    assert run((300, 3.0), (100, 4.0)).rates() == pytest.approx([100.0, 100.0, 100.0, 25.0])
    assert run((100, 4.0), (300, 3.0)).rates() == pytest.approx([25.0, 100.0, 100.0, 100.0])


def test_run_without_events_has_no_rates() -> None:
    assert run().rates() == []
    assert run((0, 1.0)).rates() == []


def test_long_run_keeps_few_marks_and_its_rates() -> None:
    stats = run(*[(10, 0.1)] * 20_000)
    assert sys.getsizeof(stats._marks) < 100_000  # noqa: SLF001
    assert stats.rates() == pytest.approx([100.0] * 4, rel=0.01)
