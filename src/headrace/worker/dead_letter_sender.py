"""Sending dead letters to `<topic>.dlq`, confirmed before the offsets of their events are committed.

A letter goes as it is. What the broker refuses for a reason of that one letter (its size, its timestamp) goes again:
alone, then with the time of sending, then cut shorter and shorter. Where even its headers alone are refused, it is
noted in a file and the log, and passed: nothing that a producer sends stops a worker. A broker that is away is no such
reason, nor is one that does not let headrace write: the first is waited for, the second ends the worker.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from headrace.errors import BrokerUnavailableError, HeadraceError, TopicError
from headrace.events.dead_letter import DeadLetter, Whole, dead_letter_topic
from headrace.kafka.connection import KafkaConnection

__all__ = ["KafkaDeadLetters"]

logger = logging.getLogger(__name__)

_LET_GO_S = 1.0
_QUEUE_FULL_S = 0.1

_SETTINGS: dict[str, str | int | bool] = {
    "acks": "all",  # and not idempotent, which asks for more rights: a letter that is written twice is read once
    "message.max.bytes": 1_000_000_000,  # what is too large the broker says
    "message.timeout.ms": 0,  # a broker that is away is waited for; meanwhile `flush` raises
    "linger.ms": 5,
    "reconnect.backoff.max.ms": 1_000,
    "log_level": 2,
}
_ALONE: dict[str, str | int | bool] = {"batch.num.messages": 1, "linger.ms": 0}
"""A batch is refused as a whole, for any one of its records."""

_SIZES = (900_000, 90_000, 9_000, 900, 0)
"""What is left of a letter's key, value and original headers, in bytes, from one attempt to the next."""

_TOO_LARGE = {KafkaError.MSG_SIZE_TOO_LARGE, KafkaError.INVALID_MSG_SIZE, KafkaError.RECORD_LIST_TOO_LARGE}
_OF_ITSELF = _TOO_LARGE | {
    KafkaError.INVALID_TIMESTAMP,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_MSG,
    KafkaError.POLICY_VIOLATION,
    KafkaError._INVALID_DIFFERENT_RECORD,  # noqa: SLF001 its public name: another record of the batch
}
"""What is refused because of the record, or another one of its batch."""
_MAY_NOT = {KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.CLUSTER_AUTHORIZATION_FAILED}
_NO_TOPIC = {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_TOPIC, KafkaError._UNKNOWN_PARTITION}  # noqa: SLF001


@dataclass(eq=False)
class _Attempt:
    """A letter on its way.

    Attributes:
        whole: The letter as it was handed over.
        tried: How often it was sent.
        sizes: How many of the sizes were tried.
        own_time: Whether it keeps its record's timestamp.
        code: How the last attempt ended: 0 is stored, None is not known yet.
        why: The same in words.
    """

    whole: DeadLetter
    tried: int = 0
    sizes: int = 0
    own_time: bool = True
    code: int | None = None
    why: str = ""

    def answered(self, error: KafkaError | None, _: Message) -> None:
        """Take the broker's answer."""
        if error is None:
            self.code = 0
        else:
            self.refused(error)

    def refused(self, error: KafkaError) -> None:
        """Note why it was not stored."""
        self.code, self.why = error.code(), error.str()

    def next_form(self) -> bool:
        """Change what will be sent next; False where every form has been tried."""
        if self.tried == 1:
            return True  # as it is, and alone
        if self.code == KafkaError.INVALID_TIMESTAMP and self.own_time:
            self.own_time = False
            return True
        if self.code not in _TOO_LARGE:
            self.own_time, self.sizes = False, max(self.sizes, len(_SIZES) - 1)
        while self.sizes < len(_SIZES) and _SIZES[self.sizes] >= self.whole.size > 0:
            self.sizes += 1  # no cut
        self.sizes += 1
        return self.sizes <= len(_SIZES)

    @property
    def letter(self) -> DeadLetter:
        """What is sent."""
        return self.whole.cut_to(_SIZES[self.sizes - 1]) if self.sizes else self.whole


