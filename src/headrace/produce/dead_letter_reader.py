"""Reading dead letters back."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from headrace.errors import EventError
from headrace.events.dead_letter import DeadLetter, dead_letter_topic
from headrace.kafka import KafkaConnection, beginning_offsets, end_offsets
from headrace.kafka.committed_records import Record, read_records
from headrace.kafka.connection_check import TIMEOUT_S

__all__ = ["read_dead_letters"]


def read_dead_letters(
    connection: KafkaConnection, topics: Collection[str], *, timeout_s: float = TIMEOUT_S
) -> list[DeadLetter]:
    """Read the dead letters of topics.

    A worker that was killed may write a dead letter twice; each position of the source is returned once. A record
    in a dead-letter topic that is not a dead letter is returned as one, and its reason says so.

    Args:
        connection: The broker.
        topics: The topics of events (not of dead letters).
        timeout_s: How long to wait for the broker, in seconds.

    Returns:
        The dead letters by topic, partition and offset.

    Raises:
        BrokerUnavailableError: No broker answers.
        TopicError: A topic has no dead-letter topic.
    """
    names = [dead_letter_topic(topic) for topic in topics]
    if not names:
        return []
    begin = beginning_offsets(connection, names, timeout_s=timeout_s)
    end = end_offsets(connection, names, committed=True, timeout_s=timeout_s)
    replayed: dict[tuple[tuple[str, int, int], int], int] = {}
    found: dict[
        tuple[tuple[str, int, int], int], DeadLetter
    ] = {}  # a topic that was created again has the same positions again
    for record in read_records(connection, {place: (begin[place], end[place]) for place in end}, timeout_s=timeout_s):
        letter = _letter(record)
        at = letter.position, letter.recorded_at_ms
        if letter.replayed_at_ms is not None:  # no letter, but the note that it was sent back
            replayed[at] = letter.replayed_at_ms
        elif at not in found or (found[at].is_cut and not letter.is_cut):
            found[at] = letter
    return [replace(found[at], replayed_at_ms=replayed.get(at)) for at in sorted(found)]


def _letter(record: Record) -> DeadLetter:
    try:
        return DeadLetter.from_record(
            key=record.key, value=record.value, headers=record.headers, timestamp_ms=record.timestamp
        )
    except EventError as error:
        return DeadLetter(
            topic=record.topic,
            partition=record.partition,
            offset=record.offset,
            reason=error.what,
            field=None,
            model="",
            key=record.key,
            value=record.value,
            headers=record.headers,
            recorded_at_ms=record.timestamp,
        )
