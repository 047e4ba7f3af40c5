"""What recording lookups costs the thread that serves them.

    python -m benchmarks.audit [--quick] [--json] [--rounds N]

One client records nothing, one a hundredth (the share that docs/audit.md recommends) and one every lookup; they take
turns over the same requests on an LMDB store. CPU time is the calling thread's alone; wall time also holds what the
background thread takes of the interpreter. Each lookup's answers are compared, and the cost in the caller's thread is
to stay under 5%.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa

from benchmarks.side_by_side import Measure, Options, Report, command_line
from headrace import FeatureClient, OnlineFeatures, Project
from headrace.config import Clock
from headrace.events.event_batch import EventBatch
from headrace.events.source_partition import SourcePartition
from headrace.plan import Column, DType, Feature, Plan, Source, View, write_plan
from headrace.records.applier import Applier
from headrace.stores import CatalogueChange, OnlineStore, Position, open_store

MINUTE = 60_000_000
SHARES = {"nothing recorded": 0.0, "a hundredth recorded": 0.01, "everything recorded": 1.0}

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
    store.change(CatalogueChange().clock(Clock.RECORD).serve([VIEW]))
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


def run(options: Options) -> Report:
    """Measure.

    Args:
        options: How often, and how much.
    """
    shops, entities = 1_000, 10
    lookups = 50 if options.quick else 1_000
    sides: dict[str, dict[str, list[float]]] = {kind: {name: [] for name in SHARES} for kind in ("CPU", "wall")}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "headrace.toml").write_text('[headrace]\nclock = "record"\n', encoding="utf-8")
        project = Project.load(folder)
        write_plan(PLAN, project.plan_file)
        with open_store(project.store_url, writable=True) as store:
            _fill(store, shops, 5_000 if options.quick else 50_000)
            clients = [FeatureClient(project, store=store, audit=share) for share in SHARES.values()]
            _measure(
                clients, lookups // 10, entities, shops
            )  # warm up: the threads have started, Delta Lake is imported
            for _ in range(options.rounds):
                for name, times in zip(SHARES, _measure(clients, lookups, entities, shops), strict=True):
                    for kind, taken in zip(sides, zip(*times, strict=True), strict=True):
                        sides[kind][name].append(median(taken) / 1e3)
            for client in clients:
                client.close()
    none, hundredth, every = SHARES
    measures = [
        Measure("CPU per lookup, a hundredth recorded", "µs", sides["CPU"], hundredth, none, target=0.95),
        Measure("CPU per lookup, every one recorded", "µs", sides["CPU"], every, none, target=0.95),
        Measure("wall time per lookup, a hundredth recorded", "µs", sides["wall"], hundredth, none),
    ]
    return Report("audit", {"lookups": lookups, "entities each": entities, "rounds": options.rounds}, measures)


if __name__ == "__main__":
    command_line("audit", run)
