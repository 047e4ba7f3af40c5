"""The pipeline keeps each event once in both stores, wherever it is cut off."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from headrace.config import Clock
from headrace.errors import LogUnavailableError, StoreUnavailableError
from headrace.events.decode import EventDecoder
from headrace.events.source_partition import SourcePartition
from headrace.log import EventLog
from headrace.plan import Source
from headrace.stores import CatalogueChange
from headrace.stores.base import NOTHING
from headrace.stores.lmdb.store import LmdbStore
from headrace.stores.memory import MemoryStore
from headrace.worker.pipeline import Pipeline
from headrace.worker.record_origin import note_origin
from headrace.worker.rounds import Round
from tests.worker.shop import (
    PLAN,
    SOURCE,
    KeptLetters,
    Sale,
    brute_force,
    looked_up,
    new_pipeline,
    one_round,
    raw,
    record,
)

SHOPS = ["a", "b", "ü"]


def logged(log: EventLog) -> list[tuple[int, int]]:
    return [(row["_partition"], row["_offset"]) for rows in log.scan() for row in rows.to_pylist()]


def known_at(log: EventLog) -> dict[int, int]:
    return {row["_offset"]: row["_known_at_us"] for rows in log.scan() for row in rows.to_pylist()}


def history(count: int) -> list[Any]:
    dice = random.Random(7)
    offsets = {0: 0, 1: 0}
    records = []
    for minute in sorted(dice.uniform(0, 60) for _ in range(count)):
        partition = dice.randrange(2)
        late = dice.choice([0, 0, 0, 5])
        made = record(
            offsets[partition],
            dice.choice(SHOPS),
            minute - late,
            price=dice.random(),
            pieces=dice.randrange(9),
            partition=partition,
            late=late,
        )
        offsets[partition] += 1
        records.append(made)
    return records


def test_round_is_readable_online_and_flush_makes_it_durable(tmp_path: Path) -> None:
    store, log = MemoryStore(), EventLog(tmp_path, SOURCE)
    pipeline = new_pipeline(store, log)
    records = [record(0, "a", 1), record(1, "b", 2), record(0, "a", 3, partition=1)]
    summary = pipeline.process(one_round(*records))
    assert (summary.events, summary.dead) == (3, 0)
    assert looked_up(store, SHOPS, 4) == brute_force(records, SHOPS, 4)
    assert logged(log) == []
    assert pipeline.flush() == {SourcePartition("sales", 0): 2, SourcePartition("sales", 1): 1}
    assert logged(log) == [(0, 0), (0, 1), (1, 0)]
    assert pipeline.flush() == {}


def test_bad_events_become_dead_letters_and_the_good_ones_of_the_fetch_count(tmp_path: Path) -> None:
    store, log, letters = MemoryStore(), EventLog(tmp_path, SOURCE), KeptLetters()
    pipeline = new_pipeline(store, log, letters)
    good = [record(1, "a", 1), record(4, "a", 2)]
    future = record(5, "a", 3 + 61, late=-61)
    bad = [raw(0, b"{"), raw(2, None), raw(3, b'{"shop": "a"}'), future, raw(6, b"\xff\xfe")]
    pipeline.process(one_round(*sorted([*good, *bad], key=lambda one: int(one.offset))))
    assert looked_up(store, ["a"], 5) == brute_force(good, ["a"], 5)
    assert pipeline.flush() == {SourcePartition("sales", 0): 7}
    assert [letter.offset for letter in letters.stored] == [0, 2, 3, 6, 5]
    assert letters.stored[-1].field == "sold_at"
    assert "max_future" in letters.stored[-1].reason
    assert letters.stored[0].value == b"{"


def test_fetch_of_nothing_but_dead_letters_moves_the_position(tmp_path: Path) -> None:
    store, log = MemoryStore(), EventLog(tmp_path, SOURCE)
    pipeline = new_pipeline(store, log)
    pipeline.process(one_round(raw(0, b"?"), raw(1, b"?")))
    assert pipeline.flush() == {SourcePartition("sales", 0): 2}
    assert store.positions()[SourcePartition("sales", 0)].offset == 1
    assert log.last_offsets([0]) == {0: 1}


class Crash(BaseException):
    """What a kill is to a test in one process."""


class Failpoint:
    """Ends the run when a step is reached for the n-th time, before or after it."""

    def __init__(self, step: str, when: str, countdown: int) -> None:
        self.step, self.when, self.countdown = step, when, countdown

    def around(self, step: str, run: Callable[[], Any]) -> Any:
        mine = step == self.step
        self.countdown -= mine
        if mine and self.when == "before" and self.countdown == 0:
            raise Crash
        done = run()
        if mine and self.when == "after" and self.countdown == 0:
            raise Crash
        return done


class FailingStore(LmdbStore):
    """An LMDB store that crashes at a failpoint."""

    failpoint: Failpoint

    def commit(
        self, writes: Any, positions: Any, required: Any = NOTHING, epoch: Any = None, *, at_once: bool = True
    ) -> None:
        commit = partial(super().commit, writes, positions, required, epoch, at_once=at_once)
        self.failpoint.around("online commit", commit)

    def _move(self, txn: Any, positions: Any) -> None:
        self.failpoint.around("last chunk", lambda: super(FailingStore, self)._move(txn, positions))

    def add_journal(self, entries: Any) -> None:
        self.failpoint.around("journal", lambda: super(FailingStore, self).add_journal(entries))

    def trim_journal(self, through: Mapping[SourcePartition, int]) -> None:
        self.failpoint.around("journal trim", lambda: super(FailingStore, self).trim_journal(through))

    def sync(self) -> None:
        self.failpoint.around("store sync", lambda: super(FailingStore, self).sync())


class FailingLog(EventLog):
    """A log that crashes at a failpoint."""

    failpoint: Failpoint

    def append(self, table: pa.Table, positions: Mapping[int, int]) -> Any:
        return self.failpoint.around("log append", lambda: super(FailingLog, self).append(table, positions))


def run(records: list[Any], committed: dict[int, int], pipeline: Pipeline, dice: random.Random) -> None:
    """A worker's life: from the committed offsets to the end, flushing now and then; the commit is the last step."""
    left = [one for one in records if one.offset >= committed.get(one.partition, 0)]
    while left:
        count = dice.randrange(1, 12)
        fetch, left = left[:count], left[count:]
        pipeline.process(one_round(*fetch))
        if dice.random() < 0.4 or not left:
            committed.update({source.partition: offset for source, offset in pipeline.flush().items()})


