"""A reader that is placed anew gives every record from there on once, and none from before."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import cast

from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import RecordReader
from headrace.worker.round_reader import RoundReader
from tests.worker.two_at_a_time import SALES, TwoAtATime


class Opened(TwoAtATime):
    """A reader that tells when it is closed."""

    def __init__(self, place: int) -> None:
        super().__init__(place)
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


class Bed:
    def __init__(self) -> None:
        self.opened: list[Opened] = []
        self.reader = RoundReader(self.open, by_record_time=False)

    def open(self, starts: Mapping[SourcePartition, int]) -> RecordReader:
        self.opened.append(Opened(starts[SALES]))
        return cast(RecordReader, self.opened[-1])

    def read(self) -> list[tuple[int, int]]:
        """The epoch and the offset of each record of the next round."""
        self.reader.wait([SALES])
        round_ = self.reader.next_round([SALES])
        offsets = [] if round_ is None else round_.reads[SALES].records.offsets.tolist()
        return [(round_.epoch, offset) for offset in offsets] if round_ is not None else []


def test_rounds_are_read_from_where_the_reader_was_placed() -> None:
    bed = Bed()
    bed.reader.place({SALES: 36}, epoch=7)
    assert bed.read() + bed.read() == [(7, 36), (7, 37), (7, 38), (7, 39)]
    assert bed.read() == []


def test_what_was_read_before_a_move_does_not_come_after_it() -> None:
    bed = Bed()
    bed.reader.place({SALES: 10}, epoch=1)
    bed.reader.wait([SALES])
    bed.reader.place({SALES: 20}, epoch=2)
    assert bed.read() == [(2, 20), (2, 21)]


def test_wait_that_nobody_follows_up_loses_nothing() -> None:
    bed = Bed()
    bed.reader.place({SALES: 10}, epoch=1)
    bed.reader.wait([SALES])
    bed.reader.wait([SALES])  # a fetch loop that was cancelled, and starts again
    assert bed.read() == [(1, 10), (1, 11)]


def test_reader_that_was_stopped_gives_nothing_until_it_is_placed() -> None:
    bed = Bed()
    bed.reader.place({SALES: 10}, epoch=1)
    bed.reader.stop()
    assert not bed.reader.is_placed
    assert (bed.read(), bed.reader.gone, bed.reader.end(SALES)) == ([], [], None)


def test_each_move_closes_what_was_read_from_before() -> None:
    bed = Bed()
    for place in (1, 2, 3):
        bed.reader.place({SALES: place}, epoch=place)
    assert all(one.closed.wait(60) for one in bed.opened[:2])
    assert not bed.opened[2].closed.is_set()
