"""The workload of the stream benchmarks: payments of users, their topic, and the right answers, computed apart.

Events are 180 ms apart and end about now; one in twenty comes up to a minute late. A record's timestamp is when its
event arrives. Keys are drawn uniformly or skewed (the n-th key is drawn in proportion to 1/n).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from confluent_kafka import Producer

from benchmarks.peers.protocol import NO_VALUE, WINDOWS
from headrace.config import Clock
from headrace.kafka import KafkaConnection
from headrace.kafka.topics import ensure_topics
from headrace.plan import Column, DType, Feature, Plan, Source, View, write_plan
from headrace.state import LocalState

__all__ = [
    "FUNCTIONS",
    "PARTITIONS",
    "STEP_MS",
    "VIEW",
    "Payments",
    "assert_features",
    "fill",
    "payments_plan",
    "send",
    "write_project",
]

PARTITIONS = 4
STEP_MS = 180
FUNCTIONS = ("count", "sum", "mean", "min", "max")
VIEW = "user_payments"

_LATE = 0.05
_LATE_MS = 60_000
_MERCHANTS = 200
_REPO = Path(__file__).parent / "payments"

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Payments:
    """Events in order of arrival.

    Attributes:
        events: How many.
        keys: Of how many users.
        skewed: Whether some users pay much more often.
        end_ms: When the last one arrives, in ms.
        seed: What the random numbers begin with.
        step_ms: How far they are apart, in ms.
    """

    events: int
    keys: int
    skewed: bool
    end_ms: int
    seed: int = 5
    step_ms: int = STEP_MS

    @cached_property
    def arrival_ms(self) -> Ints:
        """When each arrives."""
        return self.end_ms - self.step_ms * np.arange(self.events - 1, -1, -1, dtype=np.int64)

    @cached_property
    def ts_ms(self) -> Ints:
        """When each happened. The first and the last are on time."""
        random = np.random.default_rng(self.seed)
        late = np.where(random.random(self.events) < _LATE, random.integers(1, _LATE_MS, self.events), 0)
        late[[0, -1]] = 0
        return self.arrival_ms - late

    @cached_property
    def user(self) -> Ints:
        """Each one's user, by number."""
        random = np.random.default_rng(self.seed + 1)
        if not self.skewed:
            return random.integers(0, self.keys, self.events)
        share = 1 / np.arange(1, self.keys + 1)
        return random.choice(self.keys, self.events, p=share / share.sum()).astype(np.int64)

    @cached_property
    def amount(self) -> Floats:
        """Each one's amount, in hundredths."""
        return np.random.default_rng(self.seed + 2).integers(1, 100_000, self.events) / 100

    def values(self) -> Iterator[bytes]:
        """Each one's JSON."""
        merchant = np.random.default_rng(self.seed + 3).integers(0, _MERCHANTS, self.events).tolist()
        columns = zip(self.user.tolist(), self.amount.tolist(), merchant, self.ts_ms.tolist(), strict=True)
        for number, (user, amount, shop, ts) in enumerate(columns):
            yield (
                f'{{"event_id":"e{number:09}","user_id":"{user_id(user)}","amount":{amount},'
                f'"merchant":"m{shop:03}","ts":{ts}}}'
            ).encode()

    def sample(self, size: int) -> list[int]:
        """Users to compare: those of the first and the last events, and others at random."""
        random = np.random.default_rng(self.seed + 4)
        some = np.unique(np.append(self.user[random.integers(0, self.events, size)], self.user[[0, -1]]))
        return [int(user) for user in some]

    def features(self, user: int, now_ms: int, windows: Sequence[tuple[int, int]] = WINDOWS) -> list[float]:
        """What is right: one user's features at a time at which all events are known, straight from the events."""
        mine = self.user == user
        ts, amount = self.ts_ms[mine], self.amount[mine]
        found: list[float] = []
        for slide, length in windows:
            tile = ts // slide
            counted = amount[(tile > now_ms // slide - length) & (tile <= now_ms // slide)]
            n = len(counted)
            found += [float(n), float(counted.sum())]
            found += [float(counted.mean()), float(counted.min()), float(counted.max())] if n else [NO_VALUE] * 3
        return found


def user_id(user: int) -> str:
    """A user's id, which is its events' Kafka key too."""
    return f"u{user:07}"


def assert_features(
    side: str,
    payments: Payments,
    user: int,
    now_ms: int,
    found: Sequence[float | None],
    windows: Sequence[tuple[int, int]] = WINDOWS,
) -> None:
    """Refuse a side whose answer is not what is right.

    Args:
        side: The side, for the message.
        payments: The events.
        user: The user asked about.
        now_ms: The time that the side computed for.
        found: What it found, in the order of `Payments.features`.
        windows: The slide in ms, and how many slides long, of each window.

    Raises:
        AssertionError: It differs by more than 1e-9.
    """
    right = payments.features(user, now_ms, windows)
    got = [NO_VALUE if value is None else float(value) for value in found]
    same = np.allclose(got, right, rtol=1e-9, atol=0, equal_nan=True)
    assert same, f"{side}: the features of {user_id(user)} at {now_ms} are {got}, and {right} is right."


def fill(broker: str, topic: str, payments: Payments) -> None:
    """Make a topic and send the events.

    Args:
        broker: Kafka's ``host:port``.
        topic: The topic's name.
        payments: The events.
    """
    ensure_topics(KafkaConnection.of(broker), payments_plan(topic).sources.values(), PARTITIONS)
    send(broker, topic, payments)


def send(broker: str, topic: str, payments: Payments) -> None:
    """Send the events to a topic that exists.

    Args:
        broker: Kafka's ``host:port``.
        topic: The topic's name.
        payments: The events.
    """
    users = [user_id(user).encode() for user in payments.user.tolist()]
    sent = zip(users, payments.values(), payments.arrival_ms.tolist(), strict=True)
    producer = Producer({"bootstrap.servers": broker, "linger.ms": 20, "partitioner": "murmur2_random"})
    for number, (user, value, at) in enumerate(sent):
        while True:
            try:
                producer.produce(topic, value, key=user, timestamp=at)
                break
            except BufferError:
                producer.poll(0.05)
        if number % 10_000 == 0:
            producer.poll(0)
    assert producer.flush(60) == 0, "The broker has not taken all events."


def payments_plan(topic: str, windows: Sequence[tuple[int, int]] = WINDOWS) -> Plan:
    """The features as headrace declares them.

    Args:
        topic: The topic.
        windows: The slide in ms, and how many slides long, of each window.
    """
    columns = (
        Column(name="event_id", dtype=DType.STRING, nullable=False),
        Column(name="user_id", dtype=DType.STRING, nullable=False),
        Column(name="amount", dtype=DType.FLOAT64, nullable=False),
        Column(name="merchant", dtype=DType.STRING, nullable=False),
        Column(name="ts", dtype=DType.TIMESTAMP, nullable=False),
    )
    source = Source(
        name="payments", topic=topic, model="events:Payment", key="user_id", timestamp_field="ts", columns=columns
    )
    features = tuple(_feature(function, slide, length) for slide, length in windows for function in FUNCTIONS)
    view = View(
        name=VIEW, source="payments", entities=(columns[1],), features=features, input=source.input_of(features)
    )
    return Plan(project="payments", sources={"payments": source}, views={VIEW: view})


def _feature(function: str, slide_ms: int, length: int) -> Feature:
    return Feature(
        name=f"{function}_{slide_ms * length // 60_000}m",
        function=function,
        column="*" if function == "count" else "amount",
        window_us=slide_ms * length * 1000,
        slide_us=slide_ms * 1000,
        dtype=DType.INT64 if function == "count" else DType.FLOAT64,
    )


def write_project(folder: Path, plan: Plan, broker: str, *, clock: Clock = Clock.RECORD, **settings: Any) -> None:
    """Write a project: `headrace.toml` and the compiled plan. Its feature repo is `benchmarks/payments`.

    Args:
        folder: Its folder, which is made.
        plan: Its plan.
        broker: Kafka's ``host:port``.
        clock: Its clock.
        **settings: Other lines of `headrace.toml`.
    """
    lines = {"repo": str(_REPO), "clock": str(clock), "broker": broker, "partitions": PARTITIONS, **settings}
    folder.mkdir(parents=True)
    text = "".join(f"{name} = {json.dumps(value)}\n" for name, value in lines.items())
    (folder / "headrace.toml").write_text(f"[headrace]\n{text}", encoding="utf-8")
    write_plan(plan, LocalState(folder / ".headrace").file("plan.json"))
