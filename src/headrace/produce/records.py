"""Reading single records and whole topics back, outside any consumer group."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import Any

from headrace.broker.connection import TIMEOUT_S, consumer, unavailable
from headrace.broker.kafka_import import TopicPartition
from headrace.errors import TopicError

__all__ = ["read_records"]

_POLL_MS = 500


def read_records(
    bootstrap: str, ranges: Mapping[tuple[str, int], tuple[int, int]], *, timeout_s: float = TIMEOUT_S
) -> Iterator[Any]:
    """Read ranges of offsets.

    Args:
        bootstrap: ``host:port[,host:port]``.
        ranges: The first offset and the one to stop before, by topic and partition.
        timeout_s: How long the broker may send nothing, in seconds.

    Yields:
        kafka-python's records, those of each partition in offset order.

    Raises:
        BrokerUnavailableError: The broker is away, or stops sending.
        TopicError: The records at the beginning of a range are no longer there.
    """
    left = {TopicPartition(*place): span for place, span in ranges.items() if span[0] < span[1]}
    if not left:
        return
    with consumer(bootstrap, timeout_s) as client:
        client.assign(list(left))
        _refuse_deleted(left, client.beginning_offsets(list(left)))
        for tp, (first, _) in left.items():
            client.seek(tp, first)
        deadline = time.monotonic() + timeout_s
        while left:
            fetched = client.poll(timeout_ms=_POLL_MS, max_records=5_000)
            if fetched:
                deadline = time.monotonic() + timeout_s
            elif time.monotonic() > deadline:
                raise unavailable(bootstrap, f"it has sent nothing for {timeout_s:g} s")
            for tp, records in fetched.items():
                if tp not in left:
                    continue
                stop = left[tp][1]
                yield from (record for record in records if record.offset < stop)
                # A partition may end in offsets that hold no record (transaction markers), so the position counts,
                # not the last record.
                if client.position(tp) >= stop:
                    client.pause(tp)
                    del left[tp]


def _refuse_deleted(ranges: Mapping[TopicPartition, tuple[int, int]], beginnings: Mapping[TopicPartition, int]) -> None:
    for tp, (first, _) in ranges.items():
        if beginnings[tp] > first:
            place = f"topic {tp.topic!r}, partition {tp.partition}"
            msg = f"The records from offset {first:,} of {place} are gone; it begins at {beginnings[tp]:,}."
            raise TopicError(
                msg, cure="Its retention has deleted them; headrace's own topics keep everything (retention.ms=-1)."
            )
