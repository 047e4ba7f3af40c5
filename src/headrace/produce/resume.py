"""What an earlier run of a replay has sent already.

A replay sends in an order that never changes, and each partition holds a gapless beginning of what is sent to it. So
counting tells where to go on: a partition's end offset is how many of its events are there. The last record of each
partition is compared with the event that should be there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from headrace.errors import TopicError
from headrace.produce.encode import EncodedEvent
from headrace.produce.records import read_records

__all__ = ["already_sent"]

_LOG_APPEND_TIME = 1


def already_sent(
    bootstrap: str, topic: str, ends: Mapping[int, int], events: Iterator[tuple[int, int, EncodedEvent]], total: int
) -> npt.NDArray[np.bool_]:
    """Find the events of a replay that the topic holds.

    Args:
        bootstrap: ``host:port[,host:port]``.
        topic: The topic.
        ends: The end offset of each partition.
        events: Partition, record timestamp in ms and content of every event, in the order of sending.
        total: How many events there are.

    Returns:
        Whether each is there, in the order of sending.

    Raises:
        BrokerUnavailableError: The broker is away.
        TopicError: The topic holds something else than this replay sends.
    """
    sent = np.zeros(total, bool)
    left = {partition: end for partition, end in ends.items() if end > 0}
    if not left:
        return sent
    last = {
        record.partition: record
        for record in read_records(bootstrap, {(topic, partition): (end - 1, end) for partition, end in left.items()})
    }
    for place, (partition, timestamp_ms, event) in enumerate(events):
        if partition not in left:
            continue
        sent[place] = True
        left[partition] -= 1
        if left[partition] == 0:
            del left[partition]
            _compare(topic, partition, ends[partition] - 1, last.get(partition), event, timestamp_ms)
            if not left:
                return sent
    partition, count = next(iter(left.items()))
    msg = f"Topic {topic!r}, partition {partition} holds {count:,} more events than this replay sends there."
    raise TopicError(msg, cure=_CURE)


_CURE = "Resume with the same --from, --until, --late and --seed as before. Without --resume the events come on top."


def _compare(topic: str, partition: int, offset: int, record: Any, event: EncodedEvent, timestamp_ms: int) -> None:
    differs = "the record itself, which does not read back"
    if record is not None:
        if (record.key, record.value) == (event.key, event.value):
            if record.timestamp_type == _LOG_APPEND_TIME or record.timestamp == timestamp_ms:
                return
            differs = f"its timestamp, {record.timestamp} instead of {timestamp_ms}"
        else:
            differs = f"its content, {_shown(record.value)} instead of {_shown(event.value)}"
    where = f"Topic {topic!r}, partition {partition}, offset {offset:,}"
    msg = f"{where} does not hold what this replay sent there: it differs in {differs}."
    raise TopicError(msg, cure=_CURE)


def _shown(value: bytes | None) -> str:
    text = "nothing" if value is None else value.decode("utf-8", "replace")
    return text if len(text) <= 100 else f"{text[:100]}…"
