"""Confirmed delivery: what was sent, what the broker has acknowledged, and what happens if it does not."""

from __future__ import annotations

import random
import time
from collections import deque
from collections.abc import Mapping, Sequence

from headrace.errors import BrokerUnavailableError, EventError, HeadraceError, RetryableError, TopicError
from headrace.kafka.clients import KafkaError, KafkaTimeoutError, TopicPartition
from headrace.kafka.connection import KafkaConnection
from headrace.produce.record_batches import NO_HEADERS, Batch, BatchingProducer, Record

__all__ = ["ConfirmedSender"]

_IN_FLIGHT = 32_768
_CHECK_S = 0.5
_NEVER_MS = 2**31 - 1
_BATCH_BYTES = 512 * 1024  # half of what a Kafka broker accepts unless configured otherwise
_REQUEST_BYTES = 8 * 1024 * 1024
_EVENT_BYTES = 1_000_000  # what a Kafka broker accepts unless configured otherwise, less some room for the envelope


class ConfirmedSender:
    """Sends records to one topic and accounts for each.

    The broker's producer ids make retries idempotent. A batch is retried until it is confirmed; when nothing has been
    confirmed for `patience_s`, sending ends altogether. So each partition holds a gapless beginning of what was sent
    to it, which `--resume` builds on.

    Args:
        connection: The broker.
        topic: The topic.
        partitions: How many partitions it has.
        timeout_s: How long to wait for the broker at the start, in seconds.
        patience_s: How long to wait for a confirmation, in seconds.
        linger_ms: How long a record may wait for others to share its batch, in milliseconds.

    Raises:
        KafkaError: The broker does not answer.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        topic: str,
        partitions: int,
        *,
        timeout_s: float,
        patience_s: float,
        linger_ms: int,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._places = [TopicPartition(topic, partition) for partition in range(partitions)]
        self._patience_s = patience_s
        self._batches: deque[Batch] = deque()
        self._sent = 0
        self._settled = 0
        self._failure: HeadraceError | None = None
        self._waiting: tuple[Batch | None, float] = (None, 0.0)
        self._next_check = 0.0
        self._closed = False
        self._kafka = BatchingProducer(
            **connection.kafka_python(),
            bootstrap_timeout_ms=int(timeout_s * 1000),
            max_block_ms=int(timeout_s * 1000),
            request_timeout_ms=int(max(patience_s, 1.0) * 1000),
            delivery_timeout_ms=_NEVER_MS,
            enable_idempotence=True,
            acks="all",
            linger_ms=linger_ms,
            batch_size=_BATCH_BYTES,
            max_request_size=_REQUEST_BYTES,
            allow_auto_create_topics=False,
            metrics_enabled=False,
        )
        try:
            self._kafka.partitions_for(topic)
        except BaseException:
            self._kafka.abandon()
            raise

    @property
    def sent(self) -> int:
        """How many records were handed over."""
        return self._sent

    @property
    def confirmed(self) -> int:
        """How many of them the broker has acknowledged."""
        return self._settled + sum(int(batch.record_count) for batch in self._batches if batch.is_confirmed)

    def send(self, key: bytes | None, value: bytes, timestamp_ms: int, partition: int | None) -> None:
        """Hand over one record.

        Args:
            key: Its key.
            value: Its value.
            timestamp_ms: Its timestamp, in milliseconds since 1970 UTC.
            partition: Its partition; None is any.

        Raises:
            BrokerUnavailableError: Earlier records were not confirmed in time; nothing is sent any more.
            EventError: The record is larger than the broker takes.
            TopicError: The broker refused earlier records.
        """
        place = random.randrange(len(self._places)) if partition is None else partition  # noqa: S311 no secret
        self.send_all({place: [(timestamp_ms, key, value, NO_HEADERS)]})

    def send_all(self, records: Mapping[int, Sequence[Record]]) -> None:
        """Hand over records, each partition's in their order.

        Args:
            records: By partition.

        Raises:
            BrokerUnavailableError: As `send`.
            EventError: A record is larger than the broker takes; none of them was sent.
            TopicError: As `send`.
        """
        if self._failure is not None:
            raise self._failure
        if self._closed:
            msg = f"The producer of topic {self._topic!r} is closed."
            raise HeadraceError(msg, hint="Send inside its `with` block.")
        for of_partition in records.values():
            for _, key, value, headers in of_partition:
                size = len(value) + (0 if key is None else len(key)) + len(headers) - len(NO_HEADERS)
                if size > _EVENT_BYTES:
                    self._refuse_size(size)
        was_begun = False
        for partition, of_partition in records.items():
            try:
                was_begun |= self._kafka.append(self._places[partition], of_partition, self._batches.append)
            except KafkaError as error:
                raise self._fail(error, self._patience_s) from error
            self._sent += len(of_partition)
        if was_begun:
            self._kafka.wake()
        self._forget_settled()
        if time.monotonic() >= self._next_check:
            self._check()
        # What is in flight is bounded: kafka-python's own buffer is not.
        while self._sent - self._settled > _IN_FLIGHT:
            self._settle(self._patience_s)

    def flush(self, patience_s: float | None = None) -> None:
        """Wait until everything that was sent is confirmed.

        Args:
            patience_s: How long to wait for a confirmation, in seconds; None is as long as `send` does.

        Raises:
            BrokerUnavailableError: The broker is away; the message says how many events are not confirmed.
            TopicError: The broker refused events; the message says how many, and why.
        """
        if self._failure is not None:
            raise self._failure
        patience_s = self._patience_s if patience_s is None else patience_s

        def settle_all() -> None:
            while self._batches:
                self._settle(patience_s)

        self._kafka.hurry(settle_all)

    def close(self, patience_s: float | None = None) -> None:
        """Flush, and end. Closing twice is harmless.

        Args:
            patience_s: As in `flush`.

        Raises:
            BrokerUnavailableError: As `flush`.
            TopicError: As `flush`.
        """
        if self._closed:
            return
        self._closed = True
        try:
            self.flush(patience_s)
        except BaseException:
            self._kafka.abandon()
            raise
        self._kafka.close(timeout=5.0)

    def _refuse_size(self, size: int) -> None:
        msg = f"An event for topic {self._topic!r} is too large: {size:,} bytes."
        raise EventError(msg, hint=f"Send events below {_EVENT_BYTES:,} bytes. This event was not sent.")

    def _forget_settled(self) -> None:
        while self._batches and self._batches[0].is_confirmed:
            self._settled += int(self._batches.popleft().record_count)

    def _check(self) -> None:
        """Raise if the oldest batch that is not confirmed has waited too long, or one was refused."""
        now = time.monotonic()
        self._next_check = now + _CHECK_S
        oldest = None
        for batch in self._batches:
            if batch.error is not None:
                raise self._fail(batch.error, self._patience_s) from batch.error
            if oldest is None and not batch.is_settled:
                oldest = batch
        if oldest is not self._waiting[0]:
            self._waiting = (oldest, now)
        elif oldest is not None and now - self._waiting[1] > self._patience_s:
            raise self._fail(KafkaTimeoutError(), self._patience_s)

    def _settle(self, patience_s: float) -> None:
        """Wait for the oldest batch."""
        batch = self._batches[0]
        if not batch.wait(patience_s):
            raise self._fail(KafkaTimeoutError(), patience_s)
        if batch.error is not None:
            raise self._fail(batch.error, patience_s) from batch.error
        self._forget_settled()

    def _fail(self, error: Exception, patience_s: float) -> HeadraceError:
        """Stop sending permanently, and say how much is not confirmed."""
        self._kafka.abandon()
        unconfirmed = self.sent - self.confirmed
        where = f"topic {self._topic!r} at {self._connection}"
        what = f"{unconfirmed:,} of {self.sent:,} events sent to {where} are not confirmed: "
        if getattr(error, "retriable", False):
            why = f"the broker has confirmed nothing for {patience_s:g} s."
            hint = "Start the broker and produce again with --resume, which sends only what is not there yet."
            failure: type[RetryableError | TopicError] = BrokerUnavailableError
        else:
            why = f"the broker refused them: {error}"
            hint = "Fix what it says, and produce again with --resume, which sends only what is not there yet."
            failure = TopicError
        self._failure = failure(what + why, hint=hint)
        return self._failure