STEPS = {
    Clock.SYSTEM: ["online commit", "last chunk", "journal", "log append", "store sync", "journal trim"],
    Clock.RECORD: ["online commit", "log append", "store sync"],  # known_at is the record's timestamp: no journal
}


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("clock", "step"), [(clock, step) for clock, steps in STEPS.items() for step in steps])
def test_crash_at_any_step_loses_and_doubles_nothing(tmp_path: Path, step: str, when: str, clock: Clock) -> None:
    records, dice, committed = history(80), random.Random(3), dict[int, int]()
    crashes = 0
    for countdown in [1, 2, 3, 1, 2, 0]:
        failpoint = Failpoint(step, when, countdown)
        # Chunks of one record, so that a crash leaves a commit half written.
        store = FailingStore(tmp_path / "online", writable=True, chunk_records=1)
        log = FailingLog(tmp_path / "log", SOURCE)
        store.failpoint = log.failpoint = failpoint
        with store:
            pipeline = new_pipeline(store, log, clock=clock, now_us=lambda: 1_700_000_000_000_000 + 3_600_000_000)
            try:
                run(records, committed, pipeline, dice)
            except Crash:
                crashes += 1
    assert crashes >= 3
    with LmdbStore(tmp_path / "online", writable=False) as after:
        assert looked_up(after, SHOPS, 61) == approximately(brute_force(records, SHOPS, 61))
        assert after.journal() == []
    assert logged(EventLog(tmp_path / "log", SOURCE)) == sorted((one.partition, one.offset) for one in records)


def approximately(expected: dict[str, list[Any]]) -> Any:
    return {
        name: [value if value is None else pytest.approx(value, rel=1e-9) for value in values]
        for name, values in expected.items()
    }


def test_known_at_of_a_replay_is_that_of_the_first_acknowledged_write(tmp_path: Path) -> None:
    store, log = MemoryStore(), EventLog(tmp_path, SOURCE)
    records = [record(0, "a", 0), record(1, "a", 1), record(2, "a", 2)]
    new_pipeline(store, log, clock=Clock.SYSTEM, now_us=lambda: 111).process(one_round(*records[:2]))
    # The worker dies before the log has anything; another starts later and reads other fetches.
    pipeline = new_pipeline(store, log, clock=Clock.SYSTEM, now_us=lambda: 999)
    pipeline.process(one_round(records[0]))
    pipeline.process(one_round(*records[1:]))
    pipeline.flush()
    assert known_at(log) == {0: 111, 1: 111, 2: 999}
    assert store.journal() == []


def test_record_clock_knows_an_event_at_its_records_timestamp(tmp_path: Path) -> None:
    store, log = MemoryStore(), EventLog(tmp_path, SOURCE)
    pipeline = new_pipeline(store, log)
    late = record(0, "a", 0, late=5)
    pipeline.process(one_round(late))
    pipeline.flush()
    assert known_at(log) == {0: late.timestamp * 1000}


def test_log_that_is_away_is_tried_again_with_everything_that_came_meanwhile(tmp_path: Path) -> None:
    class AwayLog(EventLog):
        away = True

        def append(self, table: pa.Table, positions: Mapping[int, int]) -> Any:
            if self.away:
                msg = "The disk is full."
                raise LogUnavailableError(msg)
            return super().append(table, positions)

    store, log = MemoryStore(), AwayLog(tmp_path, SOURCE)
    pipeline = new_pipeline(store, log)
    pipeline.process(one_round(record(0, "a", 0)))
    with pytest.raises(LogUnavailableError):
        pipeline.flush()
    pipeline.process(one_round(record(1, "a", 1)))
    log.away = False
    assert pipeline.flush() == {SourcePartition("sales", 0): 2}
    assert logged(log) == [(0, 0), (0, 1)]