class KafkaDeadLetters:
    """Dead letters by librdkafka's producers; they connect when the first letter is sent.

    Args:
        connection: The broker.
        undelivered: The file that notes what could not be delivered; None is the log alone.
        confirm_s: How long to wait for the broker's answer, in seconds.
        settings: Other settings of librdkafka's producers.
    """

    def __init__(
        self,
        connection: KafkaConnection,
        undelivered: Path | None = None,
        *,
        confirm_s: float = 5.0,
        settings: Mapping[str, str | int | bool] | None = None,
    ) -> None:
        self._settings = {**connection.librdkafka(), **_SETTINGS, **(settings or {})}
        self._connection = connection
        self._confirm_s = confirm_s
        self._undelivered = undelivered
        self._together: Producer | None = None
        self._alone: Producer | None = None
        self._lock = threading.Lock()
        self._waiting: list[_Attempt] = []
        self.passed = 0

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Hand letters over; `flush` says what became of them.

        Args:
            letters: The letters.
        """
        if not letters:
            return
        with self._lock:
            if self._together is None:
                self._together = Producer(self._settings, logger=logger)
            for letter in letters:
                attempt = _Attempt(letter)
                self._produce(self._together, attempt)
                self._waiting.append(attempt)
            self._together.poll(0)

    def flush(self) -> None:
        """Return once each letter handed over is stored, or noted as one that cannot be.

        Raises:
            BrokerUnavailableError: The broker is away; flushing again is safe.
            TopicError: The broker does not let headrace write dead letters, or there is no topic for them.
        """
        with self._lock:
            while self._waiting:
                for producer in (self._together, self._alone):
                    if producer is not None:
                        producer.flush(self._confirm_s)
                self._settle()

    def close(self) -> None:
        """Close the connections. Letters that are not stored yet come again with their events."""
        with self._lock:
            for producer in (self._together, self._alone):
                if producer is not None:
                    producer.flush(_LET_GO_S)
            self._together = self._alone = None

    def _settle(self) -> None:
        """Send letters again that were refused themselves; raise errors that concern all letters."""
        waiting, self._waiting = self._waiting, []
        others: list[_Attempt] = []
        error: HeadraceError | None = None
        for attempt in waiting:
            if attempt.code == 0:
                continue
            if attempt.code not in _OF_ITSELF:
                others.append(attempt)
            elif not attempt.next_form():
                self._pass(attempt)
                continue
            self._waiting.append(attempt)
        if others:
            error = self._error(others)
        for attempt in self._waiting:
            if attempt.code is not None:
                self._produce(self._producer_alone(), attempt)
        if error is not None:
            raise error

    def _error(self, others: list[_Attempt]) -> HeadraceError:
        """What to raise for letters that are neither stored nor refused for a reason of their own."""
        topics = sorted({dead_letter_topic(attempt.whole.topic) for attempt in others})
        codes = Counter(attempt.code for attempt in others)
        why = next((attempt.why for attempt in others if attempt.why), f"no answer in {self._confirm_s:g} s").rstrip(
            "."
        )
        where = f"{len(others)} dead letters could not be stored in {', '.join(topics)} at {self._connection}: {why}."
        if any(code in _MAY_NOT for code in codes):
            return TopicError(
                where, hint="Grant WRITE and DESCRIBE on that topic to the user that headrace connects as."
            )
        if any(code in _NO_TOPIC for code in codes):
            return TopicError(where, hint="Someone deleted the topic, it seems. A worker that starts creates it.")
        return BrokerUnavailableError(where)

    def _producer_alone(self) -> Producer:
        if self._alone is None:
            self._alone = Producer({**self._settings, **_ALONE}, logger=logger)
        return self._alone

    def _produce(self, producer: Producer, attempt: _Attempt) -> None:
        letter = attempt.letter
        attempt.tried, attempt.code = attempt.tried + 1, None
        more: dict[str, Any] = {}
        if attempt.own_time and letter.recorded_at_ms > 0:
            more["timestamp"] = letter.recorded_at_ms
        headers: Any = letter.to_headers()
        deadline = time.monotonic() + self._confirm_s
        while True:
            try:
                producer.produce(
                    dead_letter_topic(letter.topic),
                    letter.value,
                    letter.key,
                    headers=headers,
                    on_delivery=attempt.answered,
                    **more,
                )
            except BufferError as error:  # its queue is full
                producer.poll(_QUEUE_FULL_S)
                if time.monotonic() > deadline:
                    msg = f"Dead letters wait for the broker at {self._connection}, and no more fit in memory."
                    raise BrokerUnavailableError(msg) from error
            except KafkaException as error:
                attempt.refused(error.args[0])
                return
            else:
                return

    def _pass(self, attempt: _Attempt) -> None:
        """Note a letter that cannot be delivered in any form."""
        letter = attempt.whole
        self.passed += 1
        where = f"{letter.topic}[{letter.partition}]@{letter.offset}"
        note = {
            "noted_at": datetime.now(UTC).isoformat(),
            "topic": letter.topic,
            "partition": letter.partition,
            "offset": letter.offset,
            "field": letter.field,
            "reason": letter.reason[:2_000],
            "undelivered": attempt.why,
            "recorded_at_ms": letter.recorded_at_ms,
            "key": None if letter.key is None else _described(Whole.of(letter.key)),
            "value": None if letter.value is None else _described(Whole.of(letter.value)),
        }
        logger.error("Dead letter %s could not be delivered in any form, and is passed: %s", where, json.dumps(note))
        if self._undelivered is not None:
            try:
                self._undelivered.parent.mkdir(parents=True, exist_ok=True)
                with self._undelivered.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(note) + "\n")
            except OSError as error:
                logger.error("It could not be noted in %s either: %s", self._undelivered, error)  # noqa: TRY400


def _described(whole: Whole) -> dict[str, Any]:
    """What is noted of a key or a value."""
    return {"bytes": whole.size, "sha256": whole.sha256}
