"""What `headrace status` asks the broker, by source partition.

A topic that is not the one the log was made from is left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headrace.config import Project
from headrace.errors import HeadraceError

if TYPE_CHECKING:
    from headrace.log import TopicHistory

__all__ = ["BrokerSide", "broker_side"]

Offsets = dict[tuple[str, int], int]


@dataclass(frozen=True)
class BrokerSide:
    """What the broker has, by source partition. A partition that is not known is left out.

    Attributes:
        begins: The offset of its oldest record.
        ends: The offset of its next record.
        committed: The offset that the workers' group has committed.
        is_known: Whether the broker answered.
    """

    begins: Offsets = field(default_factory=dict)
    ends: Offsets = field(default_factory=dict)
    committed: Offsets = field(default_factory=dict)
    is_known: bool = True


def broker_side(
    project: Project, histories: Mapping[str, TopicHistory], topics: Sequence[str], notes: list[str]
) -> BrokerSide:
    """Ask the broker.

    Args:
        project: The project.
        histories: By topic, its history as noted with the log.
        topics: The topics.
        notes: Remarks are added here.
    """
    try:
        from headrace.kafka import beginning_offsets, committed_offsets, end_offsets, project_connection
        from headrace.kafka.topics import TopicWatch

        connection = project_connection(project)
        with closing(TopicWatch(connection, topics)) as watch:
            found = watch.identities()
        reached = [topic for topic in topics if _is_live(topic, histories, found, notes)]
        begins, ends = beginning_offsets(connection, reached), end_offsets(connection, reached)
        committed = committed_offsets(connection, project.group)
    except (HeadraceError, ImportError) as error:
        notes.append(f"Ends and lag are not known. {error}")
        return BrokerSide(is_known=False)

    def by_number(offsets: Offsets) -> Offsets:
        known = {at: offset for at, offset in offsets.items() if at[0] in reached}
        return {(at[0], _number(histories, *at)): offset for at, offset in known.items()}

    return BrokerSide(by_number(begins), by_number(ends), by_number(committed))


def _number(histories: Mapping[str, TopicHistory], topic: str, partition: int) -> int:
    return histories[topic].number(partition) if topic in histories else partition


def _is_live(topic: str, histories: Mapping[str, TopicHistory], found: Mapping[str, str], notes: list[str]) -> bool:
    """Whether the broker's topic is the one that the log was made from, or nothing is logged yet."""
    if topic not in found:
        notes.append(f"The topic {topic} does not exist on the broker, so its end and lag are not known.")
        return False
    if topic in histories and histories[topic].live.identity != found[topic]:
        notes.append(
            f"The topic {topic} on the broker is not the one that the log was made from, so its lag is not known. "
            "`headrace stream` continues with it, or says how to."
        )
        return False
    return True
