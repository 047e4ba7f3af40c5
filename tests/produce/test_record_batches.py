"""Batches filled in one go are, byte for byte, those that kafka-python fills record by record."""

from __future__ import annotations

import random
from typing import Any

import pytest

from headrace.kafka.clients import MemoryRecordsBuilder, TopicPartition
from headrace.produce.record_batches import NO_HEADERS, Batch, Record, _varint, encoded_headers

PLACE = TopicPartition("t", 0)
START = 1_356_998_400_000
HEADERS: list[list[tuple[str, bytes | None]]] = [
    [],
    [],
    [("trace", b"1")],
    [("", b""), ("ü" * 70, None), ("ü", b"v" * 200)],
]


def batch_of(size: int = 1 << 20) -> Batch:
    return Batch(PLACE, MemoryRecordsBuilder(2, 0, size))


def records_of(count: int, seed: int, *, longest: int = 300) -> list[Record]:
    """Records with keys or without, timestamps that go back and forth by milliseconds to years, values of any size."""
    dice = random.Random(seed)  # noqa: S311
    steps = [0, 1, -1, 180, -5_000, 10**6, -(10**6), 10**10, -(10**9)]
    return [
        (
            START + dice.choice(steps),
            None if dice.random() < 0.2 else dice.randbytes(dice.choice([0, 1, 12, 63, 64, 200])),
            dice.randbytes(dice.randrange(longest)),
            encoded_headers(dice.choice(HEADERS)),
        )
        for _ in range(count)
    ]


def by_the_library(records: list[Record], size: int) -> list[bytes]:
    """The batches that kafka-python makes of records."""
    found: list[bytes] = []
    builder = MemoryRecordsBuilder(2, 0, size)
    for timestamp_ms, key, value, encoded in records:
        headers = next(one for one in HEADERS if encoded_headers(one) == encoded)
        if builder.append(timestamp_ms, key, value, headers) is None:
            builder.close()
            found.append(bytes(builder.buffer()))
            builder = MemoryRecordsBuilder(2, 0, size)
            assert builder.append(timestamp_ms, key, value, headers) is not None
    builder.close()
    return [*found, bytes(builder.buffer())]


def by_ours(records: list[Record], size: int, at_once: int) -> list[bytes]:
    found: list[bytes] = []
    batch = batch_of(size)
    for begin in range(0, len(records), at_once):
        some, first = records[begin : begin + at_once], 0
        while (first := batch.fill(some, first)) < len(some):
            batch.records.close()
            found.append(bytes(batch.records.buffer()))
            batch = batch_of(size)
    batch.records.close()
    return [*found, bytes(batch.records.buffer())]


@pytest.mark.parametrize("size", [150, 1_000, 20_000, 1 << 20])
@pytest.mark.parametrize("at_once", [1, 7, 1_000])
def test_bytes_are_those_of_the_library(size: int, at_once: int) -> None:
    records = records_of(1_000, seed=size)
    assert by_ours(records, size, at_once) == by_the_library(records, size)


def test_large_records_and_long_batches_have_the_bytes_of_the_library() -> None:
    records = records_of(30, seed=1, longest=70_000) + [(START, b"k", b"v", NO_HEADERS)] * 20_000
    assert by_ours(records, 4 << 20, 5_000) == by_the_library(records, 4 << 20)


@pytest.mark.parametrize("number", [0, 1, -1, 63, 64, -64, -65, 8191, 8192, 2**20, -(2**27), 2**27, 2**40, -(2**62)])
def test_numbers_are_written_as_the_library_writes_them(number: int) -> None:
    from kafka.record.util import encode_varint

    wanted = bytearray()
    encode_varint(number, wanted.append)
    assert _varint(number) == bytes(wanted)


def test_batch_is_confirmed_or_refused_as_a_whole() -> None:
    good, bad = batch_of(), batch_of()
    for batch in (good, bad):
        batch.fill([(START, b"k", b"v", NO_HEADERS)] * 3, 0)
        assert not batch.is_settled
    good.complete(10, -1)
    bad.complete_exceptionally(ValueError("no"), lambda _: ValueError("no"))
    assert good.is_confirmed
    assert not bad.is_confirmed
    assert bad.is_settled
    assert str(bad.error) == "no"


@pytest.mark.parametrize("refused", [False, True])
def test_batch_that_is_split_is_settled_with_its_last_part(refused: bool) -> None:
    from kafka.producer.record_accumulator import RecordAccumulator

    queued = RecordAccumulator(batch_size=1 << 20)
    batch = batch_of()
    batch.fill(records_of(9, seed=3), 0)
    batch.records.close()
    queued.split_and_reenqueue(batch)
    parts = list(queued._batches[PLACE])  # noqa: SLF001
    assert [part.record_count for part in parts] == [5, 4]
    parts[1].records.close()
    queued.split_and_reenqueue(parts[1])
    parts = [parts[0], *(part for part in queued._batches[PLACE] if part.record_count == 2)]  # noqa: SLF001
    for part in parts:
        assert not batch.is_settled
        finish(part, refused=refused and part is parts[1])
    assert batch.is_settled
    assert batch.is_confirmed is not refused
    assert batch.record_count == 9


def finish(part: Any, *, refused: bool) -> None:
    if refused:
        part.complete_exceptionally(ValueError("no"), lambda _: ValueError("no"))
    else:
        part.complete(0, -1)
