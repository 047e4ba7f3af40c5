"""Rounds are cut at a common record time on the record clock, and go at once on the system clock."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import Read
from headrace.worker.rounds import IDLE_S, Aligner, Round

A, B = SourcePartition("t", 0), SourcePartition("t", 1)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def records(*timestamps: int, first: int = 0, empty: int = 0) -> Read:
    """Records from offset `first` on; behind them, `empty` offsets hold none."""
    found = RawRecords.of(
        SimpleNamespace(partition=0, offset=first + n, timestamp=ts, key=None, value=b"%d" % (first + n))
        for n, ts in enumerate(timestamps)
    )
    return Read(found, first + len(timestamps) + empty)


Reads = dict[SourcePartition, Read]


def times(reads: Reads) -> dict[SourcePartition, list[int]]:
    return {source: read.records.timestamps.tolist() for source, read in reads.items()}


def ends(reads: Reads) -> dict[SourcePartition, tuple[int, int]]:
    """By partition, how many records, and the offset after them."""
    return {source: (len(read.records), read.next_offset) for source, read in reads.items()}


def never_ends(_: SourcePartition) -> int | None:
    return None


def test_system_clock_holds_nothing_back() -> None:
    aligner = Aligner(by_record_time=False)
    round_ = aligner.cut({A: records(1, 90), B: records(5)}, [A, B], never_ends)
    assert times(round_) == {A: [1, 90], B: [5]}
    assert not aligner.has_waiting


def test_partition_that_is_ahead_waits_for_the_other() -> None:
    #   A  1────────50────────90
    #   B  5──20┊              cut at 20, the newest time read of the slower one
    aligner = Aligner(by_record_time=True)
    assert times(aligner.cut({A: records(1, 50, 90), B: records(5, 20)}, [A, B], never_ends)) == {A: [1], B: [5, 20]}
    assert times(aligner.cut({B: records(60, first=2)}, [A, B], never_ends)) == {A: [50], B: [60]}
    assert aligner.has_waiting


def test_nothing_goes_before_every_partition_has_spoken() -> None:
    aligner = Aligner(by_record_time=True)
    assert aligner.cut({A: records(1, 2)}, [A, B], never_ends) == {}
    assert times(aligner.cut({B: records(9)}, [A, B], never_ends)) == {A: [1, 2], B: [9]} or aligner.has_waiting


def test_partition_read_to_its_end_holds_nobody_back() -> None:
    aligner = Aligner(by_record_time=True)
    ends = {A: 3, B: 1}
    assert times(aligner.cut({A: records(10, 20, 30), B: records(5)}, [A, B], ends.get)) == {A: [10, 20, 30], B: [5]}


def test_empty_partition_holds_nobody_back() -> None:
    aligner = Aligner(by_record_time=True)
    ends = {A: 10, B: 0}
    assert times(aligner.cut({A: records(10, 20)}, [A, B], ends.get)) == {A: [10, 20]}


def test_silent_partition_is_waited_for_only_so_long() -> None:
    clock = Clock()
    aligner = Aligner(by_record_time=True, monotonic=clock)
    assert aligner.cut({A: records(1, 2)}, [A, B], never_ends) == {}
    clock.now = IDLE_S + 0.1
    assert times(aligner.cut({}, [A, B], never_ends)) == {A: [1, 2]}


def test_partition_far_ahead_is_not_fetched_further() -> None:
    aligner = Aligner(by_record_time=True, max_waiting=3)
    aligner.cut({A: records(100, 200, 300, 400), B: records(1)}, [A, B], never_ends)
    assert not aligner.wants(A)
    assert aligner.wants(B)


def test_offsets_without_records_are_passed_with_the_records_before_them() -> None:
    aligner = Aligner(by_record_time=True)
    first = aligner.cut({A: records(1, 50, empty=3), B: records(5)}, [A, B], never_ends)
    assert ends(first) == {A: (1, 1), B: (1, 1)}
    assert ends(aligner.cut({B: records(60, first=1)}, [A, B], never_ends)) == {A: (1, 5)}


def test_offsets_without_records_are_passed_alone_and_once() -> None:
    aligner = Aligner(by_record_time=True)
    assert ends(aligner.cut({A: records(first=0, empty=7)}, [A], never_ends)) == {A: (0, 7)}
    assert aligner.cut({}, [A], never_ends) == {}
    assert ends(aligner.cut({A: records(3, first=7)}, [A], {A: 8}.get)) == {A: (1, 8)}


def test_round_has_the_records_of_each_topic_partition_after_partition() -> None:
    other = SourcePartition("u", 0)
    round_ = Round({B: records(5), other: records(7, 8), A: records(1, 2)})
    found = {topic: of_topic.timestamps.tolist() for topic, of_topic in round_.by_topic().items()}
    assert found == {"t": [1, 2, 5], "u": [7, 8]}
    assert (len(round_), round_.next_offsets) == (5, {A: 2, B: 1, other: 2})


@pytest.mark.slow
@given(st.data())
@settings(max_examples=80, deadline=None)
def test_every_record_comes_once_in_order_and_never_before_its_time(data: st.DataObject) -> None:
    history = {
        source: records(*sorted(data.draw(st.lists(st.integers(0, 50), max_size=12)))).records
        for source in (A, B, SourcePartition("u", 0))
    }
    lengths = {source: len(log) for source, log in history.items()}
    read = dict.fromkeys(history, 0)
    aligner = Aligner(by_record_time=True)
    given_: dict[SourcePartition, list[RawRecords]] = {source: [] for source in history}
    while any(read[source] < len(log) for source, log in history.items()):
        fetched: dict[SourcePartition, Read] = {}
        for source, log in history.items():
            count = data.draw(st.integers(0, 5), label="fetched")
            some = log[read[source] : read[source] + count]
            read[source] += len(some)
            if len(some):
                fetched[source] = Read(some, read[source])
        for source, released in aligner.cut(fetched, list(history), lengths.get).items():
            given_[source].append(released.records)
        newest = max((int(parts[-1].timestamps[-1]) for parts in given_.values() if parts), default=-1)
        for source, log in history.items():
            times_, at = log.timestamps, read[source]
            assert at == len(log) or times_[at] >= newest or times_[at - 1] >= newest
    for source, released in aligner.cut({}, list(history), lengths.get).items():
        given_[source].append(released.records)
    for source, log in history.items():
        came = RawRecords.concat(given_[source])
        assert came.offsets.tolist() == log.offsets.tolist()
        assert came.timestamps.tolist() == log.timestamps.tolist()
        assert came.values == log.values
