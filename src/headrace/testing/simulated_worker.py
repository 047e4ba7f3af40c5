"""A worker inside a test bed: the real worker over one online store, driven from memory instead of by Kafka."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace.config import Clock
from headrace.errors import WorkerError
from headrace.events.dead_letter import DeadLetter
from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import Read
from headrace.lookup import FeatureClient
from headrace.stores import CatalogueChange, OnlineStore
from headrace.testing.sent_events import KnownDecoder, Sent
from headrace.worker.partition_numbers import PartitionNumbers
from headrace.worker.pipeline import Pipeline
from headrace.worker.rounds import Round
from headrace.worker.worker import Worker

if TYPE_CHECKING:
    from headrace.log import EventLog
    from headrace.plan import Source
    from headrace.testing.definitions import Definitions

__all__ = ["KeptLetters", "SimulatedWorker"]


class KeptLetters:
    """Dead letters by position: one sent again after a crash is the same one."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, int, int], DeadLetter] = {}

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Keep letters."""
        self._kept.update({letter.position: letter for letter in letters})

    def flush(self) -> None:
        """They are kept already."""

    def all(self) -> list[DeadLetter]:
        """All of them, by topic, partition and offset."""
        return [self._kept[position] for position in sorted(self._kept)]


class SimulatedWorker:
    """A worker over a store, and what it has been given.

    Args:
        definitions: The plan and models.
        store: The online store.
        logs: By topic, its log; none for a worker that only answers lookups: it is given what another counted, and
            looks for no repeated events itself.
        letters: Where dead letters go.
    """

    def __init__(
        self, definitions: Definitions, store: OnlineStore, logs: Mapping[str, EventLog], letters: KeptLetters
    ) -> None:
        plan = definitions.plan
        sources = plan.sources if logs else {name: _undeduplicated(one) for name, one in plan.sources.items()}
        self._serving = CatalogueChange().clock(Clock.RECORD).serve(plan.views.values())
        store.change(self._serving)
        self._decoders = {
            source.topic: KnownDecoder(source, definitions.models[name]) for name, source in sources.items()
        }
        self.store = store
        self._pipeline = Pipeline(plan, self._decoders, store, logs, Clock.RECORD, letters, repo=definitions.repo)
        self._worker = Worker(plan, store, lambda source: logs[source.topic], PartitionNumbers(), self._pipeline)
        self.client = FeatureClient(plan=plan, store=store, repo=definitions.repo)
        self._held: set[tuple[SourcePartition, int]] = set()
        self._ends: dict[SourcePartition, int] = {}
        self._newest_known_us: dict[str, int] = {}

    def deliver(self, records: Iterable[Sent]) -> None:
        """Apply one round.

        Args:
            records: Records, those of each partition in offset order.
        """
        by_partition: dict[SourcePartition, list[Sent]] = {}
        for record in records:
            topic = record.at.topic
            by_partition.setdefault(record.at, []).append(record)
            self._decoders[topic].note(record)
            self._held.add((record.at, record.offset))
            self._ends[record.at] = max(self._ends.get(record.at, -1), record.offset)
            self._newest_known_us[topic] = max(self._newest_known_us.get(topic, record.known_us), record.known_us)
        reads = {at: Read(RawRecords.of(sent), sent[-1].offset + 1) for at, sent in by_partition.items()}
        if reads and not self._worker.apply(Round(reads, self._worker.epoch)):
            msg = "A write to the test bed's store was refused."
            raise WorkerError(msg)

    def takes_over(self, from_worker: SimulatedWorker) -> None:
        """Stand in for a worker that died: the store holds what that one had applied."""
        self._held, self._ends = from_worker._held, from_worker._ends
        self._newest_known_us = from_worker._newest_known_us

    def is_reassigned(self) -> None:
        """Its partitions were taken away and come back: it remembers nothing of them."""
        self._worker.resume(self._ends)

    @property
    def failures(self) -> dict[str, dict[str, Any]]:
        """What transforms have failed on so far, by ``view.column``."""
        return self._pipeline.failures

    def flush(self) -> None:
        """Make what was applied durable in the log."""
        self._worker.flush()

    def catches_up(self, at_us: int, rounds: Sequence[Sequence[Sent]]) -> bool:
        """Make the store hold exactly the events known at a time, if it can be done by adding events.

        Args:
            at_us: The time, in µs.
            rounds: Everything that was sent to the topics of interest.

        Returns:
            Whether it was done. It cannot be where the store holds events known later, or where one that it lacks lies
            after an offset that it has applied: records skip by offset, so it would look like a replay.
        """
        if any(self._newest_known_us.get(sent[0].at.topic, at_us) > at_us for sent in rounds):
            return False
        lacking = [[one for one in sent if (one.at, one.offset) not in self._held] for sent in _known(at_us, rounds)]
        if any(one.offset <= self._ends.get(one.at, -1) for sent in lacking for one in sent):
            return False
        for sent in lacking:
            self.deliver(sent)
        return True

    def starts_over(self, at_us: int, rounds: Sequence[Sequence[Sent]]) -> None:
        """Empty the store, and fill it with the events known at a time, in one round."""
        self.store.clear()
        self.store.change(self._serving)
        self._worker.resume(())
        self._held, self._ends, self._newest_known_us = set(), {}, {}
        self.deliver(one for sent in _known(at_us, rounds) for one in sent)

    def close(self) -> None:
        """Close the store."""
        self.store.close()


def _undeduplicated(source: Source) -> Source:
    return source.model_copy(update={"event_id": None})


def _known(at_us: int, rounds: Iterable[Sequence[Sent]]) -> list[list[Sent]]:
    return [[one for one in sent if one.known_us <= at_us] for sent in rounds]
