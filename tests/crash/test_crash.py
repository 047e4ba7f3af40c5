"""Workers that are killed lose and double nothing: a short form of `make crash`, and proof that it would find out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from headrace.log import EventLog
from headrace.log.log_columns import table_schema
from proofs.brute import Event
from proofs.cases import moment
from proofs.crash_bed import CrashBed
from proofs.crash_check import Truth, check_log, payment_of
from proofs.crash_project import PLAN, TOPIC

ROOT = Path(__file__).parents[2]
NOON = 1_714_564_800_000_000
HOUR = 3_600_000_000


@pytest.mark.slow
@pytest.mark.kafka
@pytest.mark.timeout(1_200)
@pytest.mark.parametrize(
    ("part", "kills", "refused"),
    [
        pytest.param(1, 7, 0, id="killed, views change", marks=pytest.mark.xdist_group("crash, killed")),
        pytest.param(3, 1, 1, id="hanging", marks=[pytest.mark.redis, pytest.mark.xdist_group("crash, hanging")]),
    ],
)
def test_workers_killed_at_random_at_failpoints_and_hanging_lose_and_double_nothing(
    part: int, kills: int, refused: int
) -> None:
    command = [sys.executable, "-m", "proofs.crash", "--short", "--part", str(part), "--json", "--seed", "4"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, timeout=1_100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (told,) = json.loads(done.stdout)["parts"]
    assert told["findings"]["mismatches"] == []
    assert told["findings"]["logged"] > 1_000
    assert told["findings"]["dead_letters"] > 20
    assert told["findings"]["compared"] > 5_000
    assert told["kills"] >= kills
    assert told["refused"] >= refused


@pytest.mark.slow
@pytest.mark.kafka
def test_until_end_waits_for_the_log_where_a_killed_worker_left_events_in_the_online_store_alone() -> None:
    with CrashBed(seed=1, rate=100) as bed:
        bed.workers.start("before-log-append").wait_killed()
        bed.producers.stop()
        bed.workers.start("before-log-append", "--until-end").wait_killed()  # the online store now has all there is
        found = bed.settle()
    assert found.mismatches == []
    assert found.logged > 50


def event(offset: int, ts: int = NOON, amount: float | None = 2.5) -> Event:
    values = {"id": f"i{offset}", "card": "c", "shop": "s", "amount": amount, "items": 1}
    return Event(ts, NOON + offset, 0, offset, values)


def write_log(root: Path, events: list[Event]) -> None:
    source = PLAN.sources[TOPIC]
    rows = [
        {
            **event.values,
            "paid_at": moment(event.ts),
            "_ts_us": event.ts,
            "_known_at_us": event.known,
            "_partition": event.partition,
            "_offset": event.offset,
            "_record_ts_us": event.known,
        }
        for event in events
    ]
    schema = table_schema(source)
    table = pa.Table.from_pylist(rows, schema=schema.remove(schema.get_field_index("_date")))
    EventLog(root / ".headrace" / "log", source).append(table, {0: max(event.offset for event in events)})


def truth(events: list[Event]) -> Truth:
    accepted = {(event.partition, event.offset): event for event in events}
    return Truth({0: len(events)}, accepted, set(), {}, NOON)


THREE = [event(0), event(1, amount=None), event(2)]
WRONG: dict[str, Callable[[], tuple[list[Event], str]]] = {
    "an event that the log lacks": lambda: ([THREE[0], THREE[2]], "lacks the event at (0, 1)"),
    "an event that does not count": lambda: ([*THREE, event(3)], "holds (0, 3), which is no event"),
    "another value": lambda: ([*THREE[:2], event(2, amount=2.75)], "must hold"),
    "another time": lambda: ([*THREE[:2], event(2, ts=NOON + 1)], "must hold"),
}


def test_log_that_holds_each_event_once_is_right(tmp_path: Path) -> None:
    write_log(tmp_path, THREE)
    assert check_log(tmp_path, truth(THREE)) == []


@pytest.mark.parametrize("what", WRONG)
def test_check_of_the_log_finds(tmp_path: Path, what: str) -> None:
    logged, said = WRONG[what]()
    write_log(tmp_path, logged)
    found = check_log(tmp_path, truth(THREE))
    assert len(found) == 1
    assert said in found[0]


def test_check_of_the_log_finds_a_doubled_event(tmp_path: Path) -> None:
    write_log(tmp_path, THREE)
    log = tmp_path / ".headrace" / "log" / TOPIC
    other = tmp_path / "other"
    write_log(other, THREE[:1])
    (copied,) = (other / ".headrace" / "log" / TOPIC).glob("_date=*/*.parquet")
    double = next(log.glob("_date=*")) / copied.name
    double.write_bytes(copied.read_bytes())
    commit = next((other / ".headrace" / "log" / TOPIC / "_delta_log").glob("*1.json")).read_text()
    added = "\n".join(line for line in commit.splitlines() if '"add"' in line)
    (log / "_delta_log" / "00000000000000000002.json").write_text(added)
    assert check_log(tmp_path, truth(THREE)) == ["The log holds the event at (0, 0) 2 times."]


@pytest.mark.parametrize(
    ("changes", "is_payment"),
    [
        ({}, True),
        ({"amount": None}, True),
        ({"items": "many"}, False),
        ({"paid_at": moment(NOON + HOUR).isoformat()}, True),
        ({"paid_at": moment(NOON + HOUR + 1).isoformat()}, False),
    ],
)
def test_payments_are_judged_by_the_definition(changes: dict[str, object], is_payment: bool) -> None:
    payment = {"id": "1", "card": "c", "shop": "s", "paid_at": moment(NOON).isoformat(), "amount": 1.0, "items": 1}
    found = payment_of(json.dumps({**payment, **changes}).encode(), NOON)
    assert (found is not None) is is_payment


@pytest.mark.parametrize("value", [b"", b"{", b'{"card": "c"}'])
def test_what_is_no_payment_at_all_is_a_dead_letter(value: bytes) -> None:
    assert payment_of(value, NOON) is None
