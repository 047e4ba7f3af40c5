"""What the log costs: appends beside plain Delta Lake and Parquet, the worker without it, a day of small appends.

    python -m benchmarks.log [--quick] [--json] [--rounds N]

All sides of a measure write the same rows, and what they wrote is read back and compared first. Ours commits positions
with the rows, refuses what it has, and merges the small files that it leaves; its own upkeep is on, and its time
counts.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable, write_deltalake

from benchmarks.in_process import rounds_of
from benchmarks.payments.events import Payment
from benchmarks.side_by_side import Measure, Options, Report, command_line, in_turns
from benchmarks.workload import PARTITIONS, Payments, payments_plan
from headrace.config import Clock
from headrace.events.decode import EventDecoder
from headrace.log import EventLog
from headrace.log.log_columns import laid_out, table_schema
from headrace.stores import CatalogueChange, open_store
from headrace.worker.log_rows import log_rows
from headrace.worker.pipeline import Pipeline
from headrace.worker.rounds import Round
from headrace.worker.worker import FLUSH_EVENTS

OURS, DELTA, PARQUET = "headrace", "write_deltalake", "pyarrow Parquet"
WITH, WITHOUT = "with the log", "without"

_SHARE = 0.85
_TOPIC = "payments"
_PLAN = payments_plan(_TOPIC)
_SOURCE = _PLAN.sources["payments"]
_FOLDERS = count(1)
_OWN = ["_partition", "_offset", "_ts_us", "_known_at_us", "event_id", "user_id", "amount", "merchant"]


@dataclass(frozen=True)
class Append:
    """Rows of one append, and the last offset by partition that it stands for."""

    rows: pa.Table
    positions: dict[int, int]


class _NoLetters:
    """Where no dead letters go: the events here are good."""

    def send(self, letters: object) -> None:
        """Refuse."""
        assert not letters, "an event was refused"

    def flush(self) -> None:
        """There are none."""


def appends_of(rounds: list[Round], rows: int) -> list[Append]:
    """What a worker appends, with at least that many rows each."""
    decoder, found = EventDecoder(_SOURCE, Payment), list[Append]()
    batches, positions = [], dict[int, int]()
    for number, round_ in enumerate(rounds, 1):
        for source, read in round_.reads.items():
            batch, dead = decoder.decode(read.records, None)
            assert not dead
            batches.append(batch)
            positions[source.partition] = int(batch.offset[-1])
        if sum(map(len, batches)) >= rows or number == len(rounds):
            found.append(Append(log_rows(_SOURCE, batches), dict(positions)))
            batches = []
    return found


def with_headrace(folder: Path, appends: list[Append]) -> None:
    """The log as the worker writes it."""
    log = EventLog(folder, _SOURCE)
    for append in appends:
        log.append(append.rows, append.positions)


def with_delta(folder: Path, appends: list[Append]) -> None:
    """The same rows by Delta Lake's own writer, by date too."""
    schema = table_schema(_SOURCE)
    for append in appends:
        write_deltalake(folder / _TOPIC, laid_out(append.rows, schema, _TOPIC), mode="append", partition_by=["_date"])


def with_parquet(folder: Path, appends: list[Append]) -> None:
    """Files alone: no commit, nothing refused, not by date."""
    (folder / _TOPIC).mkdir()
    for number, append in enumerate(appends):
        pq.write_table(append.rows, folder / _TOPIC / f"{number}.parquet")


def held(folder: Path) -> pa.Table:
    """What a side wrote, by position."""
    path = folder / _TOPIC
    is_delta = (path / "_delta_log").is_dir()
    found = DeltaTable(path).to_pyarrow_dataset() if is_delta else ds.dataset(path)
    return (
        found.to_table(columns=_OWN).sort_by([("_partition", "ascending"), ("_offset", "ascending")]).combine_chunks()
    )


WRITERS: dict[str, Callable[[Path, list[Append]], None]] = {
    OURS: with_headrace,
    DELTA: with_delta,
    PARQUET: with_parquet,
}


@contextmanager
def _folder(root: Path) -> Iterator[Path]:
    folder = root / str(next(_FOLDERS))
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _assert_equal(root: Path, appends: list[Append]) -> None:
    wanted = None
    for name, write in WRITERS.items():
        with _folder(root) as folder:
            write(folder, appends)
            found = held(folder)
        wanted = found if wanted is None else wanted
        assert found.equals(wanted.cast(found.schema)), f"{name} holds other rows."
    assert wanted is not None
    assert wanted.num_rows == sum(append.rows.num_rows for append in appends), "Rows are missing."


