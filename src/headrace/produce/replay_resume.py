"""What an earlier run of a replay has sent already.

A replay sends in an order that never changes, and each partition holds a gapless beginning of what is sent to it. So
counting a partition's records gives the place to go on. They are read, not taken from its end offset: aborted
transactions and their markers have offsets as well. The last record of each partition is compared with the event that
should be there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt

from headrace.errors import TopicError
from headrace.kafka.committed_records import Record, read_records
from headrace.kafka.connection import KafkaConnection
from headrace.produce.encode import EncodedEvent
from headrace.produce.replay_past_topics import NO_PAST_TOPICS, RESUME_HINT, PastTopics

__all__ = ["already_sent"]


def already_sent(
    connection: KafkaConnection,
    topic: str,
    ends: Mapping[int, int],
    events: Iterator[tuple[int, int, EncodedEvent]],
    total: int,
    past: PastTopics = NO_PAST_TOPICS,
) -> npt.NDArray[np.bool_]:
    """Find the events of a replay that the topic has, or had before it was created again.

    Args:
        connection: The broker.
        topic: The topic.
        ends: The end offset of each partition.
        events: Partition, record timestamp in ms and content of every event, in the order of sending.
        total: How many events there are.
        past: What is logged of the topic before it was created again.

    Returns:
        Whether each is there, in the order of sending.

    Raises:
        BrokerUnavailableError: The broker is away.
        TopicError: The topic holds something else than this replay sends.
    """
    sent = np.zeros(total, bool)
    left: Counter[int] = Counter({partition: count for partition, count in past.counts.items() if count})
    last: dict[int, Record] = {}
    for record in read_records(connection, {(topic, partition): (0, end) for partition, end in ends.items()}):
        left[record.partition] += 1
        last[record.partition] = record
    if not left:
        return sent
    counts = dict(left)
    for place, (partition, timestamp_ms, event) in enumerate(events):
        if partition not in left:
            continue
        sent[place] = True
        past.check(topic, partition, counts[partition] - left[partition], timestamp_ms)
        left[partition] -= 1
        if left[partition] == 0:
            del left[partition]
            if partition in last:
                _compare(last[partition], event, timestamp_ms)
            if not left:
                return sent
    partition, count = next(iter(left.items()))
    msg = f"Topic {topic!r}, partition {partition} holds {count:,} more events than this replay sends there."
    raise TopicError(msg, hint=RESUME_HINT)


def _compare(record: Record, event: EncodedEvent, timestamp_ms: int) -> None:
    if (record.key, record.value) == (event.key, event.value):
        if record.is_append_time or record.timestamp == timestamp_ms:
            return
        differs = f"its timestamp, {record.timestamp} instead of {timestamp_ms}"
    else:
        differs = f"its content, {_shown(record.value)} instead of {_shown(event.value)}"
    where = f"Topic {record.topic!r}, partition {record.partition}, offset {record.offset:,}"
    msg = f"{where} does not hold what this replay sent there: it differs in {differs}."
    raise TopicError(msg, hint=RESUME_HINT)


def _shown(value: bytes | None) -> str:
    text = "nothing" if value is None else value.decode("utf-8", "replace")
    return text if len(text) <= 100 else f"{text[:100]}…"
