"""What a broker holds: topics, partitions and offsets."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from headrace.errors import ConfigError, TopicError
from headrace.events.dead_letter import dead_letter_topic
from headrace.kafka.broker_errors import TOPIC_REFUSED, is_refusal
from headrace.kafka.clients import (
    InvalidConfigurationError,
    IsolationLevel,
    KafkaAdminClient,
    KafkaError,
    OffsetSpec,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    TopicPartition,
    admin_client,
    kafka_python_errors,
)
from headrace.kafka.committed_records import partition_ends
from headrace.kafka.connection import KafkaConnection
from headrace.kafka.connection_check import TIMEOUT_S
from headrace.plan import Source

__all__ = [
    "TopicInfo",
    "TopicWatch",
    "beginning_offsets",
    "cluster_id",
    "committed_offsets",
    "describe",
    "end_offsets",
    "ensure_topics",
]

Offsets = dict[tuple[str, int], int]
"""Offsets by topic and partition."""

_UNKNOWN_TOPIC = 3
_WATCH_S = 4.0
_TOPIC_NAME = re.compile(r"(?!\.{1,2}$)[A-Za-z0-9._-]{1,245}")
_TOPIC_CONFIG = {
    "message.timestamp.type": "CreateTime",  # on the record clock an event is known at the timestamp its producer gave
}
_KEEPS_CONFIG = {
    "retention.ms": "-1",  # replayed history is old by its timestamps, and would be deleted at once
    "message.timestamp.before.max.ms": str(2**63 - 1),  # … or refused
}
_SINCE_KAFKA_3_6 = ("message.timestamp.before.max.ms",)


@dataclass(frozen=True, slots=True)
class TopicInfo:
    """A topic, as its broker describes it.

    Attributes:
        topic_id: The broker's id of it: another once the topic was deleted and created again. Empty before Kafka 2.8.
        partitions: How many partitions it has.
    """

    topic_id: str
    partitions: int


def ensure_topics(
    connection: KafkaConnection,
    sources: Iterable[Source],
    partitions: int,
    *,
    keeps_history: bool = True,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, TopicInfo]:
    """Create the topics of sources, and their dead-letter topics, where they are missing.

    They keep the producer's timestamps. A topic that exists is left as it is.

    Args:
        connection: The broker.
        sources: The sources.
        partitions: How many partitions a new topic gets; dead-letter topics get one.
        keeps_history: Whether new topics take records of any age and keep them permanently, as replays and the record
            clock need; else the broker's own retention holds.
        timeout_s: How long to wait for the broker, in seconds.

    Returns:
        The topics and dead-letter topics, described.

    Raises:
        BrokerUnavailableError: No broker answers.
        ConfigError: ``partitions`` is not positive.
        TopicError: A topic's name is impossible, or the broker refuses to create it.
    """
    if partitions < 1:
        msg = f"A topic cannot have {partitions} partitions."
        raise ConfigError(msg, hint="Set `partitions` in headrace.toml to 1 or more.")
    wanted: dict[str, int] = {}
    for source in sources:
        if not _TOPIC_NAME.fullmatch(source.topic):
            hint = "Kafka takes letters, digits, dots, _ and -; with `.dlq` for its dead letters, 249 of them at most."
            msg = f"Source {source.name!r}: {source.topic!r} cannot be a topic's name."
            raise TopicError(msg, hint=hint)
        wanted[source.topic] = partitions
        wanted[dead_letter_topic(source.topic)] = 1
    if not wanted:
        return {}
    with admin_client(connection, timeout_s) as admin:
        found = _describe(admin, wanted)
        missing = [topic for topic in wanted if topic not in found]
        for topic in missing:
            _create(admin, topic, wanted[topic], _TOPIC_CONFIG | (_KEEPS_CONFIG if keeps_history else {}))
        if missing:
            admin.wait_for_topics(missing, timeout_ms=int(timeout_s * 1000))
            found = _describe(admin, wanted)
    return {topic: found[topic] for topic in wanted}


def describe(
    connection: KafkaConnection, topics: Collection[str], *, timeout_s: float = TIMEOUT_S
) -> dict[str, TopicInfo]:
    """Describe topics.

    Args:
        connection: The broker.
        topics: Their names.
        timeout_s: How long to wait for the broker, in seconds.

    Returns:
        One entry per topic.

    Raises:
        BrokerUnavailableError: No broker answers.
        TopicError: A topic does not exist.
    """
    with admin_client(connection, timeout_s) as admin:
        return _require(admin, connection, topics)


class TopicWatch:
    """Asks a broker which topics it has, over one connection. Threads may share it, one at a time.

    Args:
        connection: The broker.
        topics: Their names.
        timeout_s: How long to wait for the broker, in seconds.
    """

    def __init__(self, connection: KafkaConnection, topics: Collection[str], *, timeout_s: float = _WATCH_S) -> None:
        self.connection = connection
        self._topics = list(topics)
        self._timeout_s = timeout_s
        self._open = ExitStack()
        self._admin: KafkaAdminClient | None = None
        self._cluster = ""

    def identities(self) -> dict[str, str]:
        """Each topic's identity, `cluster/topic id`.

        It changes when the topic is deleted and created again, and when the embedded broker restarts.

        A topic that is not there just now is left out: a broker that has only started may not know it yet.

        Raises:
            BrokerUnavailableError: No broker answers.
            TopicError: The broker refused.
        """
        try:
            with kafka_python_errors(self.connection):
                if self._admin is None:
                    self._admin = self._open.enter_context(admin_client(self.connection, self._timeout_s))
                    self._cluster = str(self._admin.describe_cluster()["cluster_id"])
                found = _describe(self._admin, self._topics)
        except BaseException:
            self.close()
            raise
        return {topic: f"{self._cluster}/{info.topic_id}" for topic, info in found.items()}

    def close(self) -> None:
        """Close the connection; the next question opens another."""
        self._admin = None
        self._open.close()


def cluster_id(connection: KafkaConnection, *, timeout_s: float = TIMEOUT_S) -> str:
    """The cluster's id: another when the embedded broker was started again, and so has forgotten its topics.

    Args:
        connection: The broker.
        timeout_s: How long to wait for the broker, in seconds.

    Raises:
        BrokerUnavailableError: No broker answers.
    """
    with admin_client(connection, timeout_s) as admin:
        return str(admin.describe_cluster()["cluster_id"])


def end_offsets(
    connection: KafkaConnection, topics: Collection[str], *, committed: bool = False, timeout_s: float = TIMEOUT_S
) -> Offsets:
    """The offset that the next record of each partition will get.

    Args:
        connection: The broker.
        topics: The topics.
        committed: Give the offset up to which committed records can be read instead: the two differ while a transaction
            is open.
        timeout_s: How long to wait for the broker, in seconds.

    Returns:
        Offsets by topic and partition.

    Raises:
        BrokerUnavailableError: No broker answers.
        TopicError: A topic does not exist.
    """
    # Tansu 0.6 lists the first offset of a partition's last batch plus one as its latest, whatever the batch holds. Its
    # answers to fetches are right.
    listed = _offsets(connection, topics, OffsetSpec.LATEST, timeout_s, IsolationLevel.READ_COMMITTED)
    ends = partition_ends(connection, listed, timeout_s=timeout_s)
    return {place: stable if committed else high for place, (stable, high) in sorted(ends.items())}


def beginning_offsets(connection: KafkaConnection, topics: Collection[str], *, timeout_s: float = TIMEOUT_S) -> Offsets:
    """The offset of the oldest record that each partition still has (its end offset where it has none).

    Args:
        connection: The broker.
        topics: The topics.
        timeout_s: How long to wait for the broker, in seconds.

    Returns:
        Offsets by topic and partition.

    Raises:
        BrokerUnavailableError: No broker answers.
        TopicError: A topic does not exist.
    """
    return _offsets(connection, topics, OffsetSpec.EARLIEST, timeout_s)


def committed_offsets(connection: KafkaConnection, group: str, *, timeout_s: float = TIMEOUT_S) -> Offsets:
    """The offsets that a consumer group has committed.

    Args:
        connection: The broker.
        group: The group's name.
        timeout_s: How long to wait for the broker, in seconds.

    Returns:
        The next offset to read by topic and partition; a partition where nothing was committed is left out.

    Raises:
        BrokerUnavailableError: No broker answers.
    """
    with admin_client(connection, timeout_s) as admin:
        found = admin.list_group_offsets(group)[group]
    return {(tp.topic, tp.partition): at.offset for tp, at in found.items() if at.offset >= 0}


def _offsets(
    connection: KafkaConnection,
    topics: Collection[str],
    spec: OffsetSpec,
    timeout_s: float,
    isolation: IsolationLevel = IsolationLevel.READ_UNCOMMITTED,
) -> Offsets:
    with admin_client(connection, timeout_s) as admin:
        infos = _require(admin, connection, topics)
        wanted = {TopicPartition(topic, i): spec for topic, info in infos.items() for i in range(info.partitions)}
        found = admin.list_partition_offsets(wanted, isolation) if wanted else {}
    return {(tp.topic, tp.partition): found[tp].offset for tp in wanted}


def _require(admin: KafkaAdminClient, connection: KafkaConnection, topics: Collection[str]) -> dict[str, TopicInfo]:
    found = _describe(admin, topics)
    missing = [topic for topic in topics if topic not in found]
    if missing:
        names = ", ".join(repr(topic) for topic in missing)
        what = f"The topic {names} does" if len(missing) == 1 else f"The topics {names} do"
        hint = "`headrace produce` and `headrace stream` create the plan's topics. Is the name right, and the broker?"
        msg = f"{what} not exist on the broker at {connection}."
        raise TopicError(msg, hint=hint)
    return {topic: found[topic] for topic in topics}


def _describe(admin: KafkaAdminClient, topics: Iterable[str]) -> dict[str, TopicInfo]:
    """Those of the topics that exist, also one just created whose leaders are being elected."""
    wanted = sorted(set(topics))
    described: list[dict[str, Any]] = admin.describe_topics(wanted) if wanted else []
    hidden = [topic["name"] for topic in described if topic["error_code"] == TOPIC_REFUSED]
    if hidden:
        msg = f"DESCRIBE of {' and '.join(hidden)}"
        raise TopicAuthorizationFailedError(msg)
    return {
        topic["name"]: TopicInfo(str(topic.get("topic_id") or ""), len(topic["partitions"]))
        for topic in described
        if topic["error_code"] != _UNKNOWN_TOPIC and topic["partitions"]
    }


def _create(admin: KafkaAdminClient, topic: str, partitions: int, config: dict[str, str]) -> None:
    wanted = {"num_partitions": partitions, "replication_factor": -1, "configs": config}
    try:
        admin.create_topics({topic: wanted})
    except TopicAlreadyExistsError:
        return  # another worker or producer was faster
    except InvalidConfigurationError:
        older = {name: value for name, value in config.items() if name not in _SINCE_KAFKA_3_6}
        if older == config:
            raise
        _create(admin, topic, partitions, older)  # a broker of before takes records of any age
    except KafkaError as error:
        if is_refusal(error.errno):
            msg = f"CREATE of {topic}"
            raise type(error)(msg) from error  # the text of kafka-python is the whole request
        raise
