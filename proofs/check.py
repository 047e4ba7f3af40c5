"""Running cases on a test bed, and comparing every value with the brute force."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from headrace.plan import Plan
from headrace.testing import Testbed
from headrace.times import us_of
from proofs import brute
from proofs.cases import HISTORIES, PARTITIONS, Case, Fact, Lookup, Send, make_case, moment
from proofs.quick import QuickBed

__all__ = ["CASES", "Tally", "check_block", "check_cases", "same"]

_VIEWS = 8
CASES = _VIEWS * HISTORIES
"""How many cases share a test bed, whose crashes and replays hit all of them."""

_ROUNDED = {
    *("sum", "mean", "var_pop", "var_samp", "stddev_pop", "stddev_samp", "skew", "percentile", "median", "rate"),
    *("time_since_last", "time_since_first", "decayed_sum", "decayed_count", "decayed_mean"),
}
"""Functions whose doubles may differ by 1e-9; all else is exact."""


@dataclass
class Tally:
    """What was compared.

    Attributes:
        cases: How many cases.
        values: How many values, by aggregate.
        events: How many events were sent.
        sends: In how many fetches.
        restarts: How many workers were killed.
        replays: How many replays there were.
        mismatches: What differed, in words.
    """

    cases: int = 0
    values: Counter[str] = field(default_factory=Counter)
    events: int = 0
    sends: int = 0
    restarts: int = 0
    replays: int = 0
    mismatches: list[str] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in another's."""
        self.cases += other.cases
        self.values += other.values
        self.events += other.events
        self.sends += other.sends
        self.restarts += other.restarts
        self.replays += other.replays
        self.mismatches += other.mismatches


def check_block(seed: int, views: int = _VIEWS) -> Tally:
    """Draw cases and check them together.

    Args:
        seed: What they are drawn from.
        views: How many views, each over `HISTORIES` histories.
    """
    dice = random.Random(seed)
    drawn = [make_case(dice.randrange(2**62), number) for number in range(views)]
    return check_cases(drawn, dice, f"block {seed}")


def check_cases(cases: Sequence[Case], dice: random.Random, name: str) -> Tally:
    """Send the events of cases in turns, with crashes, replays and lookups between, and compare.

    Args:
        cases: The cases.
        dice: What decides when something happens.
        name: What the mismatches are said to be of.
    """
    tally = Tally(cases=len(cases) * HISTORIES)
    plan = Plan(
        project="proof",
        sources={case.source.name: case.source for case in cases},
        views={case.view.name: case.view for case in cases},
    )
    models = {case.source.name: Fact for case in cases}
    kind = Testbed if dice.random() < 0.15 else QuickBed
    with kind(plan, PARTITIONS, models=models, store="lmdb" if dice.random() < 0.1 else "memory") as bed:
        checks = [_Check(case, bed, tally, name) for case in cases]
        waiting = [check for check in checks for _ in check.case.sends]
        dice.shuffle(waiting)
        for check in waiting:
            check.send()
            if dice.random() < 0.15:
                check.online(dice.sample(check.case.lookups, min(2, len(check.case.lookups))))
            if dice.random() < 0.03:
                bed.restart()
                tally.restarts += 1
            if dice.random() < 0.02:
                bed.replay(dice.randrange(8))
                tally.replays += 1
        _check_at_end(bed, checks, dice)
    return tally


class _Check:
    """One case on its way."""

    def __init__(self, case: Case, bed: Testbed, tally: Tally, block: str) -> None:
        self.case = case
        self.bed = bed
        self.tally = tally
        self.block = block
        self.names = [f"{case.view.name}:{meaning.name}" for meaning in case.meanings]
        self.sent: list[Send] = []

    def send(self) -> None:
        send = self.case.sends[len(self.sent)]
        known = None if send.known is None else [moment(us) for us in send.known]
        self.bed.send(self.case.source.name, send.rows, known_at=known, partition=send.partition)
        self.sent.append(send)
        self.tally.sends += 1
        self.tally.events += len(send.rows)

    def online(self, lookups: Sequence[Lookup]) -> list[dict[str, Any]]:
        """Look up and compare; the values, in the order of the lookups."""
        rows: dict[int, dict[str, Any]] = {}
        for t in {lookup.t: None for lookup in lookups}:
            mine = [number for number, lookup in enumerate(lookups) if lookup.t == t]
            answer = self.bed.online(self.names, [lookups[number].keys for number in mine], at=moment(t))
            rows.update(zip(mine, answer.to_pylist(), strict=True))
        found = [rows[number] for number in range(len(lookups))]
        self.compare("online", lookups, found, as_of_event=False)
        return found

    def compare(
        self, what: str, lookups: Sequence[Lookup], rows: Sequence[dict[str, Any]], *, as_of_event: bool
    ) -> None:
        for lookup, row in zip(lookups, rows, strict=True):
            events = self.events(lookup)
            for meaning in self.case.meanings:
                want = brute.expected(meaning, events, lookup.t, as_of_event=as_of_event)
                found = row[f"{self.case.view.name}__{meaning.name}"]
                self.tally.values[meaning.function] += 1
                if not same(meaning.function, found, want):
                    self.wrong(what, meaning, lookup, found, want)

    def rows(self, what: str, found: pa.Table, wanted: set[tuple[int, tuple[Any, ...]]], as_of: str) -> None:
        """Compare the rows of a history without a spine, and every value in them."""
        keys = self.case.view.join_keys
        rows = found.to_pylist()
        got = [(us_of(row["event_timestamp"]), tuple(row[key] for key in keys)) for row in rows]
        if got != sorted(wanted):
            self.tally.mismatches.append(f"{self.block}, {self.case.view.name}: {what} has {got}, not {sorted(wanted)}")
            return
        lookups = [Lookup(dict(zip(keys, entity, strict=True)), t) for t, entity in got]
        self.compare(what, lookups, rows, as_of_event=as_of == "event")

    def events(self, lookup: Lookup) -> list[brute.Event]:
        mine = [
            event
            for send in self.sent
            for event in send.events
            if all(event.values[key] == value for key, value in lookup.keys.items())
        ]
        return sorted(mine, key=lambda event: event[:1] + event[2:4])

    def wrong(self, what: str, meaning: brute.Meaning, lookup: Lookup, found: Any, want: brute.Want) -> None:
        self.tally.mismatches.append(
            f"{self.block}, {self.case.view.name} (seed {self.case.seed}): {what} of {meaning} for {lookup.keys} "
            f"at {lookup.t} "
            f"is {found!r}, and must be {want.value!r} (within {want.slack:g})"
        )


