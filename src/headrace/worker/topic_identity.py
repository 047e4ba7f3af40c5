"""Compares the broker's topics with those from which the log was made.

Some differences are harmless; for others, a person must accept what is lost.

`settled` decides for one topic and does no I/O. A person accepts with an option of `headrace stream` (`Accept`); what
was accepted is noted with the log (`headrace.log.topic_history`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from headrace.errors import TopicError
from headrace.log import Gap, TopicHistory
from headrace.log.log_columns import FIRST_IMPORT

__all__ = [
    "NOTHING_ACCEPTED",
    "Accept",
    "BrokerTopic",
    "Stored",
    "Missing",
    "gap_error",
    "lost_error",
    "missing",
    "other_topic",
    "settled",
]

logger = logging.getLogger(__name__)

_SHOWN = 10


@dataclass(frozen=True)
class Accept:
    """What a person has accepted, for this start of a worker.

    Attributes:
        gap: Go on after offsets that the broker no longer has.
        new_topic: Read a topic that was created again, as the next incarnation.
        cluster: Read the topic in another cluster, where it has the same records at the same offsets.
    """

    gap: bool = False
    new_topic: bool = False
    cluster: bool = False


NOTHING_ACCEPTED = Accept()


@dataclass(frozen=True)
class BrokerTopic:
    """A topic as the broker has it now.

    Attributes:
        identity: `cluster/topic id`.
        begins: By partition, the offset of its oldest record, or its end if it has none. All partitions are here.
        ends: By partition, the offset that its next record will get.
    """

    identity: str
    begins: Mapping[int, int]
    ends: Mapping[int, int]

    @property
    def partitions(self) -> int:
        """How many partitions it has."""
        return len(self.begins)

    @property
    def starts(self) -> dict[int, int]:
        """By partition, where reading begins if nobody has read the topic yet; those that begin at 0 are left out."""
        return {partition: begin for partition, begin in self.begins.items() if begin}

    def same_cluster(self, identity: str) -> bool:
        """Whether another identity is of this cluster."""
        return self.identity.partition("/")[0] == identity.partition("/")[0]


@dataclass(frozen=True)
class Stored:
    """What store and log have of a topic.

    Attributes:
        logged: By source partition, the last offset that the log accounts for.
        applied: By source partition, the last offset that the online store has applied.
        record_ts_us: By source partition, the newest record timestamp among those applied.
    """

    logged: Mapping[int, int] = field(default_factory=dict)
    applied: Mapping[int, int] = field(default_factory=dict)
    record_ts_us: Mapping[int, int] = field(default_factory=dict)

    @property
    def numbers(self) -> set[int]:
        """The source partitions that store or log have anything of, without those of imports."""
        return {number for number in {*self.logged, *self.applied} if number < FIRST_IMPORT}

    @property
    def newest_us(self) -> int | None:
        """Their newest record timestamp, in µs; None if the store does not know all of them."""
        numbers = self.numbers
        return (
            max((self.record_ts_us[one] for one in numbers), default=0) if numbers <= self.record_ts_us.keys() else None
        )

    def is_ahead(self, number: int) -> bool:
        """Whether the online store has applied more than the log has."""
        return self.applied.get(number, -1) > self.logged.get(number, -1)


@dataclass(frozen=True)
class Missing:
    """Offsets that come next for the log, and that the broker no longer has.

    Attributes:
        partition: Kafka's partition.
        first: The first of them.
        last: The last of them.
    """

    partition: int
    first: int
    last: int


def settled(
    topic: str,
    history: TopicHistory,
    found: BrokerTopic,
    stored: Stored,
    accept: Accept,
    *,
    is_embedded: bool,
    now: str,
) -> TopicHistory:
    """A topic's history, by which a worker may read the topic now.

    Args:
        topic: The topic.
        history: What is noted of it.
        found: What the broker has.
        stored: What store and log have.
        accept: What a person has accepted.
        is_embedded: Whether the broker is the embedded one, which forgets its topics whenever it stops.
        now: The time (ISO 8601).

    Raises:
        TopicError: A person has to decide; the message names the options.
        LogError: The topic was created again too often.
    """
    if history.live.identity != found.identity:
        history = _of_another(topic, history, found, stored, accept, is_embedded=is_embedded, now=now)
    elif lost := _lost_ends(history, found, stored):
        if not accept.new_topic:
            raise lost_error(topic, lost)
        # What was read of it must not be read again. If the broker gives topics no id, this may as well be a topic that
        # was created again.
        needed = _needed(history, found, stored)
        ends = {partition: min(end, needed[partition]) for partition, end in found.ends.items()}
        has_id = not found.identity.endswith("/")
        history = _renewed(topic, history, found, stored, now, ends if has_id else found.starts)
    history = history.grown(found.partitions)
    gone = missing(history, found.begins, stored)
    if gone and not accept.gap:
        raise gap_error(topic, gone)
    for one in gone:
        logger.warning("Going on without offsets %d to %d of %s[%d].", one.first, one.last, topic, one.partition)
    return history.with_gaps(
        Gap(one.partition, history.number(one.partition), one.first, one.last, now) for one in gone
    )


def missing(history: TopicHistory, begins: Mapping[int, int], stored: Stored) -> list[Missing]:
    """The offsets that come next for the log, and that the broker no longer has.

    Args:
        history: The topic's history; its live incarnation is what the broker has.
        begins: By partition, the offset of its oldest record.
        stored: What store and log have.
    """
    found = []
    for partition, begin in sorted(begins.items()):
        needed = history.next_offset(partition, stored.logged.get(history.number(partition)))
        if begin > needed:
            found.append(Missing(partition, needed, begin - 1))
    return found


def gap_error(topic: str, gone: Sequence[Missing]) -> TopicError:
    """The error of records that the broker removed before they were logged.

    Args:
        topic: The topic.
        gone: What is gone, at least one.
    """
    named = [
        f"{topic}[{one.partition}] offset{'s' if one.last > one.first else ''} "
        + (f"{one.first} to {one.last} ({one.last - one.first + 1:,})" if one.last > one.first else f"{one.first} (1)")
        for one in gone[:_SHOWN]
    ]
    more = f", and {len(gone) - _SHOWN} partitions more" if len(gone) > _SHOWN else ""
    msg = (
        f"The broker no longer has what comes next: {', '.join(named)}{more} are gone, "
        "by retention, or because a person deleted them."
    )
    hint = (
        "If the events are kept elsewhere, bring them back first. Else `headrace stream --accept-gap` notes in the log "
        "that they are missing, and continues after them. docs/topics.md says what that means."
    )
    return TopicError(msg, hint=hint)


def other_topic(topic: str, known: str, found: str, *, is_embedded: bool = False) -> TopicError:
    """The error of a topic that is not the one the log was made from.

    Args:
        topic: The topic.
        known: The identity that is noted.
        found: The broker's.
        is_embedded: Whether the broker is the embedded one.
    """
    msg = (
        f"The topic {topic!r} is not the one that the log was made from: that was {known}, and the broker has {found}."
    )
    if is_embedded:
        hint = (
            "The embedded broker was restarted, and forgets its topics. Start `headrace stream` again: "
            "it continues with the new topic by itself."
        )
        return TopicError(msg, hint=hint)
    again = "`headrace stream --accept-new-topic` keeps what is logged and continues with the new topic"
    reset = "`headrace reset` starts from nothing"
    if found.partition("/")[0] == known.partition("/")[0]:
        hint = f"It was deleted and created again, so its offsets begin at 0 again. {again}; {reset}."
    else:
        hint = (
            "The broker is another cluster. If it has the same records at the same offsets (a mirror, a restored "
            f"backup), `headrace stream --accept-cluster` continues there. If the topic is a new one, {again}. "
            f"{reset}. If this is the wrong broker, correct `broker` in headrace.toml."
        )
    return TopicError(msg, hint=f"{hint} docs/topics.md helps to choose.")


def _of_another(
    topic: str,
    history: TopicHistory,
    found: BrokerTopic,
    stored: Stored,
    accept: Accept,
    *,
    is_embedded: bool,
    now: str,
) -> TopicHistory:
    """The history of a topic whose identity at the broker is not the one that is noted."""
    known = history.live
    if not any(number >= known.base for number in stored.numbers) and not any(
        gap.source_partition >= known.base for gap in history.gaps
    ):
        # Nothing was ever read of it, so its records cannot be mistaken for others.
        live = replace(
            known,
            identities=(known.identities[0], found.identity),
            partitions=found.partitions,
            starts=found.starts,
            begun_at=now,
        )
        return replace(history, incarnations=(*history.incarnations[:-1], live))
    if accept.cluster and not found.same_cluster(known.identity):
        _check_mirror(topic, history, found, stored)
        logger.warning("Going on with %s of cluster %s, at the same offsets.", topic, found.identity.partition("/")[0])
        return history.moved(found.identity)
    if accept.new_topic or is_embedded:
        return _renewed(topic, history, found, stored, now, found.starts)
    raise other_topic(topic, known.identity, found.identity)


def _renewed(
    topic: str, history: TopicHistory, found: BrokerTopic, stored: Stored, now: str, starts: Mapping[int, int]
) -> TopicHistory:
    renewed = history.renewed(
        found.identity,
        found.partitions,
        {partition: offset for partition, offset in starts.items() if offset},
        now,
        used=max(stored.numbers, default=-1),
        newest_us=stored.newest_us,
    )
    first, last = renewed.live.base, renewed.live.base + found.partitions - 1
    numbers = f"source partitions {first} to {last}" if last > first else f"source partition {first}"
    logger.warning(
        "The topic %s was created again. What was read of it before stays and counts; from now on it is %s.",
        topic,
        numbers,
    )
    return renewed


def _lost_ends(history: TopicHistory, found: BrokerTopic, stored: Stored) -> dict[int, tuple[int, int]]:
    """The partitions that end before what was read of them: their end, and what comes next."""
    needed = _needed(history, found, stored)
    return {partition: (end, needed[partition]) for partition, end in found.ends.items() if end < needed[partition]}


def _needed(history: TopicHistory, found: BrokerTopic, stored: Stored) -> dict[int, int]:
    """By partition, the offset that comes next for the log."""
    numbers = {partition: history.number(partition) for partition in found.begins}
    return {
        partition: history.next_offset(partition, stored.logged.get(number)) for partition, number in numbers.items()
    }


def lost_error(topic: str, lost: Mapping[int, tuple[int, int]]) -> TopicError:
    """The error of partitions that end before what was read of them.

    Args:
        topic: The topic.
        lost: By partition, its end and the offset that comes next, at least one.
    """
    named = _ends_named(topic, lost)
    msg = f"The broker has lost records that the log has: {named}. Other events would get their offsets."
    hint = (
        "It was restored from an older copy, or a replica that was behind was made leader. "
        "`headrace stream --accept-new-topic` keeps what is logged, and reads what the broker gets from now on as a "
        "new topic. docs/topics.md says what that means."
    )
    return TopicError(msg, hint=hint)


def _check_mirror(topic: str, history: TopicHistory, found: BrokerTopic, stored: Stored) -> None:
    """Refuse another cluster whose topic cannot have the same offsets."""
    lost = _lost_ends(history, found, stored)
    if found.partitions < history.live.partitions:
        why = f"it has {found.partitions} partitions instead of {history.live.partitions}"
    elif lost:
        why = _ends_named(topic, lost)
    else:
        return
    msg = f"The topic {topic!r} of the other cluster does not have the same offsets: {why}."
    hint = (
        "Wait until the mirror has everything. If its offsets differ, use `headrace stream --accept-new-topic`: "
        "docs/topics.md."
    )
    raise TopicError(msg, hint=hint)


def _ends_named(topic: str, lost: Mapping[int, tuple[int, int]]) -> str:
    return ", ".join(
        f"{topic}[{one}] ends at offset {end}, and {needed} comes next" for one, (end, needed) in lost.items()
    )
