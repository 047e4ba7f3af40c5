"""The worker without a driver: it ignores rounds from before a move; a version joins only where reading starts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from headrace.errors import StaleWriteError, StoreBehindError, StoreUnavailableError, TopicError
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import RecordsGone
from headrace.log import EventLog
from headrace.plan import Source
from headrace.stores import Position
from headrace.stores.memory import MemoryStore
from headrace.worker.handoff import Handoff
from headrace.worker.partition_numbers import PartitionNumbers
from headrace.worker.pipeline import Pipeline, RoundSummary
from headrace.worker.rounds import Round
from headrace.worker.worker import FLUSH_EVENTS, FLUSH_S, Worker
from tests.worker.shop import PLAN, one_round, record

SALES = SourcePartition("sales", 0)
OTHERS = SourcePartition("sales", 1)


@dataclass
class KeptPipeline:
    """Notes what it is given; raises what it is told to, once each."""

    calls: list[str] = field(default_factory=list)
    raises: list[Exception] = field(default_factory=list)
    unlogged_events: int = 0
    during: Callable[[], None] = lambda: None
    next_offset: int | None = None

    @property
    def has_unlogged(self) -> bool:
        return self.next_offset is not None

    def process(self, round_: Round) -> RoundSummary:
        (read,) = round_.reads.values()
        self.during()
        self.calls.append(f"round to {read.next_offset}")
        if self.raises:
            raise self.raises.pop(0)
        self.next_offset = read.next_offset
        self.unlogged_events += len(round_)
        return RoundSummary(len(round_), 0, 0)

    def flush(self) -> dict[SourcePartition, int]:
        self.calls.append("flush")
        flushed, self.next_offset, self.unlogged_events = self.next_offset, None, 0
        return {} if flushed is None else {SALES: flushed}

    def reload(self) -> None:
        self.calls.append("reload")


class ReadyHandoff:
    """A handoff with a partition that waits to be joined."""

    is_ready = True

    def __init__(self) -> None:
        self.joined = 0
        self.owned: list[bool] = []

    def resume(self) -> None:
        pass

    def build(self, _owns: Any) -> bool:
        return False

    def join(self, owns: Any) -> None:
        self.joined += 1
        self.owned = [owns("sales", 0), owns("sales", 1)]

    def settle(self, _owns: Any) -> None:
        pass


class Logged:
    """A log that holds some offsets."""

    def __init__(self, ends: dict[int, int]) -> None:
        self.ends = ends

    def last_offsets(self, partitions: Any) -> dict[int, int]:
        return {one: self.ends[one] for one in partitions if one in self.ends}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Bed:
    pipeline: KeptPipeline = field(default_factory=KeptPipeline)
    handoff: ReadyHandoff = field(default_factory=ReadyHandoff)
    store: MemoryStore = field(default_factory=MemoryStore)
    logged: dict[int, int] = field(default_factory=dict)
    clock: Clock = field(default_factory=Clock)
    worker: Worker = field(init=False)

    def __post_init__(self) -> None:
        def open_log(_source: Source) -> EventLog:
            return cast(EventLog, Logged(self.logged))

        pipeline, handoff = cast(Pipeline, self.pipeline), cast(Handoff, self.handoff)
        self.worker = Worker(PLAN, self.store, open_log, PartitionNumbers(), pipeline, handoff, monotonic=self.clock)
        self.worker.assigned([SALES])
        self.epoch = self.worker.resume([SALES]).epoch
        self.pipeline.calls.clear()

    def apply(self, offset: int, epoch: int | None = None) -> bool:
        return self.worker.apply(one_round(record(offset, "a", offset), epoch=self.epoch if epoch is None else epoch))


@pytest.fixture
def bed() -> Bed:
    return Bed()


def test_round_read_before_a_move_is_left_for_it_comes_again(bed: Bed) -> None:
    assert bed.apply(0)
    place = bed.worker.resume([SALES])
    assert bed.apply(1)  # was on its way when the reader was moved
    assert bed.apply(0, place.epoch)
    bed.worker.revoked([SALES])
    assert bed.apply(1, place.epoch)
    assert bed.pipeline.calls == ["round to 1", "reload", "round to 1"]


def test_place_is_after_what_the_log_holds(bed: Bed) -> None:
    bed.logged = {0: 41}
    bed.store.commit([], {SALES: Position(41, 0, 0)})
    assert bed.worker.resume([SALES, OTHERS]).offsets == {SALES: 42, OTHERS: 0}


def test_place_is_refused_where_the_store_holds_less_than_the_log(bed: Bed) -> None:
    bed.logged = {0: 41}
    bed.store.commit([], {SALES: Position(40, 0, 0)})
    with pytest.raises(StoreBehindError):
        bed.worker.resume([SALES])


def test_refused_round_has_the_reader_placed_anew_and_is_counted(bed: Bed) -> None:
    bed.pipeline.raises = [StaleWriteError("The write was refused.")]
    assert not bed.apply(0)
    assert bed.apply(0, bed.worker.resume([SALES]).epoch)
    assert bed.worker.stats.to_json()["refused_writes"] == 1
    assert bed.worker.stats.events == 1


def test_store_that_is_away_is_waited_for_until_the_worker_ends(bed: Bed) -> None:
    bed.pipeline.raises = [StoreUnavailableError("The store is away.")] * 2
    bed.pipeline.during = bed.worker.end_waits
    assert bed.apply(0)
    assert bed.pipeline.calls == ["round to 1"]
    assert bed.worker.life.waits_for == "The store is away."


def test_nothing_is_read_anew_from_the_log_while_a_round_is_being_applied(bed: Bed) -> None:
    applying, may_end = threading.Event(), threading.Event()

    def during() -> None:
        applying.set()
        may_end.wait()

    bed.pipeline.during = during
    threads = [threading.Thread(target=bed.apply, args=(0,))]
    threads[0].start()
    applying.wait()
    threads.append(threading.Thread(target=bed.worker.resume, args=([SALES],)))
    threads[1].start()
    may_end.set()
    for thread in threads:
        thread.join()
    assert bed.pipeline.calls == ["round to 1", "reload"]


def test_log_is_written_when_enough_events_wait_or_have_waited_long_enough(bed: Bed) -> None:
    bed.apply(0)
    bed.worker.tick()
    assert "flush" not in bed.pipeline.calls
    bed.clock.now += FLUSH_S
    bed.worker.tick()
    assert bed.worker.durable == {SALES: 1}
    bed.pipeline.unlogged_events = FLUSH_EVENTS
    bed.worker.tick()
    assert bed.pipeline.calls == ["round to 1", "flush", "flush"]


def test_offsets_of_a_partition_that_was_taken_away_are_not_committed(bed: Bed) -> None:
    bed.apply(0)
    bed.worker.flush()
    bed.worker.revoked([SALES])
    assert bed.worker.durable == {}
    bed.worker.assigned([OTHERS])
    bed.pipeline.next_offset = 5
    bed.worker.flush()
    assert bed.worker.durable == {}


def test_lag_is_what_the_broker_has_past_what_is_applied(bed: Bed) -> None:
    bed.apply(1)
    assert bed.worker.lag({SALES: 9}.get) == {"sales[0]": 7}
    assert bed.worker.lag({SALES: 1}.get) == {"sales[0]": 0}
    assert bed.worker.lag({OTHERS: 9}.get) == {}


def test_worker_is_done_once_it_and_others_have_logged_everything(bed: Bed) -> None:
    bed.worker.until = {SALES: 2, OTHERS: 3}
    bed.apply(1)
    bed.logged = {1: 1}
    bed.clock.now += 2
    bed.worker.tick()
    assert not bed.worker.is_done
    bed.logged = {1: 2}
    bed.clock.now += 2
    bed.worker.tick()
    assert bed.worker.is_done


def test_gap_ends_the_worker_once_what_came_before_is_in_both_stores(bed: Bed) -> None:
    bed.worker.records_gone([RecordsGone(SALES, wanted=2, earliest=7, end=9)])
    bed.apply(1)
    bed.worker.tick()  # what was applied waits for the log
    bed.clock.now += FLUSH_S
    bed.worker.tick()
    with pytest.raises(TopicError, match=r"sales\[0\] offsets 2 to 6"):
        bed.worker.tick()


def test_version_joins_no_rounds_until_the_reader_is_where_the_log_ended(bed: Bed) -> None:
    bed.worker.revoked()
    bed.worker.hand_off()
    assert bed.handoff.joined == 0  # its partitions' worker before may yet log what it has applied
    bed.worker.resume([SALES])
    bed.worker.hand_off()
    assert (bed.handoff.joined, bed.handoff.owned) == (1, [True, False])
    bed.worker.assigned([SALES])
    bed.worker.hand_off()
    assert bed.handoff.joined == 1


def test_worker_that_leaves_applies_no_more_and_flushes(bed: Bed) -> None:
    bed.apply(0)
    bed.worker.leave()
    assert bed.apply(1)
    assert bed.pipeline.calls == ["round to 1", "flush"]


def test_store_that_was_emptied_ends_the_worker(bed: Bed) -> None:
    with pytest.raises(StoreBehindError, match="emptied"):
        bed.worker.check()
