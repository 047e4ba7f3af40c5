"""Filling kafka-python's record batches many records at a time.

`KafkaProducer.send` spends ten times as long on a record as writing it takes: it picks a partition, estimates a size,
takes two locks and makes a future with two callbacks, each time. Here a batch has one outcome for all its records, and
records are written into it as they are on the wire, a run of them under one lock. Everything behind that, from sequence
numbers and retries to splitting what a broker finds too large, is kafka-python's.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from headrace.events.raw_records import Headers
from headrace.kafka.clients import KafkaProducer, MemoryRecordsBuilder, ProducerBatch, TopicPartition

__all__ = ["NO_HEADERS", "Batch", "BatchingProducer", "Record", "encoded_headers"]

_MAGIC = 2

Record: TypeAlias = tuple[int, bytes | None, bytes, bytes]
"""A record to send: its timestamp in milliseconds since 1970 UTC, its key, its value, its encoded headers."""

NO_HEADERS = b"\x00"
"""The encoded headers of a record without headers."""


def encoded_headers(headers: Headers) -> bytes:
    """A record's headers as the record format has them.

    Args:
        headers: The headers.
    """
    parts = [_varint(len(headers))]
    for name, value in headers:
        text = name.encode()
        parts += (_varint(len(text)), text, _varint(-1 if value is None else len(value)), value or b"")
    return b"".join(parts)


def _varint(number: int) -> bytes:
    bits = (number << 1) ^ (number >> 63)
    if bits < len(_SHORT):
        return _SHORT[bits]
    if bits < 1 << 28:
        third = bits >> 14
        low = (bits & 0x7F | 0x80, bits >> 7 & 0x7F | 0x80)
        return bytes((*low, third)) if third < 0x80 else bytes((*low, third & 0x7F | 0x80, third >> 7))
    return bytes(_groups(bits))


def _groups(bits: int) -> Iterator[int]:
    while bits > 0x7F:
        yield bits & 0x7F | 0x80
        bits >>= 7
    yield bits


_SHORT = [bytes(_groups(bits)) for bits in range(1 << 14)]


class Batch(ProducerBatch):  # type: ignore[misc]  # kafka-python ships no types
    """A batch of records of one partition, with one outcome.

    Args:
        place: The partition.
        records: What its records are written to.
    """

    def __init__(self, place: Any, records: Any) -> None:
        super().__init__(place, records)
        self.error: Exception | None = None
        self._settled = threading.Event()
        self._apart: int | None = None
        self._record_futures = _Pieces(self)
        self.produce_future.add_callback(self._done)
        self.produce_future.add_errback(self._failed)

    @property
    def is_settled(self) -> bool:
        """Whether the broker has acknowledged or refused it, or it was given up."""
        return self._settled.is_set()

    @property
    def is_confirmed(self) -> bool:
        """Whether the broker has acknowledged it."""
        return self.is_settled and self.error is None

    def wait(self, timeout_s: float) -> bool:
        """Wait until it is settled; whether it is."""
        return self._settled.wait(timeout_s)

    def fill(self, records: Sequence[Record], first: int) -> int:
        """Write as many records into it as there is room for; one always, where it is empty.

        Args:
            records: The records.
            first: The first to write.

        Returns:
            The first that had no room.
        """
        builder = self.records._builder  # noqa: SLF001
        if builder is None or first == len(records):
            return first
        if builder._first_timestamp is None:  # noqa: SLF001
            builder._first_timestamp = builder._max_timestamp = records[first][0]  # noqa: SLF001
        begin, room = builder._first_timestamp, builder._batch_size - len(builder._buffer)  # noqa: SLF001
        offset = self.records.next_offset()
        shift = offset - first
        parts: list[bytes] = []
        newest, place = builder._max_timestamp, first  # noqa: SLF001
        short, varint, many = _SHORT, _varint, len(_SHORT) // 2
        for place in range(first, len(records)):
            timestamp_ms, key, value, headers = records[place]
            at, length = place + shift, len(value)
            # Attributes, timestamp, offset, key, value, headers.
            body = b"".join(
                (
                    b"\x00",
                    varint(timestamp_ms - begin),
                    short[at + at] if at < many else varint(at),
                    b"\x01" if key is None else varint(len(key)),
                    key or b"",
                    short[length + length] if length < many else varint(length),
                    value,
                    headers,
                )
            )
            length = len(body)
            size = short[length + length] if length < many else varint(length)
            room -= len(size) + length
            if room < 0 and at:
                break
            parts += (size, body)
            if timestamp_ms > newest:
                newest = timestamp_ms
        else:
            place = len(records)
        if place > first:
            builder._buffer += b"".join(parts)  # noqa: SLF001
            builder._max_timestamp = newest  # noqa: SLF001
            builder._num_records += place - first  # noqa: SLF001
            builder._last_offset = place - 1 + shift  # noqa: SLF001
            self.records._next_offset = place + shift  # noqa: SLF001
        return place

    def _done(self, outcome: Any) -> None:
        _, _, error_of = outcome
        if error_of is not None:
            self.error = error_of(0)
        self._settled.set()

    def _failed(self, error: Exception) -> None:
        self.error = error
        self._settled.set()

    def follow(self, part: Any) -> None:
        """A record has moved to another batch, as the broker finds this one too large; `part` is the new future."""
        if self._apart is None:
            self._apart = len(self._record_futures)
        part.add_callback(self._part_done)
        part.add_errback(self._part_failed)

    def _part_done(self, outcome: Any) -> None:
        _, _, error_of = outcome
        if error_of is not None:
            self.error = error_of(0)
        self._one_less()

    def _part_failed(self, error: Exception) -> None:
        self.error = error
        self._one_less()

    def _one_less(self) -> None:
        self._apart = (self._apart or 0) - 1  # only in the thread that talks to the broker
        if self._apart <= 0:
            self._settled.set()


class _Pieces(Sequence["_Piece"]):
    """The futures of a batch's records, as kafka-python asks for them when it splits the batch."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def __len__(self) -> int:
        return int(self._batch.records.next_offset())

    def __getitem__(self, place: Any) -> Any:
        return _Piece(self._batch)


