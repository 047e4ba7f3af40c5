"""Which partition a key goes to: Kafka's own rule."""

from __future__ import annotations

from functools import lru_cache

from headrace.broker.kafka_import import murmur2

__all__ = ["partition_of"]

_POSITIVE = 0x7FFF_FFFF


@lru_cache(maxsize=65_536)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's clients choose for a key.

    Args:
        key: The key.
        partitions: How many partitions the topic has.
    """
    return int((murmur2(key) & _POSITIVE) % partitions)
