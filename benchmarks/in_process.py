"""The worker's pipeline in this process, fed from memory: decode, validate, apply, write LMDB. No Kafka, no log."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmarks.payments.events import Payment
from benchmarks.peers.protocol import WINDOWS
from benchmarks.workload import PARTITIONS, VIEW, Payments, payments_plan, user_id
from headrace import FeatureClient
from headrace.config import Clock
from headrace.events.dead_letter import DeadLetter
from headrace.events.decode import EventDecoder
from headrace.events.raw_records import RawRecords
from headrace.events.source_partition import SourcePartition
from headrace.kafka.fetch_reader import Read
from headrace.plan import Plan
from headrace.stores import CatalogueChange, OnlineStore, open_store
from headrace.worker.pipeline import Pipeline
from headrace.worker.rounds import Round

__all__ = ["Local", "Record", "local", "rounds_of"]

_TOPIC = "payments"


class Record(NamedTuple):
    """A Kafka record."""

    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None


class _NoLetters:
    """Where no dead letters go: the events here are good."""

    def send(self, letters: Sequence[DeadLetter]) -> None:
        """Refuse."""
        assert not letters, f"an event was refused: {letters[0].reason}"

    def flush(self) -> None:
        """There are none."""


class Local:
    """A pipeline over a store.

    Args:
        plan: The plan.
        store: The store.
    """

    def __init__(self, plan: Plan, store: OnlineStore) -> None:
        self.plan = plan
        self.store = store
        store.change(CatalogueChange().clock(Clock.RECORD).serve(plan.views.values()))
        source = plan.sources["payments"]
        decoders = {source.topic: EventDecoder(source, Payment)}
        self._pipeline = Pipeline(plan, decoders, store, {}, Clock.RECORD, _NoLetters())

    def feed(self, rounds: Sequence[Round]) -> float:
        """Apply rounds.

        Args:
            rounds: As `rounds_of` makes them.

        Returns:
            How long it took, in seconds.
        """
        begun = time.perf_counter()
        for round_ in rounds:
            self._pipeline.process(round_)
        return time.perf_counter() - begun

    def features(self, users: Sequence[int]) -> tuple[int, list[list[float | None]]]:
        """Users' features at the newest record's time.

        Args:
            users: The users.

        Returns:
            The time in ms, and each user's values in the order of the plan.
        """
        client = FeatureClient(plan=self.plan, store=self.store)
        served = client.get_online_features([f"{VIEW}:*"], {"user_id": [user_id(user) for user in users]})
        columns = [values for name, values in served.to_dict().items() if name.startswith(f"{VIEW}__")]
        return served.at_us // 1000, [[column[row] for column in columns] for row in range(len(users))]


@contextmanager
def local(folder: Path, windows: Sequence[tuple[int, int]] = WINDOWS) -> Iterator[Local]:
    """A pipeline over an LMDB store of its own.

    Args:
        folder: Where the store goes.
        windows: The slide in ms, and how many slides long, of each window.
    """
    with open_store(f"lmdb:{folder}", writable=True) as store:
        yield Local(payments_plan(_TOPIC, windows), store)


def rounds_of(payments: Payments, size: int = 5_000, partitions: int = PARTITIONS) -> list[Round]:
    """The events as a worker's rounds.

    Args:
        payments: The events.
        size: How many are in a round.
        partitions: Over how many partitions they are spread, by user.
    """
    rounds: list[Round] = []
    offsets = [0] * partitions
    records = zip(payments.user.tolist(), payments.arrival_ms.tolist(), payments.values(), strict=True)
    gathered: list[list[Record]] = [[] for _ in range(partitions)]
    for number, (user, arrival, value) in enumerate(records, 1):
        at = user % partitions
        gathered[at].append(Record(at, offsets[at], arrival, user_id(user).encode(), value))
        offsets[at] += 1
        if number % size == 0 or number == payments.events:
            rounds.append(_round(gathered))
            gathered = [[] for _ in range(partitions)]
    return rounds


def _round(gathered: list[list[Record]]) -> Round:
    return Round(
        {
            SourcePartition(_TOPIC, number): Read(RawRecords.of(records), records[-1].offset + 1)
            for number, records in enumerate(gathered)
            if records
        }
    )
