"""Replaying a finite history: in the order of sending, at a chosen speed, continued where an earlier run stopped."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from headrace.config import Project
from headrace.kafka import end_offsets, project_connection
from headrace.kafka.topics import TopicWatch
from headrace.plan import read_plan
from headrace.produce.encode import EncodedEvent
from headrace.produce.event_history import EncodedHistory, History, load_history
from headrace.produce.producer import EventProducer, find_source
from headrace.produce.replay_options import ReplayOptions, ReplayProgress, ReplaySummary, Report
from headrace.produce.replay_past_topics import NO_PAST_TOPICS, PastTopics, read_past_topics
from headrace.produce.replay_resume import already_sent
from headrace.produce.replay_schedule import Schedule, schedule

__all__ = ["produce", "replay"]

_CHUNK = 1024
_REPORT_S = 0.1
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def produce(
    project: Project, topic: str, options: ReplayOptions | None = None, report: Report | None = None
) -> ReplaySummary:
    """Replay the history that a project has for one of its topics, into the project's broker.

    Args:
        project: The project.
        topic: A topic, or the name of its source.
        options: What to replay, and how.
        report: Called with the progress.

    Returns:
        What was done.

    Raises:
        HeadraceError: As `EventProducer.for_project`, `load_history` and `replay`.
    """
    source = find_source(read_plan(project.plan_file), topic)
    project_connection(project)  # says at once that no broker runs, before a history is read
    history = load_history(project, source.topic)
    with EventProducer.for_project(source.name, project, keeps_history=True) as producer:
        past = NO_PAST_TOPICS
        if options is not None and options.resume:
            with closing(TopicWatch(producer.connection, [source.topic])) as watch:
                identity = watch.identities().get(source.topic, "")
            past = read_past_topics(project, source, identity, producer.partitions)
        return replay(producer, history, options, report, past)


def replay(
    producer: EventProducer,
    history: History,
    options: ReplayOptions | None = None,
    report: Report | None = None,
    past: PastTopics = NO_PAST_TOPICS,
) -> ReplaySummary:
    """Send a history to a producer's topic, each record's timestamp being the time it is sent in the replay.

    Args:
        producer: The producer.
        history: The events.
        options: What to replay, and how.
        report: Called with the progress.
        past: What is logged of the topic before it was created again, for `resume`.

    Returns:
        What was done; every event that it counts is confirmed.

    Raises:
        BrokerUnavailableError: The broker went away; the message says how many events are not confirmed.
        EventError: The model refuses an event of the history.
        TopicError: `resume` was asked for, and the topic holds other events.
    """
    options = options or ReplayOptions()
    began = time.monotonic()
    run = _Run(producer, history, options, past)
    sent_before = producer.sent
    _send(run, options.speed, report)
    producer.flush()
    seconds = time.monotonic() - began
    sent = producer.sent - sent_before
    return ReplaySummary(
        topic=producer.source.topic,
        sent=sent,
        skipped=run.skipped,
        late=run.late,
        already=run.already,
        seconds=round(seconds, 3),
        events_per_second=round(sent / seconds, 1) if sent else 0.0,
    )


class _Chunk(NamedTuple):
    """Events in the order of sending: their partitions, record timestamps in ms, and contents."""

    partitions: list[int]
    timestamps_ms: list[int]
    events: list[EncodedEvent]


class _Run:
    """What one run sends: rows of the history, when, and to which partition."""

    def __init__(self, producer: EventProducer, history: History, options: ReplayOptions, past: PastTopics) -> None:
        self.producer = producer
        self._events = EncodedHistory(history, producer.encoder, producer.source.timestamp_field)
        self.plan: Schedule = schedule(
            self._events.ts_us,
            late=options.late,
            seed=options.seed,
            start_us=options.start_us,
            until_us=options.until_us,
        )
        topic = producer.source.topic
        ends = {partition: end for (_, partition), end in end_offsets(producer.connection, [topic]).items()}
        self.already = sum(ends.values())
        everything = np.arange(len(self.plan.rows))
        done = np.zeros(len(everything), bool)
        if options.resume:
            done = already_sent(producer.connection, topic, ends, self.events(everything), len(everything), past)
        within = everything if options.limit is None else everything[: options.limit]
        self.places = within[~done[within]]
        self.skipped = len(within) - len(self.places)
        self.late = int(np.count_nonzero(self.plan.late[self.places]))

    def events(self, places: npt.NDArray[np.int64]) -> Iterator[tuple[int, int, EncodedEvent]]:
        """Partition, record timestamp in ms and content of the events at these places in the order of sending."""
        for chunk in self.chunks(places):
            yield from zip(chunk.partitions, chunk.timestamps_ms, chunk.events, strict=True)

    def chunks(self, places: npt.NDArray[np.int64]) -> Iterator[_Chunk]:
        """The same, a thousand at a time."""
        for first in range(0, len(places), _CHUNK):
            chunk = places[first : first + _CHUNK]
            encoded = self._events.encode(self.plan.rows[chunk])
            by_key = self.producer.partitions_of(encoded)
            # Events without a key go round; by their place, so that the next run sends each to the same partition.
            partitions = [
                place % self.producer.partitions if event.key is None else partition
                for place, event, partition in zip(chunk.tolist(), encoded, by_key, strict=True)
            ]
            yield _Chunk(partitions, self.plan.sent_ms[chunk].tolist(), encoded)


def _send(run: _Run, speed: float | None, report: Report | None) -> None:
    if speed is None:
        _send_all(run, report)
        return
    total = len(run.places)
    begin_ms = int(run.plan.sent_ms[run.places[0]]) if total else 0
    began = reported = time.monotonic()
    for count, (partition, timestamp_ms, event) in enumerate(run.events(run.places)):
        due = began + (timestamp_ms - begin_ms) / 1000 / speed
        _wait(due, ReplayProgress(count, total, _at(timestamp_ms)), report)
        run.producer.send_encoded(event, timestamp_ms, partition)
        if report is not None and time.monotonic() - reported >= _REPORT_S:
            reported = time.monotonic()
            report(ReplayProgress(count + 1, total, _at(timestamp_ms)))
    if report is not None and total:
        report(ReplayProgress(total, total, _at(int(run.plan.sent_ms[run.places[-1]]))))


def _send_all(run: _Run, report: Report | None) -> None:
    """As fast as it goes."""
    total, count, reported = len(run.places), 0, time.monotonic()
    for chunk in run.chunks(run.places):
        run.producer.send_all_encoded(chunk.events, chunk.timestamps_ms, chunk.partitions)
        count += len(chunk.events)
        if report is not None and (count == total or time.monotonic() - reported >= _REPORT_S):
            reported = time.monotonic()
            report(ReplayProgress(count, total, _at(chunk.timestamps_ms[-1])))


def _wait(due: float, progress: ReplayProgress, report: Report | None) -> None:
    """Sleep until an event is due, and report progress meanwhile."""
    while (left := due - time.monotonic()) > 0.001:
        time.sleep(min(left, _REPORT_S))
        if report is not None and left > _REPORT_S:
            report(progress)


def _at(timestamp_ms: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=timestamp_ms)
