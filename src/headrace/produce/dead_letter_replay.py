"""Sending dead letters back to their topics, once what was wrong with their model or definitions is fixed.

A note in the dead-letter topic says that a letter was sent back, so it is not sent twice. The note comes after the
broker has confirmed the event: a process killed between the two may send the last few again, and an `event_id` in the
source has those count once.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from headrace.config import Project
from headrace.errors import BrokerUnavailableError
from headrace.events.dead_letter import DeadLetter, dead_letter_topic
from headrace.kafka import KafkaConnection, describe, project_connection
from headrace.kafka.clients import KafkaProducer, kafka_python_errors
from headrace.kafka.connection_check import TIMEOUT_S
from headrace.produce.delivery import ConfirmedSender
from headrace.produce.partitioner import partition_of
from headrace.produce.record_batches import Record, encoded_headers
from headrace.produce.record_timestamps import clock_of

__all__ = ["replay_dead_letters", "why_not_replayed"]

_CHUNK = 500
_PATIENCE_S = 30.0
_LINGER_MS = 20


def why_not_replayed(letter: DeadLetter) -> str | None:
    """Why a letter cannot be sent back; None where it can.

    Args:
        letter: The letter.
    """
    if letter.replayed_at_ms is not None:
        return "was sent back before"
    if letter.is_cut:
        return "was cut to what the broker takes, so its original bytes are not here"
    if letter.value is None:
        return "had no value (a tombstone)"
    if letter.topic.endswith(dead_letter_topic("")):
        return "is no dead letter of headrace's"
    return None


def replay_dead_letters(project: Project, letters: Sequence[DeadLetter]) -> int:
    """Send letters' original keys, values and headers back to their topics, and note that.

    A letter goes to the partition that it came from. Its record is stamped by the project's clock: with the time now,
    or, under the record clock, with the original time, or the newest record's where that is later.

    Args:
        project: The project.
        letters: The letters; those that `why_not_replayed` refuses are skipped.

    Returns:
        How many were sent.

    Raises:
        BrokerUnavailableError: The broker is away; what was sent before is noted.
        EventError: A letter is larger than the broker takes.
        TopicError: A topic is missing, or the broker refuses what is sent.
    """
    connection = project_connection(project)
    sent = 0
    ready = sorted((one for one in letters if why_not_replayed(one) is None), key=lambda one: one.position)
    for topic, of_topic in groupby(ready, key=lambda one: one.topic):
        sent += _replay_topic(project, connection, topic, list(of_topic))
    return sent


def _replay_topic(project: Project, connection: KafkaConnection, topic: str, letters: list[DeadLetter]) -> int:
    clock = clock_of(project)
    partitions = describe(connection, [topic], timeout_s=TIMEOUT_S)[topic].partitions
    with kafka_python_errors(connection):
        sender = ConfirmedSender(
            connection, topic, partitions, timeout_s=TIMEOUT_S, patience_s=_PATIENCE_S, linger_ms=_LINGER_MS
        )
    try:
        for first in range(0, len(letters), _CHUNK):
            chunk = letters[first : first + _CHUNK]
            records: dict[int, list[Record]] = {}
            for letter in chunk:
                place = (
                    letter.partition if letter.partition < partitions else partition_of(letter.key or b"", partitions)
                )
                timestamp_ms, headers = clock.resent_ms(letter.recorded_at_ms), encoded_headers(letter.headers)
                records.setdefault(place, []).append((timestamp_ms, letter.key, letter.value or b"", headers))
            sender.send_all(records)
            sender.flush()
            _note(connection, chunk)
    finally:
        sender.close()
    return len(letters)


def _note(connection: KafkaConnection, letters: Sequence[DeadLetter]) -> None:
    """Say in the dead-letter topic that letters were sent back."""
    now_ms = time.time_ns() // 1_000_000
    with kafka_python_errors(connection):
        producer = KafkaProducer(**connection.kafka_python(), acks="all", enable_idempotence=True)
        try:
            noted = [
                producer.send(
                    dead_letter_topic(letter.topic),
                    value=b"",
                    headers=replace(letter, headers=(), replayed_at_ms=now_ms).to_headers(),
                )
                for letter in letters
            ]
            producer.flush(timeout=_PATIENCE_S)
        finally:
            producer.close(timeout=TIMEOUT_S)
    if not all(one.succeeded() for one in noted):
        msg = f"{len(letters):,} dead letters were sent back, and that could not be noted in their dead-letter topic."
        raise BrokerUnavailableError(
            msg, hint="They may be sent again by the next replay: look with `headrace log head` first."
        )
