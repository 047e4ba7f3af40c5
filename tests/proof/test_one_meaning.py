"""Online, from the log and by brute force, every value of random cases is the same. `make prove` runs 20,000 cases."""

from __future__ import annotations

import random
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.aggregates.registry import AGGREGATES
from headrace.events.event_batch import EventBatch
from headrace.history import PointInTimeJoin
from headrace.testing.sent_events import KnownDecoder
from proofs import brute
from proofs.brute import Meaning, Want
from proofs.cases import HISTORIES, make_case
from proofs.check import CASES, check_block, check_cases, same
from proofs.prove import main, prove

FIRST_SEED = 1_000_000
PARTS = 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=pytest.mark.xdist_group(f"cases {part}")) for part in range(PARTS)]
)
def test_thousand_cases_agree_on_every_value(part: int) -> None:
    """A thousand in all; the parts can run side by side."""
    blocks = -(-1_000 // (PARTS * CASES))
    total = prove(blocks * CASES, FIRST_SEED + part * blocks, processes=1)
    assert total.mismatches == []
    assert total.cases * PARTS >= 1_000
    assert total.values.total() * PARTS > 50_000
    assert total.restarts * PARTS > 50
    assert total.replays * PARTS > 30


@settings(max_examples=3, deadline=None)
@given(st.integers(0, 2**60))
def test_cases_of_any_seed_agree(seed: int) -> None:
    assert check_block(seed, 2).mismatches == []


def test_every_aggregate_has_a_brute_force() -> None:
    assert set(AGGREGATES) <= set(brute.AGGREGATES)


def is_found(*kinds: str, blocks: int = 5) -> bool:
    """Whether a mismatch of each kind is found among a few blocks of cases."""
    found: list[str] = []
    for seed in range(blocks):
        found += check_block(FIRST_SEED + seed).mismatches
        if all(any(kind in one for one in found) for kind in kinds):
            return True
    return False


@pytest.mark.slow
def test_event_known_a_microsecond_early_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    decode = KnownDecoder.decode

    def early(self: KnownDecoder, *given: Any) -> Any:
        batch, dead = decode(self, *given)
        batch.known_us = batch.known_us - 1
        return batch, dead

    monkeypatch.setattr(KnownDecoder, "decode", early)
    assert is_found("history as of known")


@pytest.mark.slow
def test_wrong_order_of_ties_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(EventBatch, "position", property(lambda self: -self.offset))
    monkeypatch.setattr("proofs.cases._Drawing.jitter", lambda self: 0)
    assert is_found("online")


@pytest.mark.slow
def test_history_that_leaves_an_event_out_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    join = PointInTimeJoin.join

    def earlier(self: PointInTimeJoin, spine: Any, refs: Any, **options: Any) -> Any:
        moments = spine["event_timestamp"].cast(pa.int64()).combine_chunks().to_numpy() - 1
        at = spine.column_names.index("event_timestamp")
        spine = spine.set_column(at, "event_timestamp", pa.array(moments, pa.timestamp("us", "UTC")))
        return join(self, spine, refs, **options)

    monkeypatch.setattr(PointInTimeJoin, "join", earlier)
    assert is_found("history as of known", "history as of event")


@pytest.mark.parametrize(
    ("function", "found", "want", "is_same"),
    [
        ("sum", 1.0, Want(1.0 + 1e-10), True),
        ("sum", 1.0, Want(1.0 + 1e-8), False),
        ("sum", 0.1, Want(0.0, slack=1.0), True),
        ("sum", float("nan"), Want(float("nan")), True),
        ("sum", float("inf"), Want(1e308), False),
        ("sum", None, Want(0), False),
        ("max", 1.0, Want(1.0 + 1e-10), False),
        ("count", True, Want(1), False),
        ("last_n", [1.0, float("nan")], Want([1.0, float("nan")]), True),
        ("last_n", [1.0], Want([1.0, 1.0]), False),
        ("last", None, Want(None), True),
    ],
)
def test_values_are_compared_exactly_or_to_a_billionth(function: str, found: Any, want: Want, is_same: bool) -> None:
    assert same(function, found, want) is is_same


@pytest.mark.parametrize(
    ("window", "slide", "offset", "counted"),
    [
        (None, None, 0, [0, 9, 10, 19, 20, 29, 30, 31]),
        (20, 10, 0, [10, 19, 20, 29]),
        (20, 1, 0, [9, 10, 19, 20]),
        (10, 10, 10, [10, 19]),
    ],
)
def test_brute_force_counts_the_windows_of_the_definition(
    window: int | None, slide: int | None, offset: int, counted: list[int]
) -> None:
    t = 28 if slide == 1 else 29
    meaning = Meaning("f", "count", "*", window, slide, offset=offset)
    found = [ts for ts in (0, 9, 10, 19, 20, 29, 30, 31) if brute.in_window(meaning, ts, t)]
    assert found == counted


@pytest.mark.slow
def test_command_prints_what_it_compared(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--cases", str(CASES), "--processes", "1", "--seed", "7"]) == 0
    said = capsys.readouterr().out
    assert f"{CASES} cases (seeds 7 to 7, {CASES} cases each)" in said
    assert "for every value" in said


def test_case_is_drawn_from_its_seed_alone() -> None:
    assert repr(make_case(5, 0)) == repr(make_case(5, 0))
    one = check_cases([make_case(5, 0)], random.Random(1), "one")
    assert one.cases == HISTORIES
