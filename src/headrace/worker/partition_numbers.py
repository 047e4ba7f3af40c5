"""Kafka's partitions (of the consumer group) and source partitions (of store and log)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from headrace.events.source_partition import SourcePartition

__all__ = ["PartitionNumbers"]


def _nothing() -> None:
    """Nothing to wait for."""


class PartitionNumbers:
    """Both numbers are the same: no topic was ever created again, or there is no broker (test beds)."""

    def number(self, at: SourcePartition) -> SourcePartition:
        """The source partition of one of Kafka's partitions.

        Args:
            at: Topic, and Kafka's number.
        """
        return at

    def kafka(self, at: SourcePartition) -> SourcePartition | None:
        """Kafka's partition of a source partition; None if that is sealed or imported.

        Args:
            at: Topic, and source partition.
        """
        return at

    def first_of(self, topic: str, number: int) -> SourcePartition:
        """Kafka's partition whose worker builds a source partition.

        Args:
            topic: The topic.
            number: The source partition.
        """
        return SourcePartition(topic, number)

    def assigned(self, wanted: Iterable[SourcePartition]) -> None:
        """Read what other workers have noted, before any record of these partitions is read.

        Args:
            wanted: Kafka's partitions.
        """

    def next_offset(self, at: SourcePartition, logged: int | None) -> int:
        """The next offset to read of one of Kafka's partitions.

        Args:
            at: The partition.
            logged: Its last offset in the log; None if there is none.
        """
        return 0 if logged is None else logged + 1

    def check(self) -> None:
        """Ask whether the topics are still those that are read."""

    def sealed(self, topic: str) -> list[tuple[range, int | None]]:
        """The source partitions of each ended incarnation, and its newest record timestamp in µs, if known.

        Args:
            topic: The topic.
        """
        del topic
        return []

    def begin_check(self, within_s: float) -> Callable[[], None]:
        """Begin to ask whether the topics are still those that are read; returns at once.

        Args:
            within_s: An answer that is at most this many seconds old is good enough.

        Returns:
            What waits for the answer; it raises TopicError if a topic is another one.
        """
        del within_s
        return _nothing
