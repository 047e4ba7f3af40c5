"""What a replay had sent to a topic before the topic was created again, as the log has it.

The embedded broker forgets its topics when it stops. What workers had logged by then still counts. So a resumed replay
continues after it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.config import Project
from headrace.errors import TopicError
from headrace.plan import Source

if TYPE_CHECKING:
    from headrace.log import EventLog, TopicHistory

__all__ = ["NO_PAST_TOPICS", "RESUME_HINT", "PastTopics", "read_past_topics"]

RESUME_HINT = (
    "Resume with the same --from, --until, --late and --seed as before. Without --resume all events are sent again, "
    "and count again."
)


@dataclass(frozen=True)
class PastTopics:
    """What is logged of a topic's earlier incarnations.

    Attributes:
        counts: By Kafka's partition, how many offsets.
        last: By Kafka's partition, the newest logged event of each incarnation: how many offsets came before it, and
            its record's timestamp in ms.
    """

    counts: Mapping[int, int] = field(default_factory=dict)
    last: Mapping[int, Mapping[int, int]] = field(default_factory=dict)

    def check(self, topic: str, partition: int, place: int, timestamp_ms: int) -> None:
        """Refuse a replay whose event at a place is not the one that is logged there.

        Args:
            topic: The topic.
            partition: Kafka's partition.
            place: How many events of the replay come before it in that partition.
            timestamp_ms: The timestamp with which the replay sends it.

        Raises:
            TopicError: The log has another one there.
        """
        logged = self.last.get(partition, {}).get(place, timestamp_ms)
        if logged != timestamp_ms:
            msg = (
                f"The log of {topic!r} has other events than this replay sent before the topic was created again: "
                f"event {place:,} of partition {partition} has timestamp {logged} instead of {timestamp_ms}."
            )
            raise TopicError(msg, hint=RESUME_HINT)


NO_PAST_TOPICS = PastTopics()


def read_past_topics(project: Project, source: Source, identity: str, partitions: int) -> PastTopics:
    """What is logged of the incarnations of a source's topic before the one that the broker has.

    Args:
        project: The project.
        source: The source.
        identity: The topic that the broker has, `cluster/topic id`.
        partitions: How many partitions it has.

    Raises:
        TopicError: They had another number of partitions, so a replay goes elsewhere.
        LogError: The log or its notes cannot be read.
    """
    if not project.log_notes.names():
        return NO_PAST_TOPICS  # without the packages of the log, there is none
    from headrace.log import EventLog, topic_history

    history = topic_history(project.log_notes, source.topic)
    if history is None:
        return NO_PAST_TOPICS
    ended = history.incarnations if history.live.identity != identity else history.incarnations[:-1]
    if not ended:
        return NO_PAST_TOPICS
    if any(one.partitions != partitions for one in ended):
        msg = (
            f"The topic {source.topic!r} was created again with another number of partitions ({partitions}): a replay "
            "would send its events to other partitions than before."
        )
        raise TopicError(msg, hint="Create the topic with as many partitions as before, or produce without --resume.")
    return _from_log(EventLog(project.log_root, source), history, len(ended), partitions)


def _from_log(log: EventLog, history: TopicHistory, ended: int, partitions: int) -> PastTopics:
    from headrace.log import newest_record

    ends = log.last_offsets(range(history.size))
    snapshot = log.snapshot()
    counts = dict.fromkeys(range(partitions), 0)
    last: dict[int, dict[int, int]] = {partition: {} for partition in counts}
    for one in history.incarnations[:ended]:
        for partition in counts:
            number, start = one.base + partition, one.starts.get(partition, 0)
            if number in ends:
                newest = newest_record(snapshot, number)
                if newest is not None:
                    last[partition][counts[partition] + newest[0] - start] = newest[1] // 1000
                counts[partition] += ends[number] + 1 - start
    return PastTopics(counts, last)
