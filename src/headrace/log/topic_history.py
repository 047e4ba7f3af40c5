"""Which topics a log was made from, and what of them is missing: notes in the state (`log/_topics.json`).

A topic that was deleted and created again begins at offset 0 again: it is another *incarnation* of the topic. Its
partitions are other source partitions, numbered after those of the incarnations before it, which are sealed: nothing is
ever added to them.

    incarnation   Kafka's partitions   source partitions
    first         0 1 2                0 1 2              sealed
    second        0 1 2                3 4 5              sealed
    third         0 1 2 3 …            6 7 8 9 …          live: it may still grow

`TopicHistory.number` and `TopicHistory.kafka` are the one place where Kafka's numbers become those of stores, log and
evidence, and back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from headrace.errors import LogError, LogUnavailableError
from headrace.log.log_columns import FIRST_IMPORT
from headrace.state import Note, State, StateFile

__all__ = ["Gap", "Incarnation", "TopicHistory", "TopicNotes", "topic_history"]

_FILE = "_topics.json"
_FORMAT = 1


@dataclass(frozen=True)
class Gap:
    """Offsets that the broker no longer had when the log needed them, and that somebody accepted as lost.

    Attributes:
        partition: Kafka's partition.
        source_partition: The source partition of the log and of lookups' evidence.
        first: The first offset that is gone.
        last: The last one.
        accepted_at: When it was accepted (ISO 8601).
    """

    partition: int
    source_partition: int
    first: int
    last: int
    accepted_at: str

    @property
    def count(self) -> int:
        """How many offsets are gone."""
        return self.last - self.first + 1


@dataclass(frozen=True)
class Incarnation:
    """A topic from its making to its deletion.

    Attributes:
        identities: What it was known by, `cluster/topic id`; the last one is valid now. It has several where it moved
            to another cluster.
        base: The source partition that stands for Kafka's partition 0.
        partitions: How many partitions it has had.
        starts: By Kafka's partition, the offset that reading began at, where that is not 0.
        begun_at: When the first worker read it (ISO 8601).
        sealed_us: The newest record timestamp in a sealed one, and in those before it, in µs; None where that is not
            known.
    """

    identities: tuple[str, ...]
    base: int
    partitions: int
    begun_at: str
    starts: dict[int, int] = field(default_factory=dict)
    sealed_us: int | None = None

    @property
    def identity(self) -> str:
        """What it is known by now."""
        return self.identities[-1]


@dataclass(frozen=True)
class TopicHistory:
    """The incarnations of a topic, at least one, and the gaps that were accepted.

    Attributes:
        incarnations: In the order of their making; the last one is live.
        gaps: Accepted gaps, of all incarnations, in the order in which they were accepted.
    """

    incarnations: tuple[Incarnation, ...]
    gaps: tuple[Gap, ...] = ()

    @classmethod
    def begun(cls, identity: str, partitions: int, starts: Mapping[int, int], now: str) -> TopicHistory:
        """The history of a topic that no log was made from before.

        Args:
            identity: What it is known by.
            partitions: How many partitions it has.
            starts: By partition, the offset that reading begins at, where that is not 0.
            now: The time (ISO 8601).
        """
        return cls((Incarnation((identity,), 0, partitions, now, dict(starts)),))

    @property
    def live(self) -> Incarnation:
        """The incarnation that workers read."""
        return self.incarnations[-1]

    @property
    def lineage(self) -> str:
        """What stays the same through all incarnations and moves; positions mean the same while it does."""
        return self.incarnations[0].identities[0]

    @property
    def sealed(self) -> range:
        """The source partitions of incarnations that ended."""
        return range(self.live.base)

    @property
    def size(self) -> int:
        """One more than the greatest source partition of Kafka's partitions; their numbers have no gaps."""
        return self.live.base + self.live.partitions

    def number(self, partition: int) -> int:
        """The source partition of one of Kafka's partitions, now.

        Args:
            partition: Kafka's number of it.

        Raises:
            LogError: There are no more numbers.
        """
        number = self.live.base + partition
        if number >= FIRST_IMPORT:
            msg = (
                f"The topic was created again {len(self.incarnations) - 1:,} times, and no source partition is left "
                f"for its partition {partition}."
            )
            raise LogError(msg, hint="`headrace reset` empties stores and log, and numbering begins again.")
        return number

    def kafka(self, number: int) -> int | None:
        """Kafka's partition that a source partition stands for now; None where it is sealed or imported.

        Args:
            number: The source partition.
        """
        return number - self.live.base if self.live.base <= number < FIRST_IMPORT else None

    def place(self, number: int) -> tuple[int, int] | None:
        """Which incarnation (from 0) and which of its partitions a source partition is; None where it was imported.

        Args:
            number: The source partition.
        """
        if number >= FIRST_IMPORT:
            return None
        at = max(n for n, one in enumerate(self.incarnations) if one.base <= number)
        return at, number - self.incarnations[at].base

    def next_offset(self, partition: int, logged: int | None) -> int:
        """The next offset that the log needs of a partition.

        Args:
            partition: Kafka's number of it.
            logged: The last offset that the log stands for; None if there is none.
        """
        needed = self.live.starts.get(partition, 0) if logged is None else logged + 1
        number = self.number(partition)
        for gap in sorted(self.gaps, key=lambda one: one.first):
            if gap.source_partition == number and gap.first <= needed <= gap.last:
                needed = gap.last + 1
        return needed

    def grown(self, partitions: int) -> TopicHistory:
        """The history once the live incarnation has had that many partitions."""
        if partitions <= self.live.partitions:
            return self
        return self._with_live(replace(self.live, partitions=partitions))

    def moved(self, identity: str) -> TopicHistory:
        """The history once the live incarnation is read from another cluster, with the same offsets."""
        return self._with_live(replace(self.live, identities=(*self.live.identities, identity)))

    def renewed(
        self,
        identity: str,
        partitions: int,
        starts: Mapping[int, int],
        now: str,
        *,
        used: int = -1,
        newest_us: int | None = None,
    ) -> TopicHistory:
        """The history once the topic was created again.

        Args:
            identity: What the new one is known by.
            partitions: How many partitions it has.
            starts: By partition, the offset that reading begins at, where that is not 0.
            now: The time (ISO 8601).
            used: The greatest source partition of Kafka's that stores or log hold.
            newest_us: The newest record timestamp of those before, in µs, where it is known.
        """
        base = max(self.size, used + 1)
        before = (*self.incarnations[:-1], replace(self.live, sealed_us=newest_us))
        fresh = Incarnation((identity,), base, partitions, now, dict(starts))
        history = TopicHistory((*before, fresh), self.gaps)
        history.number(partitions - 1)
        return history

    def with_gaps(self, gaps: Iterable[Gap]) -> TopicHistory:
        """The history with more accepted gaps."""
        return replace(self, gaps=(*self.gaps, *gaps))

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return {
            "incarnations": [asdict(one) for one in self.incarnations],
            "gaps": [{**asdict(gap), "count": gap.count} for gap in self.gaps],
        }

    @classmethod
    def from_json(cls, found: Mapping[str, Any]) -> TopicHistory:
        """What `to_json` made, once it was read back; ValueError, TypeError or KeyError where it is something else."""
        incarnations = [
            Incarnation(
                tuple(map(str, one["identities"])),
                int(one["base"]),
                int(one["partitions"]),
                str(one["begun_at"]),
                {int(partition): int(offset) for partition, offset in one["starts"].items()},
                one["sealed_us"],
            )
            for one in found["incarnations"]
        ]
        names = ("partition", "source_partition", "first", "last", "accepted_at")
        gaps = [Gap(**{name: gap[name] for name in names}) for gap in found["gaps"]]
        if not incarnations or not all(one.identities for one in incarnations):
            msg = "a topic has no incarnation"
            raise ValueError(msg)
        return cls(tuple(incarnations), tuple(gaps))

    def _with_live(self, live: Incarnation) -> TopicHistory:
        return replace(self, incarnations=(*self.incarnations[:-1], live))