class _Piece:
    """The future of one record of a batch that is split."""

    def __init__(self, batch: Batch) -> None:
        self._batch = batch

    def rebind(self, part: Any, _: int) -> None:
        """The record is in another batch from now on, as it may be again."""
        self._batch.follow(part)


class BatchingProducer(KafkaProducer):  # type: ignore[misc]  # kafka-python ships no types
    """A producer that takes many records at a time, can stop at once, and leaves no thread behind without a broker."""

    def __init__(self, **configs: object) -> None:
        try:
            super().__init__(**configs)
        except Exception:
            self._closed = True  # its destructor closes what is not closed, and there is nothing yet
            raise

    def append(self, place: TopicPartition, records: Sequence[Record], begun: Callable[[Batch], None]) -> bool:
        """Hand records over.

        Args:
            place: Their partition.
            records: The records, in order.
            begun: Called with each batch that is begun for them.

        Returns:
            Whether one was; then call `wake`.
        """
        queued = self._accumulator
        first, was_begun = 0, False
        queued._appends_in_progress.increment()  # noqa: SLF001
        try:
            with queued._tp_lock(place):  # noqa: SLF001
                queue = queued._batches[place]  # noqa: SLF001
                if queue and isinstance(queue[-1], Batch):
                    first = queue[-1].fill(records, first)
                while first < len(records):
                    config = queued.config
                    batch = Batch(
                        place, MemoryRecordsBuilder(_MAGIC, config["compression_attrs"], config["batch_size"])
                    )
                    first = batch.fill(records, first)
                    queue.append(batch)
                    queued._incomplete.add(batch)  # noqa: SLF001
                    begun(batch)
                    was_begun = True
        finally:
            queued._appends_in_progress.decrement()  # noqa: SLF001
        return was_begun

    def wake(self) -> None:
        """Have the thread that talks to the broker look at what there is to send."""
        self._sender.wakeup()

    def hurry(self, wait: Callable[[], None]) -> None:
        """Send what is buffered without waiting for more to share its batch.

        Args:
            wait: Waits until it has been sent.
        """
        self._accumulator.begin_flush()
        try:
            self._sender.wakeup()
            wait()
        finally:
            self._accumulator._flushes_in_progress.decrement()  # noqa: SLF001

    def abandon(self) -> None:
        """Stop without sending what is buffered.

        `close` would wait for that, and raise without stopping when it takes too long.
        """
        if not self._closed:
            self._closed = True
            self._unregister_cleanup()
            self._sender.force_close()
            self._sender.join(5.0)
