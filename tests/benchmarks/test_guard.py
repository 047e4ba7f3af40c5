"""The regression guard: ours beside a fixed loop of pure Python in one run. Ratios, never seconds; half is enough."""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from benchmarks.in_process import local, rounds_of
from benchmarks.peers.protocol import PACKED
from benchmarks.peers.tiles import Tiles, add, features
from benchmarks.side_by_side import in_turns
from benchmarks.workload import Payments, assert_features, user_id
from headrace.worker.rounds import Round

END_MS = 1_790_000_000_000
ROUNDS = 5

FAST_ENOUGH = {"skewed": 0.7, "uniform": 0.35}
"""How many times as fast as the loop ours must be. The loop stores no record, checks nothing and survives nothing."""


@pytest.fixture(autouse=True)
def undisturbed() -> Iterator[None]:
    """What other tests have left is not walked by the collector while something is measured."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.slow
@pytest.mark.parametrize("keys", ["skewed", "uniform"])
def test_pipeline_keeps_up_with_a_loop_of_pure_python(keys: str, tmp_path: Path) -> None:
    payments = Payments(15_000, 1_000 if keys == "skewed" else 10_000, keys == "skewed", END_MS)
    rounds = rounds_of(payments)
    sides = {"ours": partial(pipeline, payments, rounds, tmp_path), "loop": partial(loop, payments, rounds)}
    seconds = in_turns(sides, ROUNDS)
    # The least of each: what else the machine does can only add.
    ratio = min(seconds["loop"]) / min(seconds["ours"])
    assert ratio > FAST_ENOUGH[keys], (
        f"ours is {ratio:.2f} times as fast as the loop; it used to be twice {FAST_ENOUGH[keys]}"
    )


def pipeline(payments: Payments, rounds: list[Round], folder: Path) -> float:
    with local(folder / str(time.monotonic_ns())) as ours:
        seconds = ours.feed(rounds)
        users = payments.sample(20)
        now_ms, found = ours.features(users)
    for user, values in zip(users, found, strict=True):
        assert_features("ours", payments, user, now_ms, values)
    return seconds


def loop(payments: Payments, rounds: list[Round]) -> float:
    """Decode with the standard library, add to tiles in dicts, and compute the features of the users of each round."""
    begun = time.perf_counter()
    users: dict[str, Tiles] = {}
    store: dict[str, bytes] = {}
    newest = 0
    for round_ in rounds:
        touched = set()
        for read in round_.reads.values():
            for value in read.records.values:
                event = json.loads(value or b"")
                user, ts = event["user_id"], event["ts"]
                newest = max(newest, ts)
                add(users.setdefault(user, ({}, {})), ts, event["amount"])
                touched.add(user)
        store.update((user, features(users[user], newest)) for user in touched)
    seconds = time.perf_counter() - begun
    for number in payments.sample(20):
        now_ms, *values = PACKED.unpack(store[user_id(number)])
        assert_features("the loop", payments, number, now_ms, values)
    return seconds
