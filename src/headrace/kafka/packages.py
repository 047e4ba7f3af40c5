"""kafka-python and librdkafka, imported in one place: they come with an extra, and say so when they are missing."""

from __future__ import annotations

import logging
import warnings

from headrace.extras import needing

# kafka-python reads its message schemas through calls that Python 3.11 and 3.12 call deprecated: no matter of our users' programs and tests.
with needing("stream"), warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    import confluent_kafka as librdkafka
    from kafka import IsolationLevel, KafkaProducer, TopicPartition
    from kafka.admin import KafkaAdminClient, OffsetSpec
    from kafka.errors import (
        InvalidConfigurationError,
        KafkaError,
        KafkaTimeoutError,
        TopicAlreadyExistsError,
        TopicAuthorizationFailedError,
    )
    from kafka.partitioner import murmur2
    from kafka.producer.producer_batch import ProducerBatch
    from kafka.record.memory_records import MemoryRecordsBuilder

__all__ = [
    "InvalidConfigurationError",
    "IsolationLevel",
    "KafkaAdminClient",
    "KafkaError",
    "KafkaProducer",
    "KafkaTimeoutError",
    "MemoryRecordsBuilder",
    "OffsetSpec",
    "ProducerBatch",
    "TopicAlreadyExistsError",
    "TopicAuthorizationFailedError",
    "TopicPartition",
    "librdkafka",
    "murmur2",
]

# kafka-python logs each failed connection, which then fails in headrace with an error that says more. With a handler of
# its own it stays silent unless the program that uses headrace has set up logging.
logging.getLogger("kafka").addHandler(logging.NullHandler())
