"""The test bed: features tested by their own definitions, without a broker."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

import pyarrow as pa

from headrace.aggregates import Problem
from headrace.errors import ConfigError, EventError, TransformError
from headrace.events.dead_letter import DeadLetter
from headrace.history import PointInTimeJoin, as_of_named
from headrace.log import EventLog
from headrace.log.log_columns import OFFSET, PARTITION
from headrace.lookup.request import time_us
from headrace.plan import AskedFeatures, FeatureRef, Plan, Source
from headrace.stores import OnlineStore, open_store
from headrace.stores.memory import MemoryStore
from headrace.testing.definitions import definitions_of
from headrace.testing.sent_events import Event, Sent, SourceSends
from headrace.testing.simulated_worker import KeptLetters, SimulatedWorker
from headrace.training.computed_features import with_computed
from headrace.training.log_spine import LogRows, asked_rows, log_spine
from headrace.training.spine_input import Spine, spine_for

if TYPE_CHECKING:
    from pydantic import BaseModel

__all__ = ["Testbed"]


class Testbed:
    """Runs features on events that a test sends.

    It uses the worker, its stores, the lookup SDK and the training join.

    Offsets follow the order of sending in each partition, and an event counts from its own `known_at` on, whatever the
    order of sends and lookups: a lookup `at` a time sees exactly the events known by then, as a training row does.

    Args:
        definitions: Feast objects in a list, a module that holds them, a feature repo's folder, or a compiled plan.
        partitions: How many partitions each topic has.
        models: With a plan: by source's name, the pydantic model of its events.
        store: What the features are served from: ``memory``, or ``lmdb`` in a temporary folder.
        allow_failures: Whether a udf or expression may fail on most events; `send` raises where it may not.

    Raises:
        ConfigError: There is nothing to compile, or an argument is wrong.
        DefinitionError: The definitions cannot work; all that is wrong is listed.
    """

    __test__ = False  # pytest would collect a class of this name

    def __init__(
        self,
        definitions: Plan | ModuleType | str | os.PathLike[str] | Iterable[Any],
        partitions: int = 2,
        *,
        models: Mapping[str, type[BaseModel]] | None = None,
        store: Literal["memory", "lmdb"] = "memory",
        allow_failures: bool = False,
    ) -> None:
        if partitions < 1 or store not in ("memory", "lmdb"):
            msg = f"Testbed(partitions={partitions!r}, store={store!r}) cannot be."
            raise ConfigError(msg, hint="Write partitions=1 or more, and store='memory' or 'lmdb'.")
        self._definitions = definitions_of(definitions, models)
        self.plan = self._definitions.plan
        self._folder = tempfile.TemporaryDirectory(prefix="headrace-testbed-", ignore_cleanup_errors=True)
        self._kind = store
        self._allows_failures = allow_failures
        self._stores = 0
        self._sends = {
            name: SourceSends(source, self._definitions.models[name], partitions)
            for name, source in self.plan.sources.items()
        }
        self._rounds: list[list[Sent]] = []
        self._letters = KeptLetters()
        self._logs = {source.topic: self._open_log(source) for source in self.plan.sources.values()}
        self._worker = self._new_worker(self._new_store())
        self._past: SimulatedWorker | None = None
        self._problems: Sequence[Problem] = ()

    def send(
        self,
        source: str,
        events: Iterable[Event],
        known_at: datetime | Sequence[datetime] | None = None,
        partition: int | None = None,
    ) -> None:
        """Send events: one fetch of the worker, in arrival order.

        Args:
            source: The source's name.
            events: Mappings or instances of the source's model, or the bytes of a record. What the model refuses, a
                producer would not send; here the worker makes a dead letter of it.
            known_at: When they became readable online, together or each; None is each at its event time. It stands for
                the Kafka record's timestamp too.
            partition: Their partition; None is by key, as Kafka's clients choose it, or in turn without a key.

        Raises:
            EventError: There is no such source or partition, or `known_at` does not fit.
            TransformError: A udf fails on most events sent so far, or an expression on all of three or more.
        """
        if source not in self._sends:
            msg = f"There is no source named {source!r}."
            raise EventError(msg, hint=f"Sources: {', '.join(self._sends) or 'none'}.")
        records = self._sends[source].records(events, known_at, partition)
        self._rounds.append(records)
        self._worker.deliver(records)
        if not self._allows_failures:
            self._refuse_broken()

    def online(
        self,
        features: AskedFeatures,
        entity_rows: Sequence[Mapping[str, Any]] | Mapping[str, Sequence[Any]],
        at: datetime,
    ) -> pa.Table:
        """Look features up at a time, as a model server would have then.

        Args:
            features: A feature service or its name, or a list of ``view:feature``, ``view:*`` and services.
            entity_rows: One mapping of join keys to values per row, or one mapping of join keys to columns.
            at: The time, with a time zone; any, in any order.

        Returns:
            The rows in the order given: their keys, then a column ``view__feature`` per feature.

        Raises:
            LookupRequestError: A name is unknown, a row leaves out a key, or `at` has no time zone.
        """
        views = {ref.view for ref in self.plan.stored(self._refs(features))}
        topics = {self.plan.source_of(self.plan.views[view]).topic for view in views}
        worker = self._worker_at(time_us(at), topics)
        answer = worker.client.get_online_features(features, entity_rows, at=at)
        self._problems = answer.problems
        return answer.to_arrow()

    def history(
        self,
        features: AskedFeatures,
        spine: Spine | None = None,
        as_of: Literal["known", "event"] = "known",
        time_column: str = "event_timestamp",
        *,
        at: datetime | None = None,
        start: datetime | None = None,
        end: datetime | None = None,
    ) -> pa.Table:
        """Compute features from the log, as a training set does.

        Args:
            features: As `online`.
            spine: Rows with the join keys and a moment, as `TrainingClient` takes them.
            as_of: ``known``: what a lookup at that moment would have been served; ``event``: by event time alone.
            time_column: The column of moments.
            at: Instead of a spine: all entities at this time.
            start: Instead of a spine: each entity at the times of its events, from this one on.
            end: The time before which these lie.

        Returns:
            The spine's columns, then a column ``view__feature`` per feature; rows in the spine's order, or by time and
            key.

        Raises:
            SpineError: The spine lacks a column, or has one of a wrong type.
            LookupRequestError: A name is unknown.
        """
        refs = self._refs(features)
        rows = asked_rows(spine, at=at, start=start, end=end)
        self._worker.flush()
        snapshots = {topic: log.snapshot() for topic, log in self._logs.items()}
        if isinstance(rows, LogRows):
            rows = log_spine(self.plan, self.plan.stream_refs(refs), snapshots, rows, as_of_named(as_of), time_column)
        table = spine_for(self.plan, refs, rows, time_column)
        join = PointInTimeJoin(self.plan, snapshots, repo=self._definitions.repo)
        joined = join.join(table, self.plan.stored(refs), as_of=as_of, time_column=time_column)
        found, self._problems = with_computed(self.plan, refs, joined, table, self._definitions.repo)
        for name, column in zip(found.column_names, found.columns, strict=True):
            table = table.append_column(name, column)
        return table

    @property
    def problems(self) -> list[Problem]:
        """The cells of the last answer, of `online` or `history`, that are null because their value cannot be given."""
        return list(self._problems)

    def dead_letters(self) -> list[DeadLetter]:
        """What was refused so far, by topic, partition and offset, each once."""
        return self._letters.all()

    def restart(self) -> None:
        """Kill the worker and start another: what was applied online and not yet logged is read again from Kafka."""
        if self._kind == "lmdb":
            self._worker.close()
            store = self._open_store("lmdb-1")
        else:
            store = self._worker.store  # memory here stands in for a disk or Redis, which outlive a worker
        # A worker that dies takes its Delta tables, open in memory, with it.
        self._logs = {source.topic: self._open_log(source) for source in self.plan.sources.values()}
        died, self._worker = self._worker, self._new_worker(store)
        self._worker.takes_over(died)
        self._deliver_from({topic: log.last_offsets() for topic, log in self._logs.items()})

    def replay(self, from_offset: int = 0) -> None:
        """Deliver again everything from an offset on in each partition; this must change nothing.

        Args:
            from_offset: The first offset to deliver.
        """
        self._worker.flush()
        self._worker.is_reassigned()
        ends = {one.at: from_offset - 1 for sent in self._rounds for one in sent}
        ends_before: dict[str, dict[int, int]] = {}
        for at, end in ends.items():
            ends_before.setdefault(at.topic, {})[at.partition] = end
        self._deliver_from(ends_before)
        self._worker.flush()

    def close(self) -> None:
        """Close the stores and remove the temporary folder."""
        self._worker.close()
        if self._past is not None:
            self._past.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _refuse_broken(self) -> None:
        """Raise where a transform is broken: in a test, its nulls would pass for events without a value."""
        broken = [(name, found) for name, found in self._worker.failures.items() if found["broken"]]
        if broken:
            said = [
                f"{name}: {found['what']} failed on {found['failed']} of {found['events']} events: {found['reason']}"
                for name, found in broken
            ]
            hint = "Correct it. To test what becomes of events that it cannot take: Testbed(…, allow_failures=True)."
            raise TransformError("\n".join(said), hint=hint)

    def _refs(self, features: AskedFeatures) -> list[FeatureRef]:
        return self.plan.resolve(features)

    def _deliver_from(self, ends: Mapping[str, Mapping[int, int]]) -> None:
        for sent in self._rounds:
            self._worker.deliver([one for one in sent if one.offset > ends[one.at.topic].get(one.at.partition, -1)])

    def _worker_at(self, at_us: int, topics: set[str]) -> SimulatedWorker:
        """A worker whose store holds exactly what was known at a time: the one that runs, or one kept for the past."""
        rounds = [sent for sent in self._rounds if sent and sent[0].at.topic in topics]
        if self._worker.catches_up(at_us, rounds):
            return self._worker
        for topic in topics:
            if self.plan.source_for_topic(topic).event_id is not None:
                rounds = self._counted(topic, rounds)
        if self._past is None:
            self._past = SimulatedWorker(self._definitions, self._new_store(), {}, KeptLetters())
        if not self._past.catches_up(at_us, rounds):
            self._past.starts_over(at_us, rounds)
        return self._past

    def _counted(self, topic: str, rounds: list[list[Sent]]) -> list[list[Sent]]:
        """Rounds without the events of a topic that the worker took for repeated ones: those that its log lacks."""
        self._worker.flush()
        logged = {
            (partition, offset)
            for rows in self._logs[topic].scan()
            for partition, offset in zip(*(rows.column(name).to_pylist() for name in (PARTITION, OFFSET)), strict=True)
        }
        kept = [
            [one for one in sent if one.at.topic != topic or (one.partition, one.offset) in logged] for sent in rounds
        ]
        return [sent for sent in kept if sent]

    def _new_worker(self, store: OnlineStore) -> SimulatedWorker:
        return SimulatedWorker(self._definitions, store, self._logs, self._letters)

    def _new_store(self) -> OnlineStore:
        self._stores += 1
        return MemoryStore() if self._kind == "memory" else self._open_store(f"lmdb-{self._stores}")

    def _open_store(self, name: str) -> OnlineStore:
        return open_store(f"lmdb:{Path(self._folder.name) / name}", writable=True)

    def _open_log(self, source: Source) -> EventLog:
        return EventLog(Path(self._folder.name) / "log", source)
