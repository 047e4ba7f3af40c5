"""Random cases: a view, histories of its events and how they arrive, and the lookups to compare.

Times are drawn on a coarse grid with jitters of a microsecond, and lookups at what events and windows make of it, so
that ties and edges are the rule.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import AwareDatetime, BaseModel

from headrace.aggregates.registry import AGGREGATES
from headrace.plan import Column, DType, Source, Transform, View
from headrace.produce.partitioner import partition_of
from proofs import brute
from proofs.features import feature_of

__all__ = ["HISTORIES", "PARTITIONS", "Case", "Fact", "Lookup", "Send", "make_case", "moment"]

PARTITIONS = 3
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
COLUMNS = {
    "key": DType.STRING,
    "part": DType.INT64,
    "at": DType.TIMESTAMP,
    "n": DType.INT64,
    "x": DType.FLOAT64,
    "y": DType.FLOAT64,
    "flag": DType.BOOL,
    "name": DType.STRING,
    "seen": DType.TIMESTAMP,
    "ok": DType.BOOL,
    "id": DType.STRING,
}
HISTORIES = 2
"""How many histories a view is proven over: each has its own entities, delays and lookups. They share the topic."""
KEYS = [["a", "ü", "長い名前", ""], ["b", "u\u0308", "A", " "]]
PARTS = [[0, 1, -(2**57), 2**57], [-1, 2, 2**53, 2**53 + 1]]
NAMES = ["", "a", "A", "é", "e\u0301", "😀", "\x00", "\u2028\"'\\", "zz", "长"]
ODD = [0.0, -0.0, 1e300, -1e300, 5e-324, 1e15, -1e15, 0.1, float("nan"), float("inf"), float("-inf")]
UNITS = [10, 1_000, 1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000]
DAY = 86_400_000_000
PLAIN = ["count", "sum", "mean", "min", "max", "last"]
"""Functions that add up. A view that has only these, or none of these, is checked faster; most views are so."""
TAME = {"skew": ("y", "flag"), "decayed_sum": ("y", "n"), "decayed_mean": ("y", "n", "flag")}
TAME |= dict.fromkeys(["var_pop", "var_samp", "stddev_pop", "stddev_samp"], ("y", "n", "part", "flag"))
"""Columns for functions that large numbers take beyond what a double holds."""


class Fact(BaseModel):
    """An event of any case."""

    key: str | None
    part: int | None
    at: AwareDatetime
    n: int | None
    x: float | None
    y: float | None
    flag: bool | None
    name: str | None
    seen: AwareDatetime | None
    ok: bool | None
    id: str | None


@dataclass(frozen=True)
class Send:
    """One fetch.

    Attributes:
        rows: The events; bytes are malformed.
        known: When each is known, in µs; None where the bed is to take event times.
        partition: Where to; None is by key.
        events: Those that must be accepted, as the brute force has them.
    """

    rows: list[Any]
    known: list[int] | None
    partition: int | None
    events: list[brute.Event]


@dataclass(frozen=True)
class Lookup:
    """A lookup of one entity.

    Attributes:
        keys: Its join keys.
        t: The time, in µs.
    """

    keys: dict[str, Any]
    t: int


@dataclass
class Case:
    """A view over histories: each of them is counted as a case.

    Attributes:
        seed: What it was drawn from.
        source: The source, whose name, topic and view are the case's own.
        view: The view.
        meanings: What each feature means.
        sends: The fetches, in order.
        lookups: What is asked at the end.
    """

    seed: int
    source: Source
    view: View
    meanings: list[brute.Meaning]
    sends: list[Send]
    lookups: list[Lookup]


def moment(us: int) -> datetime:
    """A time in µs as a datetime."""
    return EPOCH + timedelta(microseconds=us)


def make_case(seed: int, number: int) -> Case:
    """Draw a case.

    Args:
        seed: What it is drawn from.
        number: Its number among those that share a test bed.
    """
    return _Drawing(seed, number).case()


class _Drawing:
    def __init__(self, seed: int, number: int) -> None:
        self.dice = random.Random(seed)
        self.seed = seed
        self.name = f"case{number}"
        self.unit = self.dice.choice(UNITS)
        self.start = self.dice.choice([1_709_596_800, 1_709_596_800, 0, -14_182_940]) * 1_000_000 - 3 * self.unit
        self.wild = self.dice.random() < 0.5
        self.family = self.dice.choice(["plain", "plain", "gathered", "gathered", "any"])
        self.dedup = self.unit * self.dice.randint(1, 9) if self.dice.random() < 0.2 else None
        self.counted: list[dict[str, int]] = [{} for _ in range(PARTITIONS)]
        self.clocks = [-(2**63)] * PARTITIONS
        self.max_future = self.dice.choice([0, 3_600_000_000, 40 * max(UNITS)])

    def case(self) -> Case:
        keys = self.dice.choice([["key"], ["key"], ["part"], ["key", "part"]])
        source = Source(
            name=self.name,
            topic=f"{self.name}-topic",
            model="proofs.cases:Fact",
            key="key",
            timestamp_field="at",
            columns=tuple(Column(name=name, dtype=dtype, nullable=name != "at") for name, dtype in COLUMNS.items()),
            max_future_us=self.max_future,
            **({} if self.dedup is None else {"event_id": "id", "dedup_us": self.dedup}),
        )
        transforms = self.transforms()
        seen = View(name=self.name, source=self.name, entities=(), features=(), transforms=transforms).sees(source)
        meanings = [self.meaning(number, seen) for number in range(self.dice.randint(2, 6))]
        features = tuple(feature_of(meaning, seen) for meaning in meanings)
        view = View(
            name=self.name,
            source=self.name,
            entities=tuple(Column(name=key, dtype=COLUMNS[key], nullable=False) for key in keys),
            features=features,
            transforms=transforms,
            input=source.input_of(features, transforms),
        )
        sends = self.sends()
        return Case(self.seed, source, view, meanings, sends, self.lookups(keys, meanings, sends))

    def transforms(self) -> tuple[Transform, ...]:
        if self.dice.random() < 0.95:
            return ()
        made = (Column(name="twice", dtype=DType.INT64), Column(name="loud", dtype=DType.BOOL))
        expressions = {"twice": "2 * (n % 1000)", "loud": "y > 0 AND ok"}
        return (Transform(kind="sql", columns=made, expressions=expressions),)

    def meaning(self, number: int, source: Source) -> brute.Meaning:
        while True:
            drawn = self.any_meaning(number, source)
            is_plain = drawn.function in PLAIN and drawn.where is None and not drawn.offset
            if self.family == "any" or (self.family == "plain") == is_plain:
                return drawn

    def any_meaning(self, number: int, source: Source) -> brute.Meaning:
        dice = self.dice
        functions = [name for name in AGGREGATES if name in brute.AGGREGATES]
        if self.family == "plain":
            functions = PLAIN
        function = dice.choice(functions)
        kind = AGGREGATES[function]
        columns = [one.name for one in source.columns if one.dtype in kind.accepts]
        columns = [name for name in TAME.get(function, columns) if name in columns] + ["*"] * kind.takes_all
        if function == "count":
            columns += ["*"] * 5
        window, slide = self.window()
        while kind.needs_window and window is None:
            window, slide = self.window()
        return brute.Meaning(
            name=f"f{number}_{function}",
            function=function,
            column=dice.choice(columns),
            window=window,
            slide=slide,
            params=kind.parameters(self.params(function)),
            where=dice.choice([one.name for one in source.columns if one.dtype is DType.BOOL])
            if dice.random() < 0.25
            else None,
            offset=0 if slide is None or dice.random() < 0.75 else slide * dice.randint(1, 6),
        )

    def window(self) -> tuple[int | None, int | None]:
        kind = self.dice.choice(["sliding", "sliding", "sliding", "tumbling", "exact", "lifetime"])
        if kind == "lifetime":
            return None, None
        if kind == "exact":
            return self.unit * self.dice.randint(1, 8) + self.dice.choice([0, 0, 1, -1]), 1
        slide = self.dice.choice([self.unit, self.unit, self.unit // 2, 3 * self.unit, self.unit // 10])
        return slide * (1 if kind == "tumbling" else self.dice.randint(1, 12)), slide

    def params(self, function: str) -> tuple[int | float, ...]:
        dice = self.dice
        # Half of the bounds are so low that they are passed.
        bound = (dice.randint(1, 8),) if dice.random() < 0.5 else ()
        if function == "percentile":
            return (dice.choice([0.0, 0.1, 0.5, 0.9, 1.0, dice.random()]), *bound)
        if function == "top_k":
            return (dice.randint(1, 5), *bound)
        if function in ("median", "value_counts", "count_distinct"):
            return bound
        if function in ("first_n", "last_n", "distinct_n"):
            return (dice.randint(1, 5),)
        if function == "histogram":
            return tuple(sorted(dice.sample([-1000, -1, 0, 0.5, 1, 2, 10, 1e15], dice.randint(1, 5))))
        if function.startswith("decayed"):
            return (self.unit * dice.choice([0.5, 1, 3, 10]) / 1e6,)
        return ()

    def sends(self) -> list[Send]:
        """The fetches of all histories, among one another."""
        dice = self.dice
        offsets = [0] * PARTITIONS
        left = [dice.choice([0, 1, 5, 20, 40]) for _ in range(HISTORIES)]
        orderly, clocks = [dice.random() < 0.6 for _ in left], [self.start] * HISTORIES
        sends: list[Send] = []
        while any(left):
            one = dice.choice([number for number, count in enumerate(left) if count])
            count = min(left[one], dice.choice([1, 2, 5, 12]))
            left[one] -= count
            rows = [self.row(one) for _ in range(count)]
            if dice.random() < 0.2:  # the producer sent some again: other events with the same content
                rows += dice.sample(rows, 1)
            known: list[int] | None = [_ts(row) + self.delay() for row in rows]
            if orderly[one] and known is not None:
                clocks[one] = max([clocks[one], *known])
                known = [clocks[one]] * len(rows)
            elif dice.random() < 0.2:
                known = None
            partition = dice.choice([None, *range(PARTITIONS)])
            sends.append(self.send(rows, known, partition, offsets))
        return sends

    def send(self, rows: list[Any], known: list[int] | None, partition: int | None, offsets: list[int]) -> Send:
        moments = [_ts(row) for row in rows] if known is None else known
        events: list[brute.Event] = []
        spoilt = self.dice.randrange(len(rows)) if self.dice.random() < 0.05 else -1
        for number, (row, known_us) in enumerate(zip(rows, moments, strict=True)):
            key = row["key"]
            at = partition
            if at is None:
                at = self.turn(offsets) if key is None else partition_of(key.encode(), PARTITIONS)
            offset = offsets[at]
            offsets[at] += 1
            record_us = -(-known_us // 1000) * 1000  # Kafka's timestamps are milliseconds
            holds = number != spoilt and _ts(row) <= record_us + self.max_future
            if holds and not self.is_repeated(row["id"], at, record_us):
                events.append(brute.Event(_ts(row), known_us, at, offset, {**row, **_derived(row)}))
        if spoilt >= 0:
            rows[spoilt] = {**rows[spoilt], "n": "not a number"}
        return Send(rows, known, partition, events)

    def is_repeated(self, event_id: str | None, partition: int, record_us: int) -> bool:
        """Whether an event does not count, because the horizon reaches an earlier one with its id in the partition."""
        if self.dedup is None:
            return False
        now = max(self.clocks[partition], record_us)
        before = None if event_id is None else self.counted[partition].get(event_id)
        if before is not None and now - before <= self.dedup:
            return True
        self.clocks[partition] = now
        if event_id is not None:
            self.counted[partition][event_id] = now
        return False

    def turn(self, offsets: list[int]) -> int:
        self.turns = getattr(self, "turns", -1) + 1
        return self.turns % len(offsets)

    def row(self, history: int) -> dict[str, Any]:
        dice = self.dice
        ts = self.start + self.unit * dice.randint(0, 14) + self.jitter()
        whole = dice.randint(-5, 5) if not self.wild else dice.choice([0, 1, -1, 7, 10**15, -(10**15), 10**15 - 3])
        row = {
            "key": dice.choice(KEYS[history]),
            "part": dice.choice(PARTS[history]),
            "at": moment(ts),
            "n": whole,
            "x": dice.choice(ODD) if self.wild else dice.randint(-40, 40) / 8,
            "y": dice.choice([dice.randint(-40, 40) / 8, dice.gauss(0, 100)])
            if dice.random() < 0.98
            else dice.choice(ODD[-3:]),
            "flag": dice.random() < 0.5,
            "name": dice.choice(NAMES),
            "seen": moment(dice.choice([0, -1, ts, ts - 5, 253_402_300_799_999_999, -62_135_596_800_000_000])),
            "ok": dice.random() < 0.6,
            "id": dice.choice("abcdefgh"),
        }
        for name in row:
            if name != "at" and dice.random() < 0.1:
                row[name] = None
        return row

    def jitter(self) -> int:
        return self.dice.choice([0, 0, 0, 1, -1, self.dice.randrange(self.unit)])

    def delay(self) -> int:
        early = -self.dice.randint(0, 2 * self.unit)
        return self.dice.choice([0, 0, 0, 1, self.unit, self.dice.randint(0, 10 * self.unit), 3 * DAY, early])

    def lookups(self, keys: Sequence[str], meanings: Sequence[brute.Meaning], sends: Sequence[Send]) -> list[Lookup]:
        dice = self.dice
        events = [event for send in sends for event in send.events]
        edges = [0, 0, -1, 1]
        for meaning in meanings:
            if meaning.window is not None and meaning.slide is not None:
                edges += [meaning.window, meaning.window - 1, meaning.slide, meaning.window + meaning.offset]
        found: list[Lookup] = []
        for _ in range(5 * HISTORIES):
            t = self.start + dice.randint(-self.unit, 30 * self.unit)
            if events and dice.random() < 0.85:
                event = dice.choice(events)
                t = dice.choice([event.ts, event.known]) + dice.choice(edges)
            for _ in range(dice.choice([1, 3])):
                values = (
                    dict(dice.choice(events).values)
                    if events and dice.random() < 0.9
                    else self.row(dice.randrange(HISTORIES))
                )
                asked = {key: values[key] for key in keys}
                if None not in asked.values():
                    found.append(Lookup(asked, t))
        return found


def _ts(row: dict[str, Any]) -> int:
    at: datetime = row["at"]
    return (at - EPOCH) // timedelta(microseconds=1)


def _derived(row: dict[str, Any]) -> dict[str, Any]:
    """What the transforms make of a row, in SQL's logic of three values."""
    n, y, ok = row["n"], row["y"], row["ok"]
    twice = None if n is None else 2 * (abs(n) % 1000) * (1 if n >= 0 else -1)
    positive = None if y is None else y > 0 or y != y  # DuckDB's NaN is greater than all numbers
    loud = False if positive is False or ok is False else None if positive is None or ok is None else True
    return {"twice": twice, "loud": loud}
