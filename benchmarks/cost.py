"""What an event costs in process, by things that should not matter: tiles per window, and how long the stream has run.

    python -m benchmarks.cost [--quick] [--json] [--rounds N]

The worker's pipeline is fed from memory: it decodes, validates, applies and writes LMDB. The answers for a sample of
users are compared with numpy's. Each figure is µs per event once the windows are full. `plots.py` draws the same
measurements, and others, over wider ranges.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.in_process import local, rounds_of
from benchmarks.peers.protocol import WINDOWS
from benchmarks.side_by_side import Measure, Options, Report, command_line, in_turns
from benchmarks.workload import PARTITIONS, Payments, assert_features

__all__ = ["by_tiles", "cost_us", "now_ms", "over_a_year"]

_MINUTE_MS = 60_000
_YEAR_MS = 365 * 24 * 60 * _MINUTE_MS
_SAMPLE = 10
_ROUND = 5_000


def run(options: Options) -> Report:
    """Run the benchmark.

    Args:
        options: Its options.
    """
    few, many = (15, 120) if options.quick else (60, 1_440)
    tiles = {f"{n:,} tiles": partial(by_tiles, n, options.quick) for n in (few, many)}
    found = in_turns(tiles, options.rounds)
    year = [over_a_year(options.quick) for _ in range(options.rounds)]
    parts = {"last tenth": [one[-1] for one in year], "second tenth": [one[1] for one in year]}
    measures = [
        Measure(
            f"µs per event, a window of {many:,} tiles ÷ {few}",
            "µs",
            found,
            f"{many:,} tiles",
            f"{few:,} tiles",
            target=0.8,
        ),
        Measure("µs per event over a year of event time", "µs", parts, "last tenth", "second tenth", target=0.8),
    ]  # fmt: skip
    return Report("cost", {"rounds": options.rounds}, measures)


def by_tiles(tiles: int, quick: bool = False) -> float:
    """Measure a window of that many tiles, each of a minute, in all of which a user has events.

    Args:
        tiles: How many.
        quick: Fewer users.

    Returns:
        µs per event.
    """
    users = 20 if quick else 200
    measured = 4_000 if quick else 20_000
    payments = Payments(users * tiles + measured, users, False, now_ms(), step_ms=_MINUTE_MS // users)
    return cost_us(payments, measured, windows=[(_MINUTE_MS, tiles)])


def over_a_year(quick: bool = False) -> list[float]:
    """Measure a year of event time.

    Args:
        quick: Fewer events.

    Returns:
        µs per event in each tenth of the year.
    """
    events = 20_000 if quick else 200_000
    payments = Payments(events, 1_000, True, now_ms(), step_ms=_YEAR_MS // events)
    rounds = rounds_of(payments, events // 100)
    with tempfile.TemporaryDirectory() as folder, local(Path(folder)) as pipeline:
        taken = [pipeline.feed(rounds[tenth * 10 : tenth * 10 + 10]) for tenth in range(10)]
        _check(payments, *pipeline.features(payments.sample(_SAMPLE)))
    return [seconds / events * 10 * 1e6 for seconds in taken]


def cost_us(
    payments: Payments,
    measured: int,
    windows: Sequence[tuple[int, int]] = WINDOWS,
    partitions: int = PARTITIONS,
) -> float:
    """Apply events and measure the last of them.

    Args:
        payments: The events.
        measured: How many of the last ones to measure.
        windows: The slide in ms, and how many slides long, of each window.
        partitions: Over how many partitions they are spread.

    Returns:
        µs per event.
    """
    rounds = rounds_of(payments, _ROUND, partitions)
    last = max(measured // _ROUND, 1)
    with tempfile.TemporaryDirectory() as folder, local(Path(folder), windows) as pipeline:
        pipeline.feed(rounds[:-last])
        seconds = pipeline.feed(rounds[-last:])
        _check(payments, *pipeline.features(payments.sample(_SAMPLE)), windows)
    return seconds / sum(map(len, rounds[-last:])) * 1e6


def _check(
    payments: Payments, now_ms: int, found: list[list[float | None]], windows: Sequence[tuple[int, int]] = WINDOWS
) -> None:
    for user, values in zip(payments.sample(_SAMPLE), found, strict=True):
        assert_features("headrace", payments, user, now_ms, values, windows)


def now_ms() -> int:
    """Now, in ms: when the last event arrives."""
    return int(time.time() * 1000)


if __name__ == "__main__":
    command_line("cost", run)
