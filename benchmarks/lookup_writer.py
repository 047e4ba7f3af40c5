"""A writer at full speed beside the lookup benchmark: it applies rounds of payments to the store, as a worker does.

    python -m benchmarks.lookup_writer URL USERS FIRST_OFFSET

It prints `ready` after the first round, goes on until its input ends (or a minute has passed), and then prints how many
events it applied per second.
"""

from __future__ import annotations

import select
import sys
import time

import numpy as np

from benchmarks.lookup_store import PLAN, apply
from headrace.records.applier import Applier
from headrace.stores import open_store

_ROUND = 5_000
_AT_MOST_S = 60.0


def main() -> None:
    """Write until told to stop."""
    url, users, first = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    dice = np.random.default_rng(11)
    with open_store(url, writable=True) as store:
        applier = Applier(PLAN, store)
        began, done = time.monotonic(), 0
        while time.monotonic() - began < _AT_MOST_S and not select.select([sys.stdin], [], [], 0)[0]:
            now_us = time.time_ns() // 1000
            user = dice.integers(0, users, _ROUND)
            apply(applier, user, dice.integers(1, 100_000, _ROUND) / 100, np.full(_ROUND, now_us), first + done)
            done += _ROUND
            if done == _ROUND:
                print("ready", flush=True)
        print(done / (time.monotonic() - began), flush=True)


if __name__ == "__main__":
    main()