def _check_at_end(bed: Testbed, checks: Sequence[_Check], dice: random.Random) -> None:
    """Every lookup online and from the log, as known and as of the event; and history without a spine."""
    served = [check.online(check.case.lookups) for check in checks]
    ways: tuple[Literal["known", "event"], ...] = ("known", "event")
    for as_of in ways:
        recomputed = _history(bed, checks, as_of)
        for check, rows, online in zip(checks, recomputed, served, strict=True):
            check.compare(f"history as of {as_of}", check.case.lookups, rows, as_of_event=as_of == "event")
            if as_of == "known":
                _compare_sides(check, online, rows)
        for check in checks:
            if check.case.lookups and dice.random() < 0.25:
                _without_a_spine(bed, check, as_of, dice)


def _compare_sides(check: _Check, online: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> None:
    for lookup, one, other in zip(check.case.lookups, online, rows, strict=True):
        events = check.events(lookup)
        for meaning in check.case.meanings:
            name = f"{check.case.view.name}__{meaning.name}"
            slack = brute.expected(meaning, events, lookup.t, as_of_event=False).slack
            if not same(meaning.function, one[name], brute.Want(other[name], slack)):
                check.wrong("online beside history", meaning, lookup, one[name], brute.Want(other[name], slack))


def _without_a_spine(bed: Testbed, check: _Check, as_of: Literal["known", "event"], dice: random.Random) -> None:
    """All entities at one time, and each at the times of its events: the rows and every value."""
    keys = check.case.view.join_keys
    entities = [(tuple(one.values[key] for key in keys), one) for send in check.sent for one in send.events]
    whole = [(entity, one) for entity, one in entities if None not in entity]
    t = dice.choice(check.case.lookups).t
    known = {(t, entity) for entity, one in whole if (one.ts if as_of == "event" else one.known) <= t}
    check.rows(
        f"history as of {as_of} of all at {t}", bed.history(check.names, as_of=as_of, at=moment(t)), known, as_of
    )
    start, end = sorted([t, dice.choice(check.case.lookups).t])
    inside = {(one.ts, entity) for entity, one in whole if start <= one.ts <= end}
    between = bed.history(check.names, as_of=as_of, start=moment(start), end=moment(end + 1))
    check.rows(f"history as of {as_of} from {start} to {end}", between, inside, as_of)


def _history(bed: Testbed, checks: Sequence[_Check], as_of: Any) -> list[list[dict[str, Any]]]:
    asked = [(check, lookup) for check in checks for lookup in check.case.lookups]
    spine = pa.table(
        {
            "key": pa.array([lookup.keys.get("key", "a") for _, lookup in asked], pa.string()),
            "part": pa.array([lookup.keys.get("part", 0) for _, lookup in asked], pa.int64()),
            "event_timestamp": pa.array([lookup.t for _, lookup in asked], pa.timestamp("us", "UTC")),
        }
    )
    rows = bed.history([name for check in checks for name in check.names], spine, as_of=as_of).to_pylist()
    return [[row for (owner, _), row in zip(asked, rows, strict=True) if owner is check] for check in checks]


def same(function: str, found: Any, want: brute.Want) -> bool:
    """Whether a value is the one that it must be.

    Args:
        function: The aggregate.
        found: The value.
        want: What it must be.
    """
    if isinstance(want.value, list):
        return (
            isinstance(found, list)
            and len(found) == len(want.value)
            and all(_equal(one, other) for one, other in zip(found, want.value, strict=True))
        )
    if _equal(found, want.value):
        return True
    if function not in _ROUNDED or not _is_number(found) or not _is_number(want.value):
        return False
    if isinstance(found, int):
        return bool(found == want.value)
    if not (math.isfinite(found) and math.isfinite(want.value)):
        return False
    return bool(abs(found - want.value) <= max(1e-9 * abs(want.value), want.slack))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _equal(found: Any, want: Any) -> bool:
    if isinstance(want, float):
        return isinstance(found, float) and (found == want or (math.isnan(found) and math.isnan(want)))
    return type(found) is type(want) and bool(found == want)
