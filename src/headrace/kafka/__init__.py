"""Everything that speaks Kafka: connecting, topics and offsets, reading records, and the embedded broker."""

from headrace.extras import needing

with needing("stream"):
    from headrace.kafka.connection import KafkaConnection
    from headrace.kafka.embedded import BrokerInfo, EmbeddedBroker, running_broker
    from headrace.kafka.project_broker import project_connection
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
    "KafkaConnection",
    "TopicInfo",
    "beginning_offsets",
    "cluster_id",
    "committed_offsets",
    "describe",
    "end_offsets",
    "ensure_topics",
    "project_connection",
    "running_broker",
]
