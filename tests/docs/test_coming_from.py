"""docs/coming-from.md: its drawings happen, and its definitions give the intervals that other systems compute."""

from __future__ import annotations

import random
import re
import sys
import types
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from headrace.declare.feast_import import quiet_feast
from headrace.testing import Testbed
from tests.docs.drawings import check, drawings, read
from tests.e2e.flights import ROOT

PAGE = (ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
DRAWINGS = drawings("coming-from.md")
(CODE,) = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
BEGIN = datetime(2026, 3, 1, 10, tzinfo=UTC)
HOUR, HOP = 3_600_000_000, 300_000_000


def floor(at: int, size: int) -> int:
    return at - at % size


THEIRS: dict[str, Callable[[int, int], bool]] = {
    "closed_interval": lambda t, ts: t - HOUR <= ts <= t,
    "exact": lambda t, ts: t - HOUR < ts <= t,
    "without_current_event": lambda t, ts: t - HOUR <= ts < t,
    "closed_hop": lambda t, ts: floor(t, HOP) - HOUR <= ts < floor(t, HOP),
    # Chronon leaves out an event at exactly t; the page says so.
    "sawtooth": lambda t, ts: floor(t - HOUR, HOP) <= ts <= t,
    "to_date": lambda t, ts: floor(t, HOUR) <= ts <= t,
}
"""By feature of the page, which events the other system counts at `t`, in microseconds."""


@pytest.fixture
def definitions(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """What the page declares."""
    module = types.ModuleType("coming_from")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    with quiet_feast():
        exec(compile(CODE, "coming-from.md", "exec"), module.__dict__)  # noqa: S102 our own docs
    return module


@pytest.mark.parametrize(("title", "text"), DRAWINGS, ids=[title for title, _ in DRAWINGS])
def test_a_drawing_is_what_happens(title: str, text: str) -> None:
    check(read(text))


def test_every_boundary_has_its_drawing_and_its_feature() -> None:
    assert len(DRAWINGS) == len(THEIRS) == CODE.count("aggregation(")


@pytest.mark.parametrize("seed", range(3))
def test_definitions_count_what_the_other_systems_count(definitions: types.ModuleType, seed: int) -> None:
    rng = random.Random(seed)
    ticks = [tick * HOP + step for tick in range(37) for step in (-1, 0, 1)]
    events, lookups = sorted(rng.choices(ticks, k=40)), sorted(rng.sample(ticks, k=30))
    with Testbed([definitions.user_clicks, definitions.user]) as bed:
        for ts in events:
            bed.send("clicks", [{"user": "u", "at": at(ts)}])
        refs = [f"user_clicks:{name}" for name in THEIRS]
        trained = bed.history(refs, [{"user": "u", "event_timestamp": at(t)} for t in lookups]).to_pylist()
        for t, row in zip(lookups, trained, strict=True):
            served = bed.online(refs, [{"user": "u"}], at=at(t)).to_pylist()[0]
            for name, counts in THEIRS.items():
                wanted = sum(counts(t, ts) for ts in events)
                assert served[f"user_clicks__{name}"] == row[f"user_clicks__{name}"] == wanted, (name, t)


def test_to_date_is_a_cumulate_window_one_microsecond_before_its_end(definitions: types.ModuleType) -> None:
    events = [0, HOP - 1, HOP, 3 * HOP, HOUR - 1, HOUR, HOUR + HOP]
    with Testbed([definitions.user_clicks, definitions.user]) as bed:
        for ts in events:
            bed.send("clicks", [{"user": "u", "at": at(ts)}])
        for end in range(HOP, 2 * HOUR + 1, HOP):
            (served,) = bed.online(["user_clicks:to_date"], [{"user": "u"}], at=at(end - 1)).to_pylist()
            assert served["user_clicks__to_date"] == sum(floor(end - 1, HOUR) <= ts < end for ts in events)


def test_an_event_that_is_known_later_is_no_part_of_its_own_features(definitions: types.ModuleType) -> None:
    with Testbed([definitions.user_clicks, definitions.user]) as bed:
        bed.send("clicks", [{"user": "u", "at": at(0)}], known_at=at(50_000))
        row = {"user": "u", "event_timestamp": at(0)}
        counted = {
            as_of: bed.history(["user_clicks:exact"], [row], as_of=as_of)["user_clicks__exact"].to_pylist()
            for as_of in ("known", "event")
        }
        assert counted == {"known": [0], "event": [1]}
        (without,) = bed.history(["user_clicks:without_current_event"], [row], as_of="event").to_pylist()
        assert without["user_clicks__without_current_event"] == 0


def at(us: int) -> datetime:
    return BEGIN + timedelta(microseconds=us)
