"""Events with one id count once within the horizon: online and in the log, across fetches, crashes and restarts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import AwareDatetime, BaseModel

from headrace.config import Clock
from headrace.errors import StoreUnavailableError
from headrace.events.decode import EventDecoder
from headrace.events.event_batch import EventBatch
from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import Read
from headrace.log import EventLog
from headrace.lookup import FeatureClient
from headrace.plan import Column, DType, Feature, Plan, Source, View
from headrace.stores import CatalogueChange
from headrace.stores.memory import MemoryStore
from headrace.worker.deduplication import Deduplicator
from headrace.worker.partition_numbers import PartitionNumbers
from headrace.worker.pipeline import Pipeline
from headrace.worker.rounds import Round
from tests.worker.shop import KeptLetters, Renewed

MINUTE_MS = 60_000
NOON_MS = 1_700_000_000_000


class Click(BaseModel):
    """A click."""

    id: str | None
    user: str
    at: AwareDatetime


SOURCE = Source(
    name="clicks",
    topic="clicks",
    model="clicks:Click",
    key="user",
    timestamp_field="at",
    columns=(
        Column(name="id", dtype=DType.STRING),
        Column(name="user", dtype=DType.STRING, nullable=False),
        Column(name="at", dtype=DType.TIMESTAMP, nullable=False),
    ),
    event_id="id",
    dedup_us=10 * 60_000_000,
)
VIEW = View(
    name="users",
    source="clicks",
    entities=(Column(name="user", dtype=DType.STRING, nullable=False),),
    features=(Feature(name="n", function="count", column="*", window_us=None, slide_us=None, dtype=DType.INT64),),
)
PLAN = Plan(project="p", sources={"clicks": SOURCE}, views={"users": VIEW})
At = tuple[str | None, int]  # an event's id, and the minute of its record


def record(offset: int, event: At, partition: int = 0) -> Any:
    ms = NOON_MS + event[1] * MINUTE_MS
    value = f'{{"id": {"null" if event[0] is None else chr(34) + event[0] + chr(34)}, "user": "u", "at": {ms}}}'
    return SimpleNamespace(partition=partition, offset=offset, timestamp=ms, key=b"u", value=value.encode())


class Worker:
    """A pipeline over a store and a log that outlive it."""

    def __init__(self, folder: Path, clock: Clock = Clock.RECORD) -> None:
        self.store, self.folder, self.clock = MemoryStore(), folder, clock
        self.topics = PartitionNumbers()
        self.store.change(CatalogueChange().clock(clock).serve([VIEW]))
        self.start()

    def start(self) -> None:
        self.log = EventLog(self.folder, SOURCE)
        decoders = {"clicks": EventDecoder(SOURCE, Click)}
        self.pipeline = Pipeline(
            PLAN, decoders, self.store, {"clicks": self.log}, self.clock, KeptLetters(), topics=self.topics
        )

    def process(self, records: Sequence[Any]) -> None:
        source = SourcePartition("clicks", records[0].partition)
        self.pipeline.process(Round({source: Read(RawRecords.of(records), records[-1].offset + 1)}))

    def counted(self) -> tuple[int, list[int]]:
        self.pipeline.flush()
        answer = FeatureClient(plan=PLAN, store=self.store).get_online_features(["users:n"], [{"user": "u"}])
        rows = pa.Table.from_batches(self.log.scan(), schema=None) if self.log.snapshot().files else None
        return answer.to_dict()["users__n"][0], [] if rows is None else rows.column("_offset").to_pylist()


def first_ones(events: Sequence[At], horizon: int = 10) -> list[int]:
    """The rule, written out: the offsets that count."""
    counted: dict[str, int] = {}
    clock, offsets = -(10**9), []
    for offset, (event_id, minute) in enumerate(events):
        now = max(clock, minute)
        if event_id is not None and event_id in counted and now - counted[event_id] <= horizon:
            continue
        clock = now
        offsets.append(offset)
        if event_id is not None:
            counted[event_id] = now
    return offsets


def test_the_first_position_wins_until_the_horizon_ends(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.process([record(n, event) for n, event in enumerate([("a", 0), ("a", 4), ("b", 7), (None, 8), (None, 8)])])
    worker.process([record(5, ("a", 10)), record(6, ("a", 11)), record(7, ("a", 12))])
    assert worker.counted() == (5, [0, 2, 3, 4, 6])


def test_partitions_are_apart(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.process([record(0, ("a", 0))])
    worker.process([record(0, ("a", 0), partition=1)])
    assert worker.counted()[0] == 2


@pytest.mark.parametrize("newest_us", [None, (NOON_MS + 9 * MINUTE_MS) * 1000])
def test_what_counted_before_a_topic_was_made_anew_counts_no_more(tmp_path: Path, newest_us: int | None) -> None:
    worker = Worker(tmp_path)
    worker.process([record(0, ("a", 0)), record(1, ("b", 9))])
    worker.process([record(0, ("c", 8), partition=1)])
    worker.pipeline.flush()
    worker.topics = Renewed(newest_us)
    worker.start()
    worker.process([record(n, event) for n, event in enumerate([("b", 5), ("c", 12), ("a", 13), ("d", 14), ("b", 20)])])
    assert worker.counted() == (6, [0, 1, 0, 2, 3, 4])  # `a` had its horizon, and so has `b` in the end
    worker.start()
    worker.process([record(5, ("d", 20)), record(6, ("b", 21))])
    assert worker.counted()[0] == 6


def test_a_log_that_the_horizon_no_longer_reaches_is_not_read(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    worker.process([record(0, ("a", 0))])
    worker.pipeline.flush()
    worker.topics = Renewed(NOON_MS * 1000)
    worker.start()
    with patch.object(worker.log, "recent_ids", wraps=worker.log.recent_ids) as asked:
        worker.process([record(0, ("a", 11))])
    assert [call.args[0] for call in asked.call_args_list] == [2]
    assert worker.counted()[0] == 2


def test_a_failed_round_counts_nothing(tmp_path: Path) -> None:
    worker = Worker(tmp_path)
    with patch.object(worker.store, "commit", side_effect=StoreUnavailableError("away")):
        for _ in range(2):
            with pytest.raises(StoreUnavailableError):
                worker.process([record(0, ("a", 0))])
    worker.process([record(0, ("a", 0)), record(1, ("a", 1))])
    assert worker.counted() == (1, [0])


def test_a_round_whose_time_could_not_be_journalled_is_not_taken_for_its_own_repetition(tmp_path: Path) -> None:
    worker = Worker(tmp_path, Clock.SYSTEM)
    with (
        patch.object(worker.store, "add_journal", side_effect=StoreUnavailableError("away")),
        pytest.raises(StoreUnavailableError),
    ):
        worker.process([record(0, ("a", 0))])
    worker.process([record(0, ("a", 0))])
    assert worker.counted() == (1, [0])


EVENTS = st.lists(st.tuples(st.sampled_from(["a", "b", "c", None]), st.integers(0, 40)), min_size=1, max_size=30)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=EVENTS, data=st.data())
def test_fetches_crashes_and_replays_change_nothing(
    tmp_path_factory: Any, events: list[At], data: st.DataObject
) -> None:
    worker = Worker(tmp_path_factory.mktemp("log"))
    records = [record(offset, event) for offset, event in enumerate(events)]
    at = 0
    while at < len(records):
        size = data.draw(st.integers(1, 8))
        worker.process(records[at : at + size])
        at += size
        step = data.draw(st.sampled_from(["go on", "flush", "rebalance", "crash"]))
        if step in ("flush", "rebalance"):
            worker.pipeline.flush()
        if step == "rebalance":
            worker.pipeline.reload()
        if step == "crash":  # what was applied and not logged comes again
            worker.start()
            at = worker.log.last_offsets([0]).get(0, -1) + 1
    wanted = first_ones(events)
    assert worker.counted() == (len(wanted), wanted)


class Given:
    """A log that holds what was logged, as the deduplicator reads it."""

    def __init__(self, rows: Sequence[tuple[str | None, int]]) -> None:
        self.rows = rows

    def recent_ids(self, partition: int, before: int, horizon_us: int) -> list[Any]:
        return list(self.rows)


def loop(events: Sequence[At], horizon: int, seen: dict[str, int], clock: int) -> tuple[list[bool], int]:
    """The rule event by event, as it was first written: which are kept; `seen` goes on."""
    kept: list[bool] = []
    for event_id, minute in events:
        now = max(clock, minute)
        before = seen.get(event_id) if event_id is not None else None
        kept.append(before is None or now - before > horizon)
        if kept[-1]:
            clock = now
            if event_id is not None:
                seen[event_id] = now
    return kept, clock


def batch_of(events: Sequence[tuple[int, int, At]]) -> EventBatch:
    """A batch of (partition, offset, event)."""
    ids = pa.array([event[0] for _, _, event in events], pa.string())
    times = np.array([event[1] * 60_000_000 for _, _, event in events], np.int64)
    users = pa.array(["u"] * len(events), pa.string())
    at = pa.array(times).cast(pa.timestamp("us", "UTC"))
    partition, offset = (np.array([row[n] for row in events], np.int64) for n in (0, 1))
    return EventBatch(
        SOURCE, pa.table([ids, users, at], names=["id", "user", "at"]), times, partition, offset, times, times
    )


IDS = st.one_of(st.sampled_from(["a", "b", None]), st.integers(0, 400).map(str))
FETCHES = st.lists(
    st.lists(st.tuples(st.integers(0, 2), IDS, st.integers(0, 60)), min_size=1, max_size=25), min_size=1, max_size=8
)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(
    fetches=FETCHES,
    logged=st.lists(st.tuples(IDS, st.integers(0, 20)), max_size=10),
    accepted=st.lists(st.booleans(), min_size=8, max_size=8),
    sorted_by_partition=st.booleans(),
)
def test_fetches_as_a_whole_are_decided_as_event_by_event(
    fetches: list[list[tuple[int, str | None, int]]],
    logged: list[At],
    accepted: list[bool],
    sorted_by_partition: bool,
) -> None:
    log: list[Any] = [(event_id, minute * 60_000_000) for event_id, minute in logged]
    deduplicator = Deduplicator(cast(Any, {"clicks": Given(log)}))
    clocks: dict[int, int] = {}
    seen: dict[int, dict[str, int]] = {}
    for partition in range(3):
        seen[partition], clocks[partition] = {}, -(10**9)
        for event_id, minute in logged:
            clocks[partition] = max(clocks[partition], minute)
            if event_id is not None:
                seen[partition][event_id] = clocks[partition]
    offset = 100
    for fetch, is_accepted in zip(fetches, accepted, strict=False):
        if sorted_by_partition:
            fetch.sort(key=lambda row: row[0])
        rows = [(partition, offset + n, (event_id, minute)) for n, (partition, event_id, minute) in enumerate(fetch)]
        offset += len(rows)
        wanted: list[int] = []
        for partition in {row[0] for row in rows}:
            mine = [row for row in rows if row[0] == partition]
            held = dict(seen[partition])
            kept, clock = loop([row[2] for row in mine], 10, held, clocks[partition])
            wanted += [row[1] for row, is_kept in zip(mine, kept, strict=True) if is_kept]
            if is_accepted:
                seen[partition], clocks[partition] = held, clock
        (found,) = deduplicator.first_ones([batch_of(rows)])
        assert found.offset.tolist() == sorted(wanted)
        if is_accepted:
            deduplicator.accept()


def test_what_the_horizon_no_longer_reaches_is_forgotten() -> None:
    deduplicator = Deduplicator({})
    for minute in range(100):
        deduplicator.first_ones(
            [batch_of([(0, minute * 2, (f"x{minute}", minute)), (0, minute * 2 + 1, ("same", minute))])]
        )
        deduplicator.accept()
    (held,) = deduplicator._seen.values()  # noqa: SLF001 memory has no other face
    assert len(held.ids) <= 12
    assert sum(len(ids) for _, ids, _ in held.parts) <= 24