def _write_rate(root: Path, write: Callable[[Path, list[Append]], None], appends: list[Append]) -> float:
    with _folder(root) as folder:
        begun = time.perf_counter()
        write(folder, appends)
        rows = sum(int(append.rows.num_rows) for append in appends)
        return rows / (time.perf_counter() - begun)


def _worker_rate(root: Path, rounds: list[Round], *, logged: bool) -> float:
    """A worker's rounds as it runs them: applied in one thread, flushed in another once enough wait."""
    with _folder(root) as folder, open_store(f"lmdb:{folder / 'online'}", writable=True) as store:
        store.change(CatalogueChange().clock(Clock.RECORD).serve(_PLAN.views.values()))
        logs = {_TOPIC: EventLog(folder / "log", _SOURCE)} if logged else {}
        decoders = {_TOPIC: EventDecoder(_SOURCE, Payment)}
        pipeline = Pipeline(_PLAN, decoders, store, logs, Clock.RECORD, _NoLetters())
        flushing: threading.Thread | None = None
        begun = time.perf_counter()
        for round_ in rounds:
            pipeline.process(round_)
            if pipeline.unlogged_events >= FLUSH_EVENTS and (flushing is None or not flushing.is_alive()):
                flushing = threading.Thread(target=pipeline.flush)
                flushing.start()
        if flushing is not None:
            flushing.join()
        pipeline.flush()
        seconds = time.perf_counter() - begun
        events = sum(map(len, rounds))
        if logged:
            assert EventLog(folder / "log", _SOURCE).snapshot().rows == events, "The log lacks events."
        return events / seconds


def _read_ms(folder: Path) -> float:
    """How long the rows of a table take to come, in ms, from opening it."""
    begun = time.perf_counter()
    table = DeltaTable(folder / _TOPIC).to_pyarrow_dataset().to_table(columns=["user_id", "amount"])
    assert table.num_rows
    return (time.perf_counter() - begun) * 1e3


def _many_small(root: Path, appends: int, rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """How many files, and how long reading takes, after many small appends."""
    payments = Payments(appends * 100, 1_000, skewed=False, end_ms=1_767_225_600_000, step_ms=10)
    small = appends_of(rounds_of(payments, size=100), 100)
    with _folder(root) as ours, _folder(root) as plain:
        with_headrace(ours, small)
        with_delta(plain, small)
        assert held(ours).equals(held(plain)), "The tables hold other rows."
        files = {
            OURS: [float(len(DeltaTable(ours / _TOPIC).file_uris()))],
            DELTA: [float(len(DeltaTable(plain / _TOPIC).file_uris()))],
        }
        return files, in_turns({OURS: lambda: _read_ms(ours), DELTA: lambda: _read_ms(plain)}, rounds)


def run(options: Options) -> Report:
    """Measure."""
    events, small = (20_000, 40) if options.quick else (500_000, 500)
    payments = Payments(events, 1_000, skewed=True, end_ms=1_767_225_600_000)
    rounds = rounds_of(payments)
    appends = appends_of(rounds, FLUSH_EVENTS)
    with tempfile.TemporaryDirectory() as made:
        root = Path(made)
        _assert_equal(root, appends[:2])
        writers = {name: partial(_write_rate, root, write, appends) for name, write in WRITERS.items()}
        rates = in_turns(writers, options.rounds)
        worker = in_turns(
            {
                WITH: lambda: _worker_rate(root, rounds, logged=True),
                WITHOUT: lambda: _worker_rate(root, rounds, logged=False),
            },
            options.rounds,
        )
        files, reads = _many_small(root, small, options.rounds)
    mean = int(np.mean([append.rows.num_rows for append in appends]))
    return Report(
        "log",
        {"events": events, "rows an append": mean, "partitions": PARTITIONS, "small appends": small},
        [
            Measure("append", "rows/s", {name: rates[name] for name in (OURS, DELTA)}, OURS, DELTA, True, None),
            Measure(
                "append, beside files alone",
                "rows/s",
                {name: rates[name] for name in (OURS, PARQUET)},
                OURS,
                PARQUET,
                True,
            ),
            Measure("worker's throughput", "events/s", worker, WITH, WITHOUT, True, _SHARE),
            Measure("files after small appends", "files", files, OURS, DELTA, False, None),
            Measure("reading them back", "ms", reads, OURS, DELTA, False, None),
        ],
        ["The worker is its pipeline in this process, fed from memory: with Kafka in front the log weighs less."],
    )


if __name__ == "__main__":
    command_line("log", run)
