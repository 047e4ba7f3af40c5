"""What recording lookups costs the thread that serves them: `python -m benchmarks.audit`.

One client records nothing, one a hundredth (the share that docs/audit.md recommends) and one every lookup; they take turns over the same
requests on an LMDB store. CPU time is the calling thread's alone; wall time also holds what the background thread takes of the
interpreter. Each lookup's answers are compared, and the cost in the caller's thread must stay under 5%.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

from headrace import FeatureClient, OnlineFeatures, Project
from headrace.events.batch import EventBatch
from headrace.online import OnlineStore, Position, SourcePartition, open_store
from headrace.online.apply import Applier
from headrace.online.meta import CLOCK, view_fact
from headrace.plan import Column, DType, Feature, Plan, Source, View, write_plan

MINUTE = 60_000_000
SHARES = (0.0, 0.01, 1.0)

SOURCE = Source(
    name="sales",
    topic="sales",
    model="m:Sale",
    key="shop",
    timestamp_field="at",
    columns=(
        Column(name="shop", dtype=DType.INT64),
        Column(name="price", dtype=DType.FLOAT64),
        Column(name="at", dtype=DType.TIMESTAMP),
    ),
)


def _feature(name: str, function: str, column: str, dtype: DType) -> Feature:
    return Feature(name=name, function=function, column=column, window_us=60 * MINUTE, slide_us=MINUTE, dtype=dtype)


VIEW = View(
    name="shops",
    source="sales",
    entities=(SOURCE.columns[0],),
    features=(
        _feature("sales_1h", "count", "*", DType.INT64),
        _feature("mean_price_1h", "mean", "price", DType.FLOAT64),
        _feature("max_price_1h", "max", "price", DType.FLOAT64),
    ),
)
PLAN = Plan(project="bench", sources={"sales": SOURCE}, views={"shops": VIEW})


def _fill(store: OnlineStore, shops: int, events: int) -> None:
    dice = np.random.default_rng(7)
    ts = 1_700_000_000_000_000 + np.sort(dice.integers(0, 60 * MINUTE, events))
    table = pa.table(
        {
            "shop": pa.array(dice.integers(0, shops, events)),
            "price": pa.array(dice.random(events)),
            "at": pa.array(ts, pa.timestamp("us", "UTC")),
        }
    )
    batch = EventBatch(SOURCE, table, ts, np.zeros(events, np.int64), np.arange(events), ts, ts)
    store.set_meta({CLOCK: "record", view_fact("shops"): VIEW.hash})
    end = Position(events - 1, int(ts.max()), int(ts.max()))
    Applier(PLAN, store).apply([batch], {SourcePartition("sales", 0): end})


def _measure(clients: Sequence[FeatureClient], lookups: int, rows: int, shops: int) -> list[list[tuple[int, int]]]:
    """CPU and wall time in ns of each lookup, by client."""
    dice = np.random.default_rng(8)
    taken: list[list[tuple[int, int]]] = [[] for _ in clients]
    for number in range(lookups):
        entities = [{"shop": int(shop)} for shop in dice.integers(0, shops, rows)]
        answers: list[OnlineFeatures | None] = [None] * len(clients)
        for turn in range(len(clients)):
            chosen = (number + turn) % len(clients)  # none is always the one that finds the caches warm
            wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
            answers[chosen] = clients[chosen].get_online_features("shops:*", entities)
            taken[chosen].append((time.thread_time_ns() - cpu, time.perf_counter_ns() - wall))
        told = [answer.to_dict() for answer in answers if answer is not None]
        assert all(one == told[0] for one in told), f"Lookup {number} was answered in two ways."
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lookups", type=int, default=3_000)
    parser.add_argument("--rows", type=int, default=10, help="entities per lookup")
    given = parser.parse_args()
    shops = 1_000
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "headrace.toml").write_text('[headrace]\nclock = "record"\n', encoding="utf-8")
        project = Project.load(folder)
        write_plan(PLAN, project.plan_path)
        with open_store(project.store_url, writable=True) as store:
            _fill(store, shops, 50_000)
            clients = [FeatureClient(project, store=store, audit=share) for share in SHARES]
            _measure(clients, 100, given.rows, shops)  # warm up: the threads have started, Delta Lake is imported
            taken = _measure(clients, given.lookups, given.rows, shops)
            for client in clients:
                client.close()
            recorders = [client.recorder for client in clients]
    print(f"{given.lookups:,} lookups of {given.rows} entities each; every answer the same for every client")
    print(f"{'recorded':>10} {'cpu µs':>10} {'cost':>8} {'wall µs':>10} {'cost':>8} {'written':>9} {'dropped':>9}")
    base = [median(times) for times in zip(*taken[0], strict=True)]
    for share, times, recorder in zip(SHARES, taken, recorders, strict=True):
        cpu, wall = (median(values) for values in zip(*times, strict=True))
        written, dropped = (recorder.recorded, recorder.dropped) if recorder else (0, 0)
        costs = f"{cpu / 1e3:>10.1f} {cpu / base[0] - 1:>8.2%} {wall / 1e3:>10.1f} {wall / base[1] - 1:>8.2%}"
        print(f"{share:>10.0%} {costs} {written:>9,} {dropped:>9,}")
        assert cpu / base[0] - 1 < 0.05, "Recording costs the calling thread 5% or more."


if __name__ == "__main__":
    main()