class TopicNotes:
    """The histories of all topics of a project.

    Args:
        state: The notes on the log (`Project.log_notes`).
    """

    def __init__(self, state: State) -> None:
        self._note = _note(state.file(_FILE))

    def read(self) -> dict[str, TopicHistory]:
        """The history of each topic that a worker has read; none where there is no note.

        Raises:
            LogError: The notes cannot be understood.
            LogUnavailableError: They cannot be read just now.
        """
        return self._note.read()

    def update(self, change: Callable[[dict[str, TopicHistory]], Mapping[str, TopicHistory]]) -> None:
        """Note the histories of some topics; those of others stay.

        Args:
            change: Gets the histories that are noted, by topic, and gives those to note. It is called again where
                another process wrote in between.

        Raises:
            LogError: The notes cannot be understood.
            LogUnavailableError: They cannot be read or written.
        """
        self._note.update(lambda noted: {**noted, **change(dict(noted))})


def _note(file: StateFile) -> Note[dict[str, TopicHistory]]:
    def damaged(error: Exception) -> LogError:
        msg = f"The notes on topics {file} cannot be understood: {error!r}."
        hint = (
            "Restore the file from a copy: without it, a topic that was created again could be read into the places of "
            "the old one."
        )
        return LogError(msg, hint=hint)

    def unavailable(error: OSError) -> LogUnavailableError:
        msg = f"The notes on topics {file} cannot be read or written: {error}."
        hint = "See that the folder is writable and the disk has space, or set `state` in headrace.toml elsewhere."
        return LogUnavailableError(msg, hint=hint)

    def parse(document: Any) -> dict[str, TopicHistory]:
        return {topic: TopicHistory.from_json(one) for topic, one in document["topics"].items()}

    def render(histories: Mapping[str, TopicHistory]) -> dict[str, Any]:
        return {"format": _FORMAT, "topics": {topic: one.to_json() for topic, one in sorted(histories.items())}}

    return Note(file, dict, parse, render, damaged, unavailable)


def topic_history(state: State, topic: str) -> TopicHistory | None:
    """The history of one topic; None where no worker has read it.

    Args:
        state: The notes on the log (`Project.log_notes`).
        topic: The topic.

    Raises:
        LogError: The notes cannot be understood.
        LogUnavailableError: They cannot be read just now.
    """
    return TopicNotes(state).read().get(topic)
