"""Training data from the log: headrace's join beside Feast on DuckDB, hand-written DuckDB ASOF joins and pandas.

    python -m benchmarks.point_in_time [--quick | --full] [--rounds N] [--json]

All sides give the latest values of ten columns at each row of a spine, from the same events: ours and SQL from the
log's files, Feast and pandas from one Parquet file with the same rows in the same order. That is all Feast's store can:
it computes no windows. Ours then gives ten features of two windows (a day by 15 minutes, seven days by the hour) as
they were known, one event in twenty having come late; they are compared with plain SQL for the spine's first rows.

Each run of a side is a process of its own, whose first few rows are not timed and whose peak of resident memory is told
by the kernel. Linux only. A side that takes over a minute runs once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.side_by_side import Measure, Options, Report, Skipped, command_line, in_turns
from benchmarks.spines_data import KEYS, make_events, make_spine

__all__ = ["one_run", "run"]

_OURS, _WINDOWED, _FEAST = "headrace", "headrace windowed", "Feast"
_SQL = ("ASOF", "ASOF late-materialised")
_CHECKED_ROWS = 300
_MINUTE = 60.0
_LIMIT_MIB = 2048.0
_FEAST_ROWS, _FEAST_PAIRS = 1_000_000, 10_000_000_000_000
"""Rows from which ours should be ten times as fast; and rows times events at which Feast needs more than 16 GB."""


class _Size(NamedTuple):
    rows: int
    events: int

    def __str__(self) -> str:
        return f"{_short(self.rows)} rows × {_short(self.events)} events"


_QUICK = (_Size(500, 5_000),)
_DEFAULT = (
    _Size(10_000, 1_000_000),
    _Size(100_000, 1_000_000),
    _Size(1_000_000, 1_000_000),
    _Size(1_000_000, 10_000_000),
)
_FULL = (*_DEFAULT, _Size(10_000, 10_000_000), _Size(100_000, 10_000_000))


class _Run(NamedTuple):
    seconds: float
    peak_mib: float


def run(options: Options) -> Report:
    """Run the benchmark.

    Args:
        options: Its options; `full` is its own.

    Raises:
        Skipped: The system is not Linux, or a peer is not installed.
    """
    if not Path("/proc/self/status").exists():
        why = "there is no /proc on this system."
        raise Skipped(why)
    missing = [name for name in ("feast", "ibis", "pandas") if find_spec(name) is None]
    if missing:
        why = f"{missing[0]} is not installed: pip install 'feast[duckdb]'."
        raise Skipped(why)
    sizes = _QUICK if options.quick else _FULL if options.more.get("full") else _DEFAULT
    measures: list[Measure] = []
    notes: list[str] = []
    with tempfile.TemporaryDirectory(prefix="headrace-bench-") as folder:
        for events in dict.fromkeys(size.events for size in sizes):
            home = Path(folder) / str(events)
            make_events(home, events)
            for size in (size for size in sizes if size.events == events):
                measures += _measured(size, home, options, notes)
    return Report("point_in_time", {"users": KEYS, "columns": 10}, measures, notes)


def _measured(size: _Size, home: Path, options: Options, notes: list[str]) -> list[Measure]:
    spine = home / f"{size.rows}.parquet"
    make_spine(spine, size.rows)
    names = [_OURS, _WINDOWED, _FEAST, *_SQL, "pandas"]
    if size.rows * size.events >= _FEAST_PAIRS:
        names.remove(_FEAST)
        notes.append(f"{size}: without Feast, which needs more than 16 GB for it.")
    found = {name: [one_run(name, home, spine, out=home / f"{name}.parquet")] for name in names}
    _assert_equal(home, spine, names)
    quick_ones = [name for name in names if found[name][0].seconds < _MINUTE]
    notes += [f"{size}: {name} ran once." for name in names if name not in quick_ones and options.rounds > 1]
    sides = {name: partial(one_run, name, home, spine) for name in quick_ones}
    for name, runs in in_turns(sides, options.rounds - 1).items():
        found[name] += runs
    return _measures(size, found, notes)


def _measures(size: _Size, found: dict[str, list[_Run]], notes: list[str]) -> list[Measure]:
    seconds = {name: [one.seconds for one in runs] for name, runs in found.items()}
    peaks = {name: [one.peak_mib for one in runs] for name, runs in found.items()}
    latest = {name: runs for name, runs in seconds.items() if name != _WINDOWED}
    best = min(_SQL, key=lambda name: float(np.median(seconds[name])))
    beside_sql = {name: latest[name] for name in (_OURS, *_SQL)}
    told = [Measure(f"latest values, {size}, beside the best SQL", "s", beside_sql, _OURS, best, target=1 / 1.3)]
    if _FEAST in latest:
        target = 10.0 if size.rows >= _FEAST_ROWS else 1.0
        others = {name: latest[name] for name in (_OURS, _FEAST, "pandas")}
        told.append(Measure(f"latest values, {size}, beside Feast", "s", others, _OURS, _FEAST, target=target))
    windows = {_WINDOWED: seconds[_WINDOWED], _OURS: seconds[_OURS]}
    told.append(
        Measure(f"windows as known, {size}, beside latest values", "s", windows, _WINDOWED, _OURS, target=1 / 3)
    )
    greatest = [max(pair) for pair in zip(peaks[_OURS], peaks[_WINDOWED], strict=False)]
    memory = {
        _OURS: greatest,
        "limit": [_LIMIT_MIB],
        **{name: runs for name, runs in peaks.items() if name in latest and name != _OURS},
    }
    told.append(Measure(f"peak memory, {size}", "MiB", memory, _OURS, "limit", target=1.0))
    return told


def one_run(side: str, home: Path, spine: Path, out: Path | None = None) -> _Run:
    """A join by one side, in a process of its own.

    Args:
        side: Whose.
        home: The folder with the events.
        spine: The file of the spine.
        out: Where the answers go; None keeps none.
    """
    command = [sys.executable, "-m", "benchmarks.spines_sides", side, str(home), str(spine)]
    command += [] if out is None else ["--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 our own module
    if done.returncode:
        msg = f"{side} failed:\n{done.stderr[-2000:]}"
        raise RuntimeError(msg)
    told = json.loads(done.stdout.splitlines()[-1])
    return _Run(told["seconds"], told["peak_mib"])


def _assert_equal(home: Path, spine: Path, names: Sequence[str]) -> None:
    """Every side's latest values, and ours of windows beside plain SQL's for the first rows."""
    ours = pq.read_table(home / f"{_OURS}.parquet")
    for name in names:
        if name not in (_OURS, _WINDOWED):
            _assert_same(ours, pq.read_table(home / f"{name}.parquet"), name)
    some = home / "some.parquet"
    pq.write_table(pq.read_table(spine).slice(0, _CHECKED_ROWS), some)
    one_run("SQL of windows", home, some, out=home / "windows.parquet")
    windowed = pq.read_table(home / f"{_WINDOWED}.parquet").slice(0, _CHECKED_ROWS)
    _assert_same(windowed, pq.read_table(home / "windows.parquet"), "SQL of windows")


def _assert_same(ours: pa.Table, theirs: pa.Table, side: str) -> None:
    """Integers exactly, doubles to 1e-9 relative, nulls in the same rows. In pandas a null is NaN."""
    assert ours.column_names == theirs.column_names
    assert ours.num_rows == theirs.num_rows
    for name in ours.column_names:
        left, right = (np.asarray(one.column(name).to_pandas(), np.float64) for one in (ours, theirs))
        np.testing.assert_allclose(left, right, rtol=1e-9, equal_nan=True, err_msg=f"{name} of {side}")


def _short(number: int) -> str:
    for size, letter in ((1_000_000, "M"), (1_000, "k")):
        if number >= size and number % size == 0:
            return f"{number // size}{letter}"
    return str(number)


def _more(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--full", action="store_true", help="all sizes")


if __name__ == "__main__":
    command_line("point_in_time", run, more=_more)
