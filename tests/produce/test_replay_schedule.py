from __future__ import annotations

import numpy as np
import pytest

from headrace.errors import ConfigError
from headrace.produce.replay_schedule import MAX_LATE_US, schedule

SECOND = 1_000_000
TIMES = np.random.default_rng(7).integers(0, 30 * 86_400 * SECOND, 20_000)


def test_events_are_sent_when_they_happened_and_ties_keep_their_order() -> None:
    ts_us = np.array([5, 3, 5, 3, 4], np.int64) * SECOND
    plan = schedule(ts_us)
    assert plan.rows.tolist() == [1, 3, 4, 0, 2]
    assert plan.sent_ms.tolist() == [3000, 3000, 4000, 5000, 5000]
    assert not plan.late.any()


def test_late_events_are_sent_up_to_ten_minutes_later() -> None:
    plan = schedule(TIMES, late=0.05, seed=1)
    delay_us = plan.sent_ms * 1000 - TIMES[plan.rows]
    assert sorted(plan.rows.tolist()) == list(range(len(TIMES)))
    assert plan.late.mean() == pytest.approx(0.05, abs=0.01)
    assert (delay_us[~plan.late] < 1000).all(), "on time, but for rounding up to whole milliseconds"
    assert (delay_us >= 0).all(), "no event is sent before it happened"
    assert (delay_us[plan.late] <= MAX_LATE_US + 1000).all()
    assert delay_us[plan.late].mean() == pytest.approx(MAX_LATE_US / 2, rel=0.1)
    assert (np.diff(plan.sent_ms) >= 0).all()


def test_same_seed_decides_the_same_and_another_seed_otherwise() -> None:
    first, again, other = (schedule(TIMES, late=0.05, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.rows, again.rows)
    assert np.array_equal(first.sent_ms, again.sent_ms)
    assert not np.array_equal(first.rows[first.late], other.rows[other.late])


def test_part_of_a_replay_is_that_part_of_the_whole() -> None:
    whole = schedule(TIMES, late=0.05, seed=1)
    start, until = 10 * 86_400 * SECOND, 12 * 86_400 * SECOND
    part = schedule(TIMES, late=0.05, seed=1, start_us=start, until_us=until)
    inside = (TIMES[whole.rows] >= start) & (TIMES[whole.rows] < until)
    assert np.array_equal(part.rows, whole.rows[inside])
    assert np.array_equal(part.sent_ms, whole.sent_ms[inside])


def test_times_before_1970_and_between_milliseconds_round_up() -> None:
    assert schedule(np.array([-1_500, 1_500, 2_000], np.int64)).sent_ms.tolist() == [-1, 2, 2]


def test_all_or_none_may_be_late() -> None:
    assert schedule(TIMES, late=1.0).late.all()
    assert not schedule(TIMES, late=0.0).late.any()


def test_empty_history_has_an_empty_schedule() -> None:
    assert len(schedule(np.array([], np.int64), late=0.5).rows) == 0


@pytest.mark.parametrize("late", [-0.1, 1.1, float("nan")])
def test_share_that_is_none_is_refused(late: float) -> None:
    with pytest.raises(ConfigError, match="share of late events"):
        schedule(TIMES, late=late)
