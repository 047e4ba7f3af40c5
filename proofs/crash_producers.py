"""Producers that run while workers are killed: late, repeated and out-of-order payments, and some that are none.

An hour passes in a minute: record timestamps run sixty times as fast as the clock on the wall.
"""

from __future__ import annotations

import json
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from headrace.kafka.clients import KafkaProducer
from headrace.produce.partitioner import partition_of
from proofs.crash_project import PARTITIONS, TOPIC

__all__ = ["Producers"]

START_MS = 1_714_564_800_000
_SPEED = 60
_TICK_S = 0.02
_CARDS = [f"card-{number:02}" for number in range(24)]
_SHOPS = ["corner", "Süd", "長い店", "kiosk", "web", "market"]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Producers:
    """Two producers, each a thread with a client, cards and dice of its own.

    Args:
        bootstrap: The broker.
        seed: What the payments are drawn from.
        rate: Events per second, of both together.

    Attributes:
        ledger: By partition and offset, the value that was sent there, as the broker confirmed it.
    """

    def __init__(self, bootstrap: str, seed: int, rate: float) -> None:
        self.ledger: dict[tuple[int, int], bytes] = {}
        self._lock = threading.Lock()
        self._failures: list[BaseException] = []
        self._began = time.monotonic()
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(bootstrap, f"{seed}-{number}", number, rate / 2), daemon=True)
            for number in range(2)
        ]

    def start(self) -> None:
        """Begin to produce."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End, once all is confirmed; raises what a producer failed with."""
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        if self._failures:
            raise self._failures[0]

    def _now_ms(self) -> int:
        return START_MS + int((time.monotonic() - self._began) * 1000 * _SPEED)

    def _run(self, bootstrap: str, seed: str, number: int, rate: float) -> None:
        try:
            self._produce(bootstrap, _Payments(random.Random(seed), number), rate)  # noqa: S311 a draw, not a secret
        except BaseException as error:
            self._failures.append(error)
            raise

    def _produce(self, bootstrap: str, payments: _Payments, rate: float) -> None:
        producer: Any = KafkaProducer(bootstrap_servers=bootstrap, enable_idempotence=True, acks="all", linger_ms=5)
        waiting: list[tuple[Any, bytes]] = []
        sent, begun = 0, time.monotonic()
        while not self._stop.wait(_TICK_S):
            while sent < (time.monotonic() - begun) * rate:
                now_ms = self._now_ms()
                card, value = payments.draw(now_ms)
                partition = partition_of(card.encode(), PARTITIONS)
                future = producer.send(TOPIC, value, key=card.encode(), partition=partition, timestamp_ms=now_ms)
                waiting.append((future, value))
                sent += 1
            waiting = self._note(waiting)
        producer.flush(timeout=30)
        for future, _ in waiting:
            future.get(timeout=30)
        self._note(waiting)
        producer.close()

    def _note(self, waiting: list[tuple[Any, bytes]]) -> list[tuple[Any, bytes]]:
        """Write down what has been confirmed, and give what has not."""
        left: list[tuple[Any, bytes]] = []
        for future, value in waiting:
            if future.is_done:
                at = future.get(timeout=0)
                with self._lock:
                    self.ledger[at.partition, at.offset] = value
            else:
                left.append((future, value))
        return left


class _Payments:
    """Draws payments of one producer's cards."""

    def __init__(self, dice: random.Random, number: int) -> None:
        self._dice = dice
        self._number = number
        self._drawn = 0
        self._recent: list[tuple[str, bytes]] = []

    def draw(self, now_ms: int) -> tuple[str, bytes]:
        """A card and the value to send: new as a rule, the same again in one case of ten."""
        if self._recent and self._dice.random() < 0.1:
            return self._dice.choice(self._recent)
        self._drawn += 1
        card = self._dice.choice(_CARDS[self._number :: 2])
        value = self._value(card, self._occurred_ms(now_ms))
        self._recent = [*self._recent[-200:], (card, value)]
        return card, value

    def _occurred_ms(self, now_ms: int) -> int:
        """When it happened: mostly a few seconds ago, some hours late, some ahead of its record."""
        lag_s = self._dice.choice([0, 1, 5, 20, self._dice.randint(0, 600)])
        if self._dice.random() < 0.1:
            lag_s = self._dice.randint(600, 3 * 3600)
        if self._dice.random() < 0.05:
            lag_s = -self._dice.randint(1, 1800)
        return now_ms - lag_s * 1000

    def _value(self, card: str, occurred_ms: int) -> bytes:
        dice = self._dice
        if dice.random() < 0.01:
            return dice.choice([b"{", b"", b'{"card": "' + card.encode() + b'"}'])
        payment: dict[str, Any] = {
            "id": f"{self._number}-{self._drawn}",
            "card": card,
            "shop": dice.choice(_SHOPS),
            "paid_at": (_EPOCH + timedelta(milliseconds=occurred_ms)).isoformat(),
            "amount": None if dice.random() < 0.05 else dice.randint(-400, 4000) / 4,
            "items": dice.randint(1, 9),
        }
        if dice.random() < 0.01:
            payment["paid_at"] = (_EPOCH + timedelta(milliseconds=occurred_ms, days=30)).isoformat()
        if dice.random() < 0.01:
            payment["items"] = "many"
        return json.dumps(payment, ensure_ascii=False).encode()
