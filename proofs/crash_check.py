"""After the crashes: what the topic has decides what both stores must have; every feature must equal brute force.

What is an event, a repeated one or a dead letter is decided here again, from the records as a plain consumer reads them
back.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
from deltalake import DeltaTable

from headrace.config import Project
from headrace.kafka import KafkaConnection, end_offsets
from headrace.kafka.committed_records import read_records
from headrace.lookup import FeatureClient
from headrace.training import TrainingClient
from proofs.brute import Event, Meaning, expected
from proofs.cases import moment
from proofs.check import same
from proofs.crash_project import DEDUP_US, TOPIC, meanings_of, plan_of

__all__ = ["Findings", "Truth", "check_all", "check_log", "payment_of", "truth_of"]

MINUTE = 60_000_000
_HOUR = timedelta(hours=1)
_SPINE_TIMES = 10
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass
class Findings:
    """What the checks found.

    Attributes:
        compared: How many values were compared with the brute force.
        logged: How many events the log must hold, and was searched for.
        dead_letters: How many dead letters there must be.
        repeated_letters: How many dead letters were written again, which a crash may do.
        mismatches: What differs, in words.
    """

    compared: int = 0
    logged: int = 0
    dead_letters: int = 0
    repeated_letters: int = 0
    mismatches: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Truth:
    """What a topic holds.

    Attributes:
        ends: By partition, the offset that the next record gets.
        accepted: The events that count, by partition and offset.
        dead: The positions of dead letters.
        values: Every record's value, by partition and offset.
        newest_us: The newest record's timestamp, in µs.
    """

    ends: dict[int, int]
    accepted: dict[tuple[int, int], Event]
    dead: set[tuple[int, int]]
    values: dict[tuple[int, int], bytes]
    newest_us: int

    def by_entity(self, key: str) -> dict[str, list[Event]]:
        """The events of each entity, in the order of (ts, partition, offset)."""
        found: dict[str, list[Event]] = defaultdict(list)
        for event in sorted(self.accepted.values(), key=lambda event: (event.ts, event.partition, event.offset)):
            found[event.values[key]].append(event)
        return dict(found)


def truth_of(bootstrap: str) -> Truth:
    """Read the topic and decide what each record is.

    Args:
        bootstrap: The broker.
    """
    ends = {partition: end for (_, partition), end in end_offsets(KafkaConnection.of(bootstrap), [TOPIC]).items()}
    records: dict[int, list[Any]] = defaultdict(list)
    for record in read_records(
        KafkaConnection.of(bootstrap), {(TOPIC, partition): (0, end) for partition, end in ends.items()}
    ):
        records[record.partition].append(record)
    accepted: dict[tuple[int, int], Event] = {}
    dead: set[tuple[int, int]] = set()
    for partition, found in records.items():
        clock = -(2**63)
        counted: dict[str, int] = {}
        for record in found:
            known_us = record.timestamp * 1000
            payment = payment_of(record.value, known_us)
            if payment is None:
                dead.add((partition, record.offset))
                continue
            now = max(clock, known_us)
            before = counted.get(payment["id"])
            if before is not None and now - before <= DEDUP_US:
                continue
            clock = counted[payment["id"]] = now
            ts_us = (datetime.fromisoformat(payment["paid_at"]) - _EPOCH) // timedelta(microseconds=1)
            accepted[partition, record.offset] = Event(ts_us, known_us, partition, record.offset, payment)
    values = {(record.partition, record.offset): record.value for found in records.values() for record in found}
    newest_us = max((record.timestamp * 1000 for found in records.values() for record in found), default=0)
    return Truth(ends, accepted, dead, values, newest_us)


def payment_of(value: bytes, known_us: int) -> dict[str, Any] | None:
    """The payment that a record's value is; None where it is none, or is dated further ahead than may be."""
    try:
        payment: dict[str, Any] = json.loads(value)
        at = datetime.fromisoformat(payment["paid_at"])
    except (ValueError, KeyError):
        return None
    if type(payment["items"]) is not int or at - _HOUR > moment(known_us):
        return None
    return payment


