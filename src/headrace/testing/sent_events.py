"""What was sent to a test bed: records as in Kafka, and when each was known, to the microsecond."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from pydantic import BaseModel
from pydantic_core import to_json

from headrace.errors import EventChangesError, EventError
from headrace.events.dead_letter import DeadLetter
from headrace.events.decode import EventDecoder
from headrace.events.event_batch import EventBatch
from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.plan import Source
from headrace.produce.encode import EventEncoder
from headrace.produce.partitioner import partition_of
from headrace.times import us_of

__all__ = ["Event", "KnownDecoder", "Sent", "SourceSends"]

Event = Mapping[str, Any] | BaseModel | bytes
KnownAt = datetime | Sequence[datetime] | None


@dataclass(frozen=True)
class Sent:
    """A record as a worker reads it.

    Attributes:
        at: Its topic and partition.
        offset: Its offset there.
        timestamp: When it was known, in milliseconds, rounded up: Kafka holds no less.
        key: Its key.
        value: Its value.
        known_us: When it was known, in µs.
    """

    at: SourcePartition
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes
    known_us: int

    @property
    def partition(self) -> int:
        """Its partition."""
        return self.at.partition


class KnownDecoder(EventDecoder):
    """The worker's decoder, with `known_at` to the microsecond where a Kafka record has milliseconds."""

    def __init__(self, source: Source, model: type[BaseModel]) -> None:
        super().__init__(source, model)
        self._known: dict[tuple[int, int], int] = {}

    def note(self, record: Sent) -> None:
        """Note when a record that will be decoded was known."""
        self._known[record.partition, record.offset] = record.known_us

    def decode(self, records: RawRecords, known_us: int | None = None) -> tuple[EventBatch, list[DeadLetter]]:
        """As the worker's, with each event known at its record's `known_us`.

        Args:
            records: What was sent, each noted before.
            known_us: Must be None: a test bed runs on the record clock.

        Returns:
            The events that hold, and the dead letters.
        """
        batch, dead = super().decode(records, known_us)
        at = zip(batch.partition.tolist(), batch.offset.tolist(), strict=True)
        batch.known_us = np.array([self._known[position] for position in at], np.int64)
        return batch, dead


class SourceSends:
    """Gives the events of one source their partitions and offsets.

    Args:
        source: The source.
        model: Its model.
        partitions: How many partitions its topic has.
    """

    def __init__(self, source: Source, model: type[BaseModel], partitions: int) -> None:
        self._source = source
        self._encoder = EventEncoder(source, model)
        self._next = [0] * partitions
        self._turn = 0
        self._latest_us = 0

    def records(self, events: Iterable[Event], known_at: KnownAt, partition: int | None) -> list[Sent]:
        """The records of one send.

        Args:
            events: The events: what the model accepts, or the bytes of a record's value. What the model refuses is sent
                as it is, and becomes a dead letter.
            known_at: When they are known, together or each; None is each at its own time.
            partition: Their partition; None is by key, or in turn where the source has none.

        Returns:
            Records, in order.

        Raises:
            EventChangesError: The stream, which validates an event again, would read other values.
            EventError: There is no such partition; `known_at` does not fit the events or has no time zone.
        """
        given = list(events)
        known = _known(known_at, len(given))
        if partition is not None and not 0 <= partition < len(self._next):
            msg = f"There is no partition {partition}: the topic {self._source.topic!r} has {len(self._next)}."
            raise EventError(msg, hint="Make the test bed with partitions=…, or send to another.")
        return [self._record(event, us, partition) for event, us in zip(given, known, strict=True)]

    def _record(self, event: Event, known_us: int | None, partition: int | None) -> Sent:
        key, value, time_us = self._encoded(event)
        if known_us is None:  # what has no time of its own is known no earlier than what came before
            known_us = self._latest_us if time_us is None else time_us
        self._latest_us = max(self._latest_us, known_us)
        if partition is None:
            partition = self._partition(key)
        offset = self._next[partition]
        self._next[partition] += 1
        at = SourcePartition(self._source.topic, partition)
        return Sent(at, offset, -(-known_us // 1000), key, value, known_us)

    def _partition(self, key: bytes | None) -> int:
        if key is not None:
            return partition_of(key, len(self._next))
        self._turn += 1
        return (self._turn - 1) % len(self._next)

    def _encoded(self, event: Event) -> tuple[bytes | None, bytes, int | None]:
        if isinstance(event, bytes):
            return None, event, None
        try:
            encoded = self._encoder.encode(event)
        except EventChangesError:  # a worker would take it for something else
            raise
        except EventError:  # a producer would refuse it; here it shows what a worker makes of it
            fields = event.__dict__ if isinstance(event, BaseModel) else dict(event)
            key = fields.get(self._source.key or "")
            time = fields.get(self._source.timestamp_field)
            us = us_of(time) if isinstance(time, datetime) and time.tzinfo is not None else None
            value = to_json(fields, inf_nan_mode="constants", fallback=str)
            return None if key is None else str(key).encode(), value, us
        return encoded.key, encoded.value, us_of(encoded.time)


def _known(known_at: KnownAt, events: int) -> list[int | None]:
    if known_at is None:
        return [None] * events
    moments = [known_at] * events if isinstance(known_at, datetime) else list(known_at)
    if len(moments) != events:
        msg = f"There are {events} events and known_at has {len(moments)} times."
        raise EventError(msg, hint="Give one time for all, or one for each event.")
    for moment in moments:
        if moment.tzinfo is None:
            msg = f"known_at has {moment.isoformat()}, which has no time zone."
            raise EventError(msg, hint="Give one: known_at.replace(tzinfo=datetime.UTC).")
    return [us_of(moment) for moment in moments]
