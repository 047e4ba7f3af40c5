"""Confirmed delivery: what was sent, what the broker has acknowledged, and what happens when it does not."""

from __future__ import annotations

import time
from collections import deque
from itertools import chain
from typing import Any

from headrace.broker.kafka_import import KafkaError, KafkaProducer, KafkaTimeoutError
from headrace.errors import BrokerUnavailableError, EventError, HeadraceError, RetryableError, TopicError

__all__ = ["ConfirmedSender"]

_WINDOW = 2048
_WINDOWS_IN_FLIGHT = 16
_CHECK_S = 0.5
_NEVER_MS = 2**31 - 1
_BATCH_BYTES = 512 * 1024  # half of what a Kafka broker accepts unless configured otherwise
_REQUEST_BYTES = 8 * 1024 * 1024
_EVENT_BYTES = 1_000_000  # what a Kafka broker accepts unless configured otherwise, less some room for the envelope


class _Producer(KafkaProducer):  # type: ignore[misc]  # kafka-python ships no types
    """A producer that can give up at once, and leaves no thread behind when it finds no broker."""

    def __init__(self, **configs: object) -> None:
        try:
            super().__init__(**configs)
        except Exception:
            self._closed = True
            raise

    def abandon(self) -> None:
        """Stop without sending what is buffered.

        `close` would wait for that, and raise without stopping when it takes too long.
        """
        if not self._closed:
            self._closed = True
            self._unregister_cleanup()
            self._sender.force_close()
            self._sender.join(5.0)


class ConfirmedSender:
    """Sends records to one topic and accounts for each.

    The broker's producer ids make retries idempotent. A batch is retried until it is confirmed; when nothing has been
    confirmed for `patience_s`, sending ends altogether. So each partition holds a gapless beginning of what was sent
    to it, which `--resume` builds on.

    Args:
        bootstrap: ``host:port[,host:port]``.
        topic: The topic.
        timeout_s: How long to wait for the broker at the start, in seconds.
        patience_s: How long to wait for a confirmation, in seconds.
        linger_ms: How long a record may wait for others to share its batch, in milliseconds.

    Raises:
        KafkaError: The broker does not answer.
    """

    def __init__(self, bootstrap: str, topic: str, *, timeout_s: float, patience_s: float, linger_ms: int) -> None:
        self._bootstrap = bootstrap
        self._topic = topic
        self._patience_s = patience_s
        self._windows: deque[list[Any]] = deque([[]])
        self._settled = 0
        self._failure: HeadraceError | None = None
        self._waiting: tuple[Any, float] = (None, 0.0)
        self._next_check = 0.0
        self._closed = False
        self._kafka = _Producer(
            bootstrap_servers=bootstrap.split(","),
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

    @property
    def sent(self) -> int:
        """How many records were handed over."""
        return self._settled + sum(len(window) for window in self._windows)

    @property
    def confirmed(self) -> int:
        """How many of them the broker has acknowledged."""
        return self._settled + sum(bool(future.succeeded()) for future in chain.from_iterable(self._windows))

    def send(self, key: bytes | None, value: bytes, timestamp_ms: int, partition: int | None) -> None:
        """Hand over one record.

        Args:
            key: Its key.
            value: Its value.
            timestamp_ms: Its timestamp, in milliseconds since 1970 UTC.
            partition: Its partition; None leaves it to the key.

        Raises:
            BrokerUnavailableError: Earlier records were not confirmed in time; nothing is sent any more.
            EventError: The record is larger than the broker takes.
            TopicError: The broker refused earlier records.
        """
        if self._failure is not None:
            raise self._failure
        if self._closed:
            msg = f"The producer of topic {self._topic!r} is closed."
            raise HeadraceError(msg, cure="Send inside its `with` block.")
        size = len(value) + len(key or b"")
        if size > _EVENT_BYTES:
            msg = f"An event for topic {self._topic!r} is too large: {size:,} bytes."
            raise EventError(msg, cure=f"Send events below {_EVENT_BYTES:,} bytes. This event was not sent.")
        try:
            future = self._kafka.send(self._topic, value, key=key, timestamp_ms=timestamp_ms, partition=partition)
        except KafkaError as error:
            raise self._fail(error, self._patience_s) from error
        window = self._windows[-1]
        window.append(future)
        if time.monotonic() >= self._next_check:
            self._check()
        if len(window) >= _WINDOW:
            self._windows.append([])
            # What is in flight is bounded: kafka-python's own buffer is not.
            if len(self._windows) > _WINDOWS_IN_FLIGHT:
                self._settle(self._windows[0], self._patience_s)
                self._settled += len(self._windows.popleft())

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
        try:
            self._kafka.flush(patience_s)
        except KafkaError as error:
            raise self._fail(error, patience_s) from error
        while self._windows:
            self._settle(self._windows[0], patience_s)
            self._settled += len(self._windows.popleft())
        self._windows.append([])

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

    def _check(self) -> None:
        """Raise if the oldest record that is not confirmed has waited too long, or a record was refused."""
        now = time.monotonic()
        self._next_check = now + _CHECK_S
        oldest = None
        for future in chain.from_iterable(self._windows):
            if future.exception is not None:
                raise self._fail(future.exception, self._patience_s) from future.exception
            if oldest is None and not future.is_done:
                oldest = future
        if oldest is not self._waiting[0]:
            self._waiting = (oldest, now)
        elif oldest is not None and now - self._waiting[1] > self._patience_s:
            raise self._fail(KafkaTimeoutError(), self._patience_s)

    def _settle(self, window: list[Any], patience_s: float) -> None:
        for future in window:
            if not (future.is_done and future.exception is None):
                try:
                    future.get(patience_s)
                except KafkaError as error:
                    raise self._fail(error, patience_s) from error

    def _fail(self, error: KafkaError, patience_s: float) -> HeadraceError:
        """End sending for good, and say how much is not confirmed."""
        self._kafka.abandon()
        unconfirmed = self.sent - self.confirmed
        where = f"topic {self._topic!r} at {self._bootstrap}"
        what = f"{unconfirmed:,} of {self.sent:,} events sent to {where} are not confirmed: "
        if error.retriable:
            why = f"the broker has confirmed nothing for {patience_s:g} s."
            cure = "Start the broker and produce again with --resume, which sends only what is not there yet."
            failure: type[RetryableError | TopicError] = BrokerUnavailableError
        else:
            why = f"the broker refused them: {error}"
            cure = "Mend what it says, and produce again with --resume, which sends only what is not there yet."
            failure = TopicError
        self._failure = failure(what + why, cure=cure)
        return self._failure
