"""A source with a topic of its own, and a way to read a topic back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from headrace.kafka import KafkaConnection, end_offsets, ensure_topics
from headrace.kafka.committed_records import read_records
from headrace.plan import Source
from tests.produce.examples import source_of


@pytest.fixture
def source(broker: str, topic_name: str) -> Source:
    """A source of readings, its topic created with three partitions."""
    source = source_of(topic_name)
    ensure_topics(KafkaConnection.of(broker), [source], 3)
    return source


@pytest.fixture
def records(broker: str) -> Callable[[str], dict[int, list[Any]]]:
    """Reads a topic: the records of each partition."""

    def read(topic: str) -> dict[int, list[Any]]:
        ends = end_offsets(KafkaConnection.of(broker), [topic])
        found: dict[int, list[Any]] = {partition: [] for _, partition in ends}
        for record in read_records(KafkaConnection.of(broker), {place: (0, end) for place, end in ends.items()}):
            found[record.partition].append(record)
        return found

    return read
