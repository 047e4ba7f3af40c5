"""Reading committed records back, outside any consumer group, by librdkafka, which knows every codec."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any, NamedTuple

import confluent_kafka as librdkafka

from headrace.errors import BrokerRefusedError, HeadraceError, TopicError
from headrace.events.raw_records import Headers
from headrace.kafka.broker_errors import unavailable
from headrace.kafka.connection import KafkaConnection
from headrace.kafka.connection_check import TIMEOUT_S, check_connection
from headrace.kafka.record_headers import headers_of

__all__ = ["READ_COMMITTED", "Record", "partition_ends", "read_records"]

READ_COMMITTED: dict[str, str | int | bool] = {
    "group.id": "headrace-reader",  # it must have one, and joins none
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,
    "check.crcs": True,
    "receive.message.max.bytes": 2_147_483_647,  # a record may be as large as its broker lets it
    "reconnect.backoff.max.ms": 1_000,
}
"""How headrace reads topics: committed records only; it learns where a partition ends, and which offsets are gone."""

_SETTINGS: dict[str, str | int | bool] = {**READ_COMMITTED, "fetch.wait.max.ms": 20, "log_level": 0}

_AT_A_TIME = 1_000
_POLL_S = 0.2

_EOF = librdkafka.KafkaError._PARTITION_EOF  # noqa: SLF001 its public name
_GONE = librdkafka.KafkaError._AUTO_OFFSET_RESET  # noqa: SLF001

Place = tuple[str, int]
"""A topic and a partition of it."""


class Record(NamedTuple):
    """A record as it was read.

    Attributes:
        topic: Its topic.
        partition: Its partition.
        offset: Its offset.
        timestamp: Its timestamp in ms since 1970 UTC; -1 where it has none.
        is_append_time: Whether that is the broker's time, not the producer's.
        key: Its key.
        value: Its value.
        headers: Its headers.
    """

    topic: str
    partition: int
    offset: int
    timestamp: int
    is_append_time: bool
    key: bytes | None
    value: bytes | None
    headers: Headers


class _End(NamedTuple):
    place: Place
    offset: int


def read_records(
    connection: KafkaConnection, ranges: Mapping[Place, tuple[int, int]], *, timeout_s: float = TIMEOUT_S
) -> Iterator[Record]:
    """Read the committed records of ranges of offsets.

    Args:
        connection: The broker.
        ranges: The first offset and the one to stop before, by topic and partition. A range that goes past what can be
            read (the end, or an open transaction) ends there.
        timeout_s: How long the broker may send nothing, in seconds.

    Yields:
        The records, those of each partition in offset order.

    Raises:
        BrokerUnavailableError: The broker is away, or stops sending.
        TopicError: The records at the beginning of a range are no longer there, or may not be read.
    """
    left = {place: stop for place, (first, stop) in ranges.items() if first < stop}
    if not left:
        return
    with closing(_consumer(connection)) as client:
        client.assign([librdkafka.TopicPartition(*place, ranges[place][0]) for place in left])
        for event in _events(client, connection, timeout_s):
            place = event.place if isinstance(event, _End) else (event.topic, event.partition)
            if place not in left:
                continue
            if isinstance(event, Record) and event.offset < left[place]:
                yield event
            if isinstance(event, _End) or event.offset >= left[place] - 1:
                del left[place]
                if not left:
                    return
                client.incremental_unassign([librdkafka.TopicPartition(*place)])


def partition_ends(
    connection: KafkaConnection, starts: Mapping[Place, int], *, timeout_s: float = TIMEOUT_S
) -> dict[Place, tuple[int, int]]:
    """Where partitions end, from the answers to fetches.

    Args:
        connection: The broker.
        starts: By topic and partition, an offset at or near the end to fetch from.
        timeout_s: How long to wait for the broker, in seconds.

    Returns:
        By topic and partition: the offset up to which committed records can be read, and the one that the next record
        will get. They differ while a transaction is open.

    Raises:
        BrokerUnavailableError: The broker is away.
        TopicError: A topic may not be read.
    """
    found: dict[Place, tuple[int, int]] = {}
    if not starts:
        return found
    with closing(_consumer(connection)) as client:
        client.assign([librdkafka.TopicPartition(*place, offset) for place, offset in starts.items()])
        for event in _events(client, connection, timeout_s):
            if isinstance(event, _End):
                _, high = client.get_watermark_offsets(librdkafka.TopicPartition(*event.place), cached=True)
                found[event.place] = event.offset, max(high, event.offset)
                if len(found) == len(starts):
                    break
    return found


def _consumer(connection: KafkaConnection) -> Any:
    check_connection(connection)
    return librdkafka.Consumer({**connection.librdkafka(), **_SETTINGS})


def _events(client: Any, connection: KafkaConnection, timeout_s: float) -> Iterator[Record | _End]:
    """Records and the ends of partitions as they come, without end."""
    deadline = time.monotonic() + timeout_s
    why = f"it has sent nothing for {timeout_s:g} s"
    while True:
        for message in client.consume(_AT_A_TIME, _POLL_S):
            error = message.error()
            if error is None:
                kind, timestamp = message.timestamp()
                yield Record(
                    message.topic(),
                    message.partition(),
                    message.offset(),
                    timestamp,
                    kind == librdkafka.TIMESTAMP_LOG_APPEND_TIME,
                    message.key(),
                    message.value(),
                    (headers_of([message]) or [()])[0],
                )
            elif error.code() == _EOF:
                yield _End((message.topic(), message.partition()), message.offset())
            elif (refused := _refusal(client, connection, message)) is not None:
                raise refused
            else:  # librdkafka tries again by itself
                why = error.str().rstrip(".")
                continue
            deadline = time.monotonic() + timeout_s
        if time.monotonic() > deadline:
            raise unavailable(connection, why)


def _refusal(client: Any, connection: KafkaConnection, message: Any) -> HeadraceError | None:
    """The error to raise for what librdkafka says of a partition; None where trying again may help."""
    code, topic, partition = message.error().code(), message.topic(), message.partition()
    if code == _GONE:
        begin, _ = client.get_watermark_offsets(librdkafka.TopicPartition(topic, partition), timeout=TIMEOUT_S)
        where = f"topic {topic!r}, partition {partition}"
        msg = f"The records from offset {message.offset():,} of {where} are gone; it begins at {begin:,}."
        return TopicError(msg, hint="The topic's retention, or someone, has deleted them.")
    if code == librdkafka.KafkaError.TOPIC_AUTHORIZATION_FAILED:
        msg = f"The broker at {connection} does not let headrace read topic {topic!r}."
        return BrokerRefusedError(
            msg, hint="Grant READ and DESCRIBE on the topic to the user that headrace connects as."
        )
    return None
