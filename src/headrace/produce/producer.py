"""Producing events: validated by their model before anything is sent, delivered once, and confirmed."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice
from types import TracebackType
from typing import Any, Self

from pydantic import BaseModel

from headrace.config import Clock, Project
from headrace.errors import EventError, TopicError
from headrace.events.model_schema import load_model
from headrace.kafka import KafkaConnection, describe, ensure_topics, project_connection
from headrace.kafka.clients import kafka_python_errors
from headrace.kafka.connection_check import TIMEOUT_S
from headrace.plan import Plan, Source, read_plan
from headrace.produce.delivery import ConfirmedSender
from headrace.produce.encode import EncodedEvent, EventEncoder
from headrace.produce.partitioner import partition_of, partitions_of
from headrace.produce.record_batches import NO_HEADERS, Record
from headrace.produce.record_timestamps import RecordClock, SystemClock, clock_of
from headrace.times import us_of

__all__ = ["EventProducer", "find_source"]

PATIENCE_S = 30.0
LINGER_MS = 20
_CHUNK = 1000


class EventProducer:
    """Sends events of one source to its topic.

        with EventProducer.for_project("departures") as producer:
            producer.send({"origin": "EWR", ...})

    Every event is validated by the model first. Delivery is idempotent and confirmed: leaving the block waits for the
    broker's word on each event, and raises if it does not come.

    Args:
        source: The source.
        model: Its pydantic model.
        bootstrap: Kafka: ``host:port[,host:port]``, or a `KafkaConnection` where the broker asks for encryption or a
            sign-in.
        timeout_s: How long to wait for the broker at the start, in seconds.
        patience_s: How long the broker may stay away later before sending is given up, in seconds.
        linger_ms: How long an event may wait for others to share its batch, in milliseconds.
        clock: What gives a record its timestamp where none is said; None is the system's clock.

    Raises:
        BrokerUnavailableError: No broker answers.
        EventError: The model lacks the source's key or time field.
        TopicError: The topic does not exist.
    """

    def __init__(
        self,
        source: Source,
        model: type[BaseModel],
        bootstrap: str | KafkaConnection,
        *,
        timeout_s: float = TIMEOUT_S,
        patience_s: float = PATIENCE_S,
        linger_ms: int = LINGER_MS,
        clock: RecordClock | SystemClock | None = None,
    ) -> None:
        self.source = source
        self._clock = clock or SystemClock()
        self.connection = connection = KafkaConnection.of(bootstrap)
        self.encoder = EventEncoder(source, model)
        self.partitions = describe(connection, [source.topic], timeout_s=timeout_s)[source.topic].partitions
        with kafka_python_errors(connection):
            self._sender = ConfirmedSender(
                connection,
                source.topic,
                self.partitions,
                timeout_s=timeout_s,
                patience_s=patience_s,
                linger_ms=linger_ms,
            )

    @classmethod
    def for_project(
        cls, topic_or_source: str, project: Project | None = None, *, keeps_history: bool = False, **options: Any
    ) -> Self:
        """A producer for a project's source, its topic created where it is missing.

        Under the project's record clock, an event that gives no timestamp is sent as of when it happened, not as of
        today.

        Args:
            topic_or_source: The name of a topic or a source of the project's plan.
            project: The project; None is the one that the current folder lies in.
            keeps_history: Whether a topic that is created keeps records of any age permanently, whatever the project's
                clock: for replays.
            options: As for the class.

        Returns:
            The producer.

        Raises:
            BrokerUnavailableError: No broker answers.
            ConfigError: There is no project here, or its settings are wrong.
            EventError: The model cannot be imported, or lacks the source's key or time field.
            PlanError: There is no plan, or it does not read.
            TopicError: The plan has no such topic or source.
        """
        project = Project.load() if project is None else project
        source = find_source(read_plan(project.plan_file), topic_or_source)
        model = load_model(project.repo, source.model)
        connection = project_connection(project)
        ensure_topics(
            connection, [source], project.partitions, keeps_history=keeps_history or project.clock is Clock.RECORD
        )
        options.setdefault("clock", clock_of(project))
        return cls(source, model, connection, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self._sender.close(patience_s=5.0)
        except Exception as failure:  # the block's own error goes on; this one is added to it as a note
            if failure is not error:
                error.add_note(str(failure))

    @property
    def sent(self) -> int:
        """How many events were handed over."""
        return self._sender.sent

    @property
    def confirmed(self) -> int:
        """How many of them the broker has confirmed."""
        return self._sender.confirmed

    def send(self, event: BaseModel | Mapping[str, Any], *, timestamp: datetime | None = None) -> None:
        """Validate one event and send it.

        Args:
            event: An instance of the source's model, or a mapping that the model accepts.
            timestamp: The Kafka record's timestamp, with a time zone; None is now, by the project's clock: under the
                record clock the event's own time, or the newest record's where that is later.

        Raises:
            BrokerUnavailableError: Earlier events were not confirmed in time.
            EventError: The event is refused, and was not sent: the message names the model, the field, the value and
                what to do.
            TopicError: The broker refused earlier events.
        """
        encoded = self.encoder.encode(event)
        timestamp_ms = self._clock.stamps_ms([encoded])[0] if timestamp is None else _as_ms(timestamp)
        self._refuse_future(encoded, timestamp_ms)
        self._clock.moves_to(timestamp_ms)
        self.send_encoded(encoded, timestamp_ms)

    def send_many(
        self, events: Iterable[BaseModel | Mapping[str, Any]], *, timestamps: Iterable[datetime] | None = None
    ) -> None:
        """Validate events and send them: what `send` does with each, several times as fast.

        Args:
            events: The events; any number, they are taken a thousand at a time.
            timestamps: Their Kafka records' timestamps, with a time zone, as many as events; None is now, as for
                `send`.

        Raises:
            BrokerUnavailableError: As `send`.
            EventError: As `send`, for the first event that is refused; those before it were sent, it and those after it
                were not.
            TopicError: As `send`.
            ValueError: There are more events than timestamps, or fewer.
        """
        if timestamps is None:
            taken = iter(events)
            while chunk := list(islice(taken, _CHUNK)):
                self._send_chunk(chunk, None)
            return
        pairs = zip(events, timestamps, strict=True)
        while some := list(islice(pairs, _CHUNK)):
            self._send_chunk([event for event, _ in some], [timestamp for _, timestamp in some])

    def _send_chunk(self, events: list[Any], timestamps: list[datetime] | None) -> None:
        try:
            encoded = self.encoder.encode_many(events)
            times = self._clock.stamps_ms(encoded) if timestamps is None else [_as_ms(one) for one in timestamps]
            for event, timestamp_ms in zip(encoded, times, strict=True):
                self._refuse_future(event, timestamp_ms)
            self._clock.moves_to(max(times, default=0))
            self.send_all_encoded(encoded, times)
        except EventError:
            # One of them is refused: those before it are sent, and it is refused as it would be alone.
            for place, event in enumerate(events):
                self.send(event, timestamp=None if timestamps is None else timestamps[place])

    def _refuse_future(self, event: EncodedEvent, timestamp_ms: int) -> None:
        if us_of(event.time) - timestamp_ms * 1000 > self.source.max_future_us:
            limit = f"{self.source.max_future_us / 1e6:g} s"
            field = f"{self.source.model}.{self.source.timestamp_field}"
            msg = f"{field} is {event.time.isoformat()}, more than {limit} past its record's timestamp."
            hint = "Fix the clock or the time's unit, or raise max_future of the source. This event was not sent."
            raise EventError(msg, hint=hint)

    def send_encoded(self, event: EncodedEvent, timestamp_ms: int, partition: int | None = None) -> None:
        """Send an event that `encoder` has validated and encoded.

        Args:
            event: The event.
            timestamp_ms: The Kafka record's timestamp, in milliseconds since 1970 UTC.
            partition: The partition; None leaves it to the key.

        Raises:
            BrokerUnavailableError: As `send`.
            TopicError: As `send`.
        """
        if partition is None and event.key is not None:
            partition = partition_of(event.key, self.partitions)
        self._sender.send(event.key, event.value, timestamp_ms, partition)

    def send_all_encoded(
        self, events: Sequence[EncodedEvent], timestamps_ms: Sequence[int], partitions: Sequence[int] | None = None
    ) -> None:
        """Send events that `encoder` has validated and encoded.

        Args:
            events: The events.
            timestamps_ms: Their Kafka records' timestamps, in milliseconds since 1970 UTC.
            partitions: Their partitions; None leaves them to the keys.

        Raises:
            BrokerUnavailableError: As `send`.
            EventError: An event is larger than the broker takes; none of them was sent.
            TopicError: As `send`.
        """
        if partitions is None:
            partitions = self.partitions_of(events)
        records: dict[int, list[Record]] = {}
        for event, timestamp_ms, partition in zip(events, timestamps_ms, partitions, strict=True):
            records.setdefault(partition, []).append((timestamp_ms, event.key, event.value, NO_HEADERS))
        self._sender.send_all(records)

    def partitions_of(self, events: Sequence[EncodedEvent]) -> list[int]:
        """The partitions of events by their keys; those without one go anywhere, all of them together.

        Args:
            events: The events.
        """
        anywhere = random.randrange(self.partitions)  # noqa: S311 no secret
        keys = [event.key for event in events if event.key is not None]
        places = iter(partitions_of(keys, self.partitions))
        return [anywhere if event.key is None else next(places) for event in events]

    def flush(self) -> None:
        """Wait until the broker has confirmed everything that was sent.

        Raises:
            BrokerUnavailableError: The broker is away; the message says how many events are not confirmed.
            TopicError: The broker refused events; the message says how many, and why.
        """
        self._sender.flush()

    def close(self) -> None:
        """Flush, and end.

        Raises:
            BrokerUnavailableError: As `flush`.
            TopicError: As `flush`.
        """
        self._sender.close()


def _as_ms(timestamp: datetime) -> int:
    if timestamp.tzinfo is None:
        hint = "Give it one, such as datetime.now(UTC). This event was not sent."
        msg = f"The record timestamp {timestamp.isoformat()} has no time zone."
        raise EventError(msg, hint=hint)
    return us_of(timestamp) // 1000


def find_source(plan: Plan, topic_or_source: str) -> Source:
    """The source of a plan that a topic or a source's name means.

    Args:
        plan: The plan.
        topic_or_source: The name.

    Returns:
        The source.

    Raises:
        TopicError: There is none; the message lists the plan's topics.
    """
    for source in plan.sources.values():
        if topic_or_source in (source.topic, source.name):
            return source
    topics = ", ".join(sorted(source.topic for source in plan.sources.values())) or "none"
    hint = f"The plan's topics: {topics}. After a change of the feature repo, run `headrace apply`."
    msg = f"The plan has no topic or source named {topic_or_source!r}."
    raise TopicError(msg, hint=hint)
