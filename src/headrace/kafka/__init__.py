"""The Kafka broker: where it is, what it holds, and the embedded one for development."""

from headrace.extras import needing

with needing("stream"):
    from headrace.kafka.address import broker_address
    from headrace.kafka.embedded import BrokerInfo, EmbeddedBroker, running_broker
    from headrace.kafka.topics import (
        TopicInfo,
        beginning_offsets,
        cluster_id,
        committed_offsets,
        describe,
        end_offsets,
        ensure_topics,
    )

__all__ = [
    "BrokerInfo",
    "EmbeddedBroker",
    "TopicInfo",
    "beginning_offsets",
    "broker_address",
    "cluster_id",
    "committed_offsets",
    "describe",
    "end_offsets",
    "ensure_topics",
    "running_broker",
]
