"""A gap in the offsets is believed once it has stayed; at once, if the topic has shown enough of them."""

from __future__ import annotations

import numpy as np
import pytest
from confluent_kafka import KafkaError, KafkaException
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.events.source_partition import SourcePartition
from headrace.kafka import KafkaConnection
from headrace.kafka import fetch_reader as reader_module
from headrace.kafka.fetch_reader import RecordReader
from headrace.kafka.offset_gaps import PATIENCE_S, OffsetGaps

A, B = SourcePartition("t", 0), SourcePartition("t", 1)


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def before_gap(gaps: OffsetGaps, expected: int, *offsets: int, source: SourcePartition = A) -> int:
    return gaps.before_gap(source, expected, np.array(offsets, np.int64))


def test_offsets_that_follow_each_other_are_taken() -> None:
    gaps = OffsetGaps()
    assert before_gap(gaps, 5, 5, 6, 7) == 3
    assert before_gap(gaps, 8) == 0


def test_what_comes_behind_a_gap_waits_until_the_gap_is_filled() -> None:
    clock = Clock()
    gaps = OffsetGaps(clock)
    assert before_gap(gaps, 5, 5, 6, 9, 10) == 2
    clock.now = PATIENCE_S / 2
    assert before_gap(gaps, 7, 9, 10, 11) == 0
    assert before_gap(gaps, 7, 7, 8, 9, 10, 11) == 5
    clock.now = PATIENCE_S * 2
    assert before_gap(gaps, 12, 14) == 0  # another gap has patience of its own


def test_gap_that_stays_is_believed() -> None:
    clock = Clock()
    gaps = OffsetGaps(clock)
    assert before_gap(gaps, 0, 3, 4, 6) == 0
    clock.now = PATIENCE_S
    assert before_gap(gaps, 0, 3, 4, 6) == 2
    assert before_gap(gaps, 5, 6) == 0
    assert before_gap(gaps, 0, 0, 1, source=B) == 2


def test_topic_with_real_gaps_is_believed_at_once() -> None:
    clock = Clock()
    gaps = OffsetGaps(clock)
    for number in range(3):
        assert before_gap(gaps, 10 * number, 10 * number + 5) == 0
        clock.now += PATIENCE_S
        assert before_gap(gaps, 10 * number, 10 * number + 5) == 1
    assert before_gap(gaps, 40, 47, 49, source=B) == 2


class Broker:
    """A partition as librdkafka's consumer shows it; what is not visible yet is passed over."""

    records: list[int] = []
    visible: set[int] = set()
    seeks = 0

    def __init__(self, *_: object, **__: object) -> None:
        self.at = 0

    def assign(self, places: list[object]) -> None:
        assert len(places) == 1

    def seek(self, place: object) -> None:
        type(self).seeks += 1
        if self.seeks % 3 == 1:
            raise KafkaException(KafkaError(KafkaError._STATE))  # noqa: SLF001 its public name
        self.at = place.offset  # type: ignore[attr-defined]

    def consume(self, count: int, _: float) -> list[Message]:
        found = [offset for offset in self.records if offset >= self.at and offset in self.visible][:count]
        self.at = found[-1] + 1 if found else self.at
        return [Message(offset) for offset in found]

    def close(self) -> None:
        """There is no connection."""


class Message:
    def __init__(self, offset: int) -> None:
        self.number = offset

    def error(self) -> None:
        return None

    def offset(self) -> int:
        return self.number

    def partition(self) -> int:
        return 0

    def timestamp(self) -> tuple[int, int]:
        return (1, self.number)

    def key(self) -> None:
        return None

    def value(self) -> bytes:
        return b"%d" % self.number


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_reader_misses_nothing_that_becomes_visible_late(data: st.DataObject) -> None:
    """As the embedded broker does it: offsets are given out in order, and batches can be read in another one."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reader_module, "Consumer", Broker)
        patch.setattr(reader_module, "Message", Message)
        patch.setattr(reader_module, "headers_of", lambda _: None)
        Broker.records = sorted(data.draw(st.sets(st.integers(0, 12), min_size=1), label="records"))
        left = data.draw(st.permutations(Broker.records), label="visible in this order")
        Broker.visible = set()
        clock = Clock()
        reader = RecordReader(KafkaConnection.of("nowhere:1"), {A: 0})
        reader._gaps = OffsetGaps(clock)  # noqa: SLF001
        found: list[int] = []
        while left or len(found) < len(Broker.records):
            count = data.draw(st.integers(1, 3), label="become visible")
            Broker.visible |= set(left[:count])
            left = left[count:]
            clock.now += 0.0 if left else PATIENCE_S  # nothing takes as long as the reader has patience
            reader.fetch([A], 0.0)
            for read in reader.take([A]).values():
                found += read.records.offsets.tolist()
        assert found == Broker.records