def check_all(
    root: Path,
    truth: Truth,
    ledger: Mapping[tuple[int, int], bytes],
    letters: Sequence[tuple[int, int]],
    seed: int,
    longer: int = 1,
) -> Findings:
    """Compare everything that the stores hold with what the topic holds.

    Args:
        root: The project's folder.
        truth: What the topic holds.
        ledger: What the producers sent, as the broker confirmed it.
        letters: The positions of all dead letters found, repeated ones included.
        seed: What the times of lookups are drawn from.
        longer: Which version of the views must be served; see `crash_project.meanings_of`.
    """
    findings = Findings(logged=len(truth.accepted), dead_letters=len(truth.dead))
    wrong = findings.mismatches
    if ledger != truth.values:
        wrong.append(f"The topic holds {len(truth.values)} records, and the producers sent {len(ledger)} others.")
    wrong += check_log(root, truth)
    found = Counter(letters)
    findings.repeated_letters = len(letters) - len(found)
    wrong += [f"The dead letter of {at} is missing." for at in sorted(truth.dead - set(found))]
    wrong += [f"There is a dead letter of {at}, which is an event." for at in sorted(set(found) - truth.dead)]
    project = Project.load(root)
    _check_online(project, truth, longer, findings)
    _check_history(project, truth, longer, findings, random.Random(seed))  # noqa: S311 a draw, not a secret
    return findings


def check_log(root: Path, truth: Truth) -> list[str]:
    """Each event that counts is in the log once, with its values; nothing else is."""
    columns = ["_partition", "_offset", "_ts_us", "_known_at_us", "id", "amount"]
    rows = DeltaTable(root / ".headrace" / "log" / TOPIC).to_pyarrow_table(columns=columns).to_pylist()
    times = Counter((row["_partition"], row["_offset"]) for row in rows)
    wrong = [f"The log holds the event at {at} {count} times." for at, count in times.items() if count > 1]
    wrong += [f"The log lacks the event at {at}." for at in truth.accepted if at not in times]
    wrong += [f"The log holds {at}, which is no event that counts." for at in times if at not in truth.accepted]
    for row in rows:
        event = truth.accepted.get((row["_partition"], row["_offset"]))
        if event is not None:
            must = (event.ts, event.known, event.values["id"], event.values["amount"])
            if (row["_ts_us"], row["_known_at_us"], row["id"], row["amount"]) != must:
                wrong.append(f"The log's row {row} must hold {must}.")
    return wrong


def _check_online(project: Project, truth: Truth, longer: int, findings: Findings) -> None:
    with FeatureClient(project) as client:
        if client.plan.views != plan_of(longer).views:
            findings.mismatches.append("Other versions of the views are served than were asked for last.")
            return
        reached = {at.partition: position.offset + 1 for at, position in client.positions().items()}
        for partition, end in truth.ends.items():
            if reached.get(partition, 0) != end:
                findings.mismatches.append(f"Partition {partition} is applied to {reached.get(partition)}, not {end}.")
        for view, meanings in meanings_of(longer).items():
            events = truth.by_entity(view)
            for t in (truth.newest_us + minutes * MINUTE for minutes in (0, 1, 7, 31, 90, 200)):
                answer = client.get_online_features([f"{view}:*"], [{view: entity} for entity in events], at=moment(t))
                rows = [{view: keys, "t": t} for keys in events]
                _compare("online", view, meanings, rows, answer.to_dict(), events, findings, as_of_event=False)


def _check_history(project: Project, truth: Truth, longer: int, findings: Findings, dice: random.Random) -> None:
    training = TrainingClient(project)
    first = min(event.known for event in truth.accepted.values())
    for view, meanings in meanings_of(longer).items():
        events = truth.by_entity(view)
        rows = [
            {view: entity, "t": dice.randint(first, truth.newest_us + 60 * MINUTE)}
            for entity in events
            for _ in range(_SPINE_TIMES)
        ]
        times = pa.array([row["t"] for row in rows], pa.timestamp("us", "UTC"))
        spine = pa.table({view: [row[view] for row in rows], "event_timestamp": times})
        for as_of in ("known", "event"):
            found = training.get_historical_features(spine, [f"{view}:*"], as_of=as_of).to_arrow().to_pydict()
            what = f"history as of {as_of}"
            _compare(what, view, meanings, rows, found, events, findings, as_of_event=as_of == "event")


def _compare(
    what: str,
    view: str,
    meanings: Sequence[Meaning],
    rows: Sequence[Mapping[str, Any]],
    found: Mapping[str, Sequence[Any]],
    events: Mapping[str, list[Event]],
    findings: Findings,
    *,
    as_of_event: bool,
) -> None:
    for number, row in enumerate(rows):
        mine = events[row[view]]
        for meaning in meanings:
            want = expected(meaning, mine, row["t"], as_of_event=as_of_event)
            value = found[f"{view}__{meaning.name}"][number]
            findings.compared += 1
            if not same(meaning.function, value, want):
                findings.mismatches.append(
                    f"{what}: {view}:{meaning.name} of {row[view]!r} at {row['t']} is {value!r}, "
                    f"and must be {want.value!r}."
                )
