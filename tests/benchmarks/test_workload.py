from __future__ import annotations

import json
import math

import numpy as np
import pytest

from benchmarks.peers.protocol import PACKED, WINDOWS
from benchmarks.peers.tiles import Tiles, add, features
from benchmarks.workload import Payments, assert_features, user_id

END_MS = 1_790_000_000_000


def payments(events: int = 3_000, keys: int = 20, *, skewed: bool = False, step_ms: int = 60_000) -> Payments:
    return Payments(events, keys, skewed, END_MS, step_ms=step_ms)


def by_hand(given: Payments, user: int, now_ms: int) -> list[float]:
    """The definition, event by event."""
    found: list[float] = []
    for slide, length in WINDOWS:
        counted = [
            amount
            for who, ts, amount in zip(given.user.tolist(), given.ts_ms.tolist(), given.amount.tolist(), strict=True)
            if who == user and now_ms // slide - length < ts // slide <= now_ms // slide
        ]
        n = len(counted)
        mean, low, high = (math.fsum(counted) / n, min(counted), max(counted)) if n else (math.nan,) * 3
        found += [n, math.fsum(counted), mean, low, high]
    return found


@pytest.mark.parametrize("minutes", [0, 7, 61, 24 * 60, 3 * 24 * 60])
def test_what_is_right_is_the_definition(minutes: int) -> None:
    given = payments()
    for user in (0, 7, 19):
        now = END_MS + minutes * 60_000
        assert np.allclose(given.features(user, now), by_hand(given, user, now), rtol=1e-12, equal_nan=True)


def test_tiles_kept_by_hand_give_what_is_right_whenever_asked() -> None:
    given = payments()
    users: dict[int, Tiles] = {}
    newest = 0
    for user, ts, amount in zip(given.user.tolist(), given.ts_ms.tolist(), given.amount.tolist(), strict=True):
        newest = max(newest, ts)
        add(users.setdefault(user, ({}, {})), ts, amount)
        if ts % 7 == 0:
            features(users[user], newest)  # forgets what no window reaches
    for user in range(20):
        now, *values = PACKED.unpack(features(users[user], newest))
        assert_features("by hand", given, user, now, values)


def test_wrong_answer_is_refused() -> None:
    given = payments()
    right = given.features(3, END_MS)
    assert_features("right", given, 3, END_MS, right)
    for place in range(len(right)):
        wrong = [*right]
        wrong[place] *= 1 + 1e-8
        with pytest.raises(AssertionError, match="is right"):
            assert_features("wrong", given, 3, END_MS, wrong)


def test_values_are_the_events() -> None:
    given = payments(200)
    told = [json.loads(value) for value in given.values()]
    assert [event["ts"] for event in told] == given.ts_ms.tolist()
    assert [event["user_id"] for event in told] == [user_id(user) for user in given.user.tolist()]
    assert [event["amount"] for event in told] == given.amount.tolist()
    assert len({event["event_id"] for event in told}) == 200
    assert all(len(event) == 5 for event in told)


def test_one_event_in_twenty_is_late_by_up_to_a_minute() -> None:
    given = payments(100_000, step_ms=180)
    late = given.arrival_ms - given.ts_ms
    assert 0.045 < (late > 0).mean() < 0.055
    assert late.min() >= 0
    assert 59_000 < late.max() <= 60_000
    assert set(np.diff(given.arrival_ms).tolist()) == {180}


def test_skewed_keys_are_drawn_in_proportion_to_their_place() -> None:
    counts = np.bincount(payments(200_000, 1_000, skewed=True).user, minlength=1_000)
    assert counts[0] / counts[9] == pytest.approx(10, rel=0.1)
    even = np.bincount(payments(200_000, 1_000).user, minlength=1_000)
    assert even.max() < 2 * even.min()
