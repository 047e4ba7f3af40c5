"""kafka-python, imported in one place, and its admin client, whose errors become headrace's."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from headrace.kafka.broker_errors import refused, unavailable
from headrace.kafka.connection import KafkaConnection
from headrace.kafka.connection_check import TIMEOUT_S, check_connection

# kafka-python reads its message schemas through calls that Python 3.11 and 3.12 call deprecated. Users can do nothing
# about it.
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
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
    "admin_client",
    "kafka_python_errors",
    "murmur2",
]

# kafka-python logs each failed connection, which then fails in headrace with an error that says more. With a handler of
# its own it stays silent unless the program that uses headrace has set up logging.
logging.getLogger("kafka").addHandler(logging.NullHandler())


class _Admin(KafkaAdminClient):  # type: ignore[misc]  # kafka-python ships no types
    """An admin client that leaves no thread behind when it finds no broker."""

    def __init__(self, **configs: object) -> None:
        try:
            super().__init__(**configs)
        except Exception:  # whatever it is: the thread has started already
            self._client.close()
            self._net.stop()
            raise


@contextmanager
def kafka_python_errors(connection: KafkaConnection) -> Iterator[None]:
    """Turn what kafka-python raises inside the block into headrace's errors.

    Args:
        connection: The broker that is talked to.

    Raises:
        BrokerUnavailableError: The broker went away, or did not answer in time.
        BrokerRefusedError: It answered, and refused.
    """
    try:
        yield
    except (KafkaError, OSError) as error:
        why = (str(error) or type(error).__name__).rstrip(".")
        if isinstance(error, OSError) or error.retriable:
            raise unavailable(connection, why) from error
        raise refused(connection, why, getattr(error, "errno", None)) from error


@contextmanager
def admin_client(connection: KafkaConnection, timeout_s: float = TIMEOUT_S) -> Iterator[KafkaAdminClient]:
    """Connect an admin client, and close it.

    Args:
        connection: The broker.
        timeout_s: How long to wait for the connection, and then for each answer, in seconds.

    Yields:
        The client.

    Raises:
        BrokerRefusedError: A security setting is wrong.
        BrokerUnavailableError: No broker answers, or it goes away.
    """
    check_connection(connection, timeout_s)
    timeout_ms = int(timeout_s * 1000)
    with kafka_python_errors(connection):
        client = _Admin(**connection.kafka_python(), bootstrap_timeout_ms=timeout_ms, request_timeout_ms=timeout_ms)
        try:
            yield client
        finally:
            client.close()
