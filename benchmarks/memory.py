"""The memory and disk that a worker takes for a million keys, on LMDB.

    python -m benchmarks.memory [--quick] [--json] [--rounds N] [--broker HOST:PORT]

A whole worker reads a topic with a given number of keys, as in production (system clock, LMDB, log). The kernel says
ten times a second how much memory is resident. `RssAnon` is what the process has for itself. `RssFile` is mapped files:
pages of the store that the kernel drops when others need the memory. Linux only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks import servers
from benchmarks.peers.protocol import WINDOWS
from benchmarks.side_by_side import Measure, Options, Report, Skipped, command_line
from benchmarks.workers import running_workers
from benchmarks.workload import VIEW, Payments, assert_features, fill, payments_plan, user_id, write_project
from headrace import FeatureClient, Project
from headrace.config import Clock
from headrace.errors import HeadraceError
from headrace.events.source_partition import SourcePartition
from headrace.kafka import KafkaConnection, end_offsets
from headrace.stores import open_store

_LIMIT_MIB = 2048.0
_MIB = 1 << 20
_SAMPLE = 20
_TIMEOUT_S = 600
_LOOK_S = 0.1


def run(options: Options) -> Report:
    """Run the benchmark.

    Args:
        options: Its options; `broker` is its own.

    Raises:
        Skipped: The system is not Linux.
    """
    if not Path("/proc/self/status").exists():
        why = "there is no /proc on this system."
        raise Skipped(why)
    # Drawn at random, 1,160,000 users are a million after twice as many events.
    keys = 11_600 if options.quick else 1_160_000
    with _filled(options, keys) as (folder, address, topic, payments):
        runs = [
            _one_run(folder / f"run-{number}", address, topic, payments)
            for number in range(1 if options.quick else min(options.rounds, 3))
        ]
    sides = {name: [one[name] for one in runs] for name in runs[0]}
    users = len(np.unique(payments.user))
    memory = {name: sides[name] for name in ("RssAnon + RssFile", "RssAnon", "RssFile")}
    tiles = _tiles(payments)
    disk = sides["store"]
    per_key, per_tile = ([one / count for one in disk] for count in (users, tiles))
    five_words = [40.0]  # a tile's number, count, sum, min and max
    measures = [
        Measure(
            f"peak memory at {users:,} keys",
            "MiB",
            {**memory, "limit": [_LIMIT_MIB]},
            "RssAnon + RssFile",
            "limit",
            target=1.0,
        ),
        Measure("bytes per key on disk", "B", {"LMDB": per_key, "dense rings": [5_700.0]}, "LMDB", "dense rings"),
        Measure("bytes per tile on disk", "B", {"LMDB": per_tile, "its numbers": five_words}, "LMDB", "its numbers"),
    ]
    sizes: dict[str, int | str] = {"keys": users, "events": payments.events, "live tiles": tiles, "rounds": len(runs)}
    return Report("memory", sizes, measures)


@contextmanager
def _filled(options: Options, keys: int) -> Iterator[tuple[Path, str, str, Payments]]:
    payments = Payments(2 * keys, keys, skewed=False, end_ms=int(time.time() * 1000), step_ms=30)
    topic = f"payments-{time.time_ns()}"
    with (
        tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder,
        servers.broker(Path(folder), options.more.get("broker")) as address,
    ):
        fill(address, topic, payments)
        yield Path(folder), address, topic, payments


def _one_run(folder: Path, broker: str, topic: str, payments: Payments) -> dict[str, float]:
    """The peaks of one worker's run in MiB, and the store's bytes on disk."""
    write_project(
        folder, payments_plan(topic), broker, clock=Clock.SYSTEM, group=f"bench-{time.time_ns()}", session_timeout=2.0
    )
    ends = {
        SourcePartition(*source): end for source, end in end_offsets(KafkaConnection.of(broker), [topic]).items() if end
    }
    peaks = {"RssAnon + RssFile": 0.0, "RssAnon": 0.0, "RssFile": 0.0}
    begun = time.monotonic()
    with running_workers(folder, 1) as (worker,):
        while not _has_read(folder, ends):
            assert worker.process.poll() is None, (folder / "workers.log").read_text()[-4_000:]
            assert time.monotonic() - begun < _TIMEOUT_S, "The worker does not come to the end."
            for name, value in _resident(worker.process.pid).items():
                peaks[name] = max(peaks[name], value)
            time.sleep(_LOOK_S)
    with FeatureClient(Project.load(folder)) as client:
        users = payments.sample(_SAMPLE)
        served = client.get_online_features([f"{VIEW}:*"], {"user_id": [user_id(user) for user in users]})
    columns = [values for name, values in served.to_dict().items() if name.startswith(f"{VIEW}__")]
    for row, user in enumerate(users):
        assert_features("headrace", payments, user, served.at_us // 1000, [one[row] for one in columns])
    disk = sum(file.stat().st_blocks * 512 for file in (folder / ".headrace" / "online").rglob("*") if file.is_file())
    print(f"{payments.events:,} events: {peaks}, {disk / _MIB:,.0f} MiB on disk", file=sys.stderr, flush=True)
    return {**peaks, "store": float(disk)}


def _resident(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    kib = {
        name: int(rest.split()[0])
        for name, _, rest in (line.partition(":") for line in lines)
        if name.startswith("Rss")
    }
    anon, file = kib["RssAnon"] / 1024, kib["RssFile"] / 1024
    return {"RssAnon + RssFile": anon + file, "RssAnon": anon, "RssFile": file}


def _has_read(folder: Path, ends: dict[SourcePartition, int]) -> bool:
    try:
        with open_store(Project.load(folder).store_url, writable=False) as store:
            positions = store.positions()
    except HeadraceError:
        return False  # the worker has not made it yet
    done = {source: position.offset + 1 for source, position in positions.items()}
    return all(done.get(source, 0) >= end for source, end in ends.items())


def _tiles(payments: Payments) -> int:
    """How many tiles a window still reaches at the last event."""
    count = 0
    for slide, length in WINDOWS:
        tile = payments.ts_ms // slide
        live = tile > payments.end_ms // slide - length
        count += len(np.unique(payments.user[live] * (1 << 32) + tile[live]))
    return count


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--broker", metavar="HOST:PORT", help="an Apache Kafka that runs; else the embedded broker")


if __name__ == "__main__":
    command_line("memory", run, more=_options)