@pytest.mark.parametrize("flush_fails", [False, True])
def test_what_a_rebalance_has_read_again_before_it_was_logged_is_logged_once(tmp_path: Path, flush_fails: bool) -> None:
    class SlowLog(EventLog):
        meanwhile: Callable[[], object] | None = None

        def append(self, table: pa.Table, positions: Mapping[int, int]) -> Any:
            run, self.meanwhile = self.meanwhile, None
            if run is not None:
                run()
                msg = "The disk is full."
                raise LogUnavailableError(msg)
            return super().append(table, positions)

    sales = [record(offset, "a", offset, pieces=2) for offset in range(8)]
    store, log = MemoryStore(), SlowLog(tmp_path, SOURCE)
    pipeline = new_pipeline(store, log)
    pipeline.process(one_round(*sales[:5]))

    def read_again() -> None:
        pipeline.reload()
        pipeline.process(one_round(*sales[:3]))
        pipeline.process(one_round(*sales[3:8]))

    if flush_fails:
        log.meanwhile = read_again
        with pytest.raises(LogUnavailableError):
            pipeline.flush()
    else:
        read_again()
    assert pipeline.unlogged_events == 8
    assert pipeline.flush() == {SourcePartition("sales", 0): 8}
    assert logged(log) == [(0, offset) for offset in range(8)]
    assert looked_up(store, ["a"], 8)["pieces_ever"] == [16]


def test_store_that_is_away_leaves_the_round_to_be_tried_again(tmp_path: Path) -> None:
    class AwayStore(MemoryStore):
        away = True

        def commit(
            self, writes: Any, positions: Any, required: Any = NOTHING, epoch: Any = None, *, at_once: bool = True
        ) -> None:
            if self.away:
                msg = "Away."
                raise StoreUnavailableError(msg)
            super().commit(writes, positions, required, epoch, at_once=at_once)

    store, log = AwayStore(), EventLog(tmp_path, SOURCE)
    pipeline: Pipeline = new_pipeline(store, log)
    round_ = one_round(record(0, "a", 0), raw(1, b"?"))
    with pytest.raises(StoreUnavailableError):
        pipeline.process(round_)
    assert not pipeline.has_unlogged
    store.away = False
    pipeline.process(round_)
    assert looked_up(store, ["a"], 1)["sales_10m"] == [1]


def test_now_of_the_record_clock_does_not_go_back_where_a_partitions_timestamps_do(tmp_path: Path) -> None:
    store, log = MemoryStore(), EventLog(tmp_path, SOURCE)
    pipeline = new_pipeline(store, log)
    pipeline.process(one_round(record(0, "a", 0), record(1, "a", 60)))
    newest = store.positions()[SourcePartition("sales", 0)]
    pipeline.process(one_round(record(2, "b", 5)))  # windows at this time were pruned of what counts there
    later = store.positions()[SourcePartition("sales", 0)]
    assert (later.offset, later.record_ts_us, later.event_ts_us) == (2, newest.record_ts_us, newest.event_ts_us)
    crashed = new_pipeline(store, log)
    crashed.process(one_round(record(3, "b", 6)))
    assert store.positions()[SourcePartition("sales", 0)].record_ts_us == newest.record_ts_us


def test_log_that_the_first_append_makes_is_noted_in_the_store_from_then_on(tmp_path: Path) -> None:
    store, log = MemoryStore(), EventLog(tmp_path, SOURCE)
    noted: list[tuple[str, ...] | None] = []

    def note(source: Source) -> None:
        note_origin(store, tmp_path, [source])
        noted.append(store.catalogue().origin.logs.get("sales"))

    pipeline = new_pipeline(store, log, first_logged=note)
    note(SOURCE)
    for offset in range(3):
        pipeline.process(one_round(record(offset, "a", offset)))
        pipeline.flush()
    assert noted == [None, (log.table_id(),)]


def test_two_topics_that_start_together_are_each_noted_with_their_own_log(tmp_path: Path) -> None:
    """Both are readable online before either is logged; the second log is missing when the first one is noted."""
    returns = SOURCE.model_copy(update={"name": "returns", "topic": "returns"})
    plan = PLAN.model_copy(update={"sources": {"sales": SOURCE, "returns": returns}})
    store = MemoryStore()
    store.change(CatalogueChange().clock(Clock.RECORD).serve(plan.views.values()))
    logs = {source.topic: EventLog(tmp_path, source) for source in plan.sources.values()}
    decoders = {topic: EventDecoder(log.source, Sale) for topic, log in logs.items()}
    pipeline = Pipeline(
        plan, decoders, store, logs, Clock.RECORD, KeptLetters(),
        first_logged=lambda source: note_origin(store, tmp_path, [source]),
    )  # fmt: skip
    (read,) = one_round(record(0, "a", 0)).reads.values()
    pipeline.process(Round({SourcePartition(topic, 0): read for topic in logs}))
    pipeline.flush()
    assert store.catalogue().origin.logs == {topic: (log.table_id(),) for topic, log in logs.items()}
