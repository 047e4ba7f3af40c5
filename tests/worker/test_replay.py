"""The log is replayed to its end, once, also beside another worker that replays it; erased events do not come back."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from headrace.erasure import ErasureFilter
from headrace.errors import StaleWriteError
from headrace.events.source_partition import SourcePartition
from headrace.log import EventLog
from headrace.records.applier import Applier
from headrace.state import LocalState
from headrace.stores import Position
from headrace.stores.memory import MemoryStore
from headrace.worker.replay import chunks, keep_now, replay, replay_beside_others
from tests.worker.handoffs import PARTITIONS, VERSIONS, Deployment, Sales, plan_of
from tests.worker.shop import SOURCE

REFUSED = StaleWriteError("Another worker writes.")
FIRST, SECOND = SourcePartition("sales", 0), SourcePartition("sales", 1)


@pytest.fixture
def deployed(tmp_path: Path) -> Deployment:
    """A worker whose log has 40 sales."""
    made = Deployment(tmp_path, MemoryStore())
    made.send(Sales(13).some(40))
    made.pipeline.flush()
    return made


def offsets(found: Iterable[tuple[SourcePartition, int]]) -> dict[int, list[int]]:
    by_partition: dict[int, list[int]] = {}
    for at, offset in found:
        by_partition.setdefault(at.partition, []).append(offset)
    return by_partition


@pytest.mark.parametrize("chunk_rows", [3, 1_000])
def test_chunks_have_each_event_after_an_offset_once_in_order(deployed: Deployment, chunk_rows: int) -> None:
    ends = deployed.log.last_offsets()
    found = list(chunks(deployed.log, deployed.erased, {0: 4}, chunk_rows=chunk_rows))
    assert offsets((one.source, offset) for one in found for offset in one.batch.offset.tolist()) == {
        0: list(range(5, ends[0] + 1)),
        1: list(range(ends[1] + 1)),
    }
    assert all(one.reached.offset == one.batch.offset[-1] for one in found)
    assert all(one.reached.event_ts_us == one.batch.ts_us.max() for one in found)


def test_replay_that_was_cut_short_goes_on(deployed: Deployment) -> None:
    store = MemoryStore()
    applier = Applier(plan_of(VERSIONS[10]), store)
    steps = 0

    def die() -> None:
        nonlocal steps
        steps += 1
        raise REFUSED

    with pytest.raises(StaleWriteError):
        replay(store, applier, [deployed.log], EventLog.last_offsets, deployed.erased, die)
    said: list[str] = []
    done = replay(store, applier, [deployed.log], EventLog.last_offsets, deployed.erased, say=said.append)
    assert (steps, 0 < done < 40) == (1, True)
    assert said[-1] == f"Applied {done} events of 'sales' from the log."
    assert store.positions() == deployed.store.positions()
    assert replay(store, applier, [deployed.log], EventLog.last_offsets, deployed.erased) == 0


def test_worker_that_is_refused_looks_again_until_others_are_done() -> None:
    waited: list[float] = []
    refusals = [REFUSED] * 2

    def replaying() -> None:
        if refusals:
            raise refusals.pop()

    replay_beside_others(replaying, waited.append)
    assert waited == [1, 1]

    def never() -> None:
        raise REFUSED

    with pytest.raises(StaleWriteError):
        replay_beside_others(never, waited.append)


def test_time_of_a_store_that_is_filled_anew_does_not_go_back() -> None:
    store = MemoryStore()
    store.commit([], {FIRST: Position(3, 50, 40), SECOND: Position(1, 90, 90)})
    keep_now(store, {FIRST: Position(9, 70, 99)})
    assert store.positions() == {FIRST: Position(3, 70, 40), SECOND: Position(1, 90, 90)}


def test_worker_that_starts_beside_another_does_not_set_its_positions_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed, sales = Deployment(tmp_path, MemoryStore()), Sales(13)
    deployed.send(sales.some(10))
    deployed.pipeline.flush()
    log = EventLog(deployed.folder / "log", SOURCE)
    read = log.last_offsets

    def last_offsets(partitions: Iterable[int] | None = None) -> dict[int, int]:
        deployed.send(sales.some(10))  # the other worker goes on
        deployed.pipeline.flush()
        found = read(partitions)
        deployed.send(sales.some(10))
        return found

    monkeypatch.setattr(log, "last_offsets", last_offsets)
    applier = Applier(plan_of(VERSIONS[10]), deployed.store)
    erased = ErasureFilter(LocalState(deployed.folder / "erasure"), {})
    replay(deployed.store, applier, [log], lambda _log: range(PARTITIONS), erased)
    held = {at.partition: position.offset for at, position in deployed.store.positions().items()}
    assert held == {partition: sales.offsets[partition] - 1 for partition in range(PARTITIONS)}
