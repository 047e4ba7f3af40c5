"""Sending dead letters to `<topic>.dlq`, confirmed before the offsets of their events are committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.broker.connection import broker_errors
from headrace.errors import BrokerUnavailableError
from headrace.events.deadletter import DeadLetter, dead_letter_topic

__all__ = ["KafkaDeadLetters"]

_CONFIRM_S = 30.0


class KafkaDeadLetters:
    """Dead letters by kafka-python's idempotent producer; it connects when the first one is sent.

    Args:
        bootstrap: `host:port[,host:port]`.
    """

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._producer: Any = None
        self._waiting: list[tuple[DeadLetter, Any]] = []

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Hand letters over; BrokerUnavailableError where no broker answers."""
        if not letters:
            return
        with broker_errors(self._bootstrap):
            if self._producer is None:
                from kafka import KafkaProducer

                self._producer = KafkaProducer(
                    bootstrap_servers=self._bootstrap.split(","), enable_idempotence=True, acks="all"
                )
            for letter in letters:
                self._waiting.append((letter, self._send_one(letter)))

    def flush(self) -> None:
        """Return once all letters handed over are stored."""
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        with broker_errors(self._bootstrap):
            self._producer.flush(timeout=_CONFIRM_S)
        failed = [letter for letter, future in waiting if not future.succeeded()]
        if failed:
            self._waiting = [(letter, self._send_one(letter)) for letter in failed]
            msg = f"{len(failed)} dead letters could not be stored at {self._bootstrap}; they are sent again."
            raise BrokerUnavailableError(msg)

    def close(self) -> None:
        """Let go of the connection."""
        if self._producer is not None:
            self._producer.close(timeout=_CONFIRM_S)

    def _send_one(self, letter: DeadLetter) -> Any:
        return self._producer.send(
            dead_letter_topic(letter.topic),
            key=letter.key,
            value=letter.value,
            headers=letter.to_headers(),
            timestamp_ms=max(letter.recorded_at_ms, 0),
        )
