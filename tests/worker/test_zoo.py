"""Nothing that a producer can send stops a worker: the good events around it count, on both decoders' paths."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import field_validator

from headrace.config import Clock
from headrace.events.decode import EventDecoder
from headrace.events.source_partition import SourcePartition
from headrace.log import EventLog
from headrace.stores import OnlineStore, open_store
from headrace.stores.memory import MemoryStore
from headrace.worker.pipeline import Pipeline
from tests.worker.shop import (
    NOON,
    PLAN,
    SOURCE,
    KeptLetters,
    Sale,
    brute_force,
    looked_up,
    new_pipeline,
    one_round,
    raw,
    record,
)

SECOND = NOON // 1000


class CheckedSale(Sale):
    """A sale that pydantic has to look at."""

    @field_validator("shop")
    @classmethod
    def _check(cls, shop: str) -> str:
        return shop


def sale(**changes: object) -> bytes:
    return json.dumps({"shop": "z", "sold_at": SECOND, "price": 1.0, "pieces": 1, **changes}).encode()


def nested(depth: int) -> bytes:
    return b'{"shop": "z", "more": ' + b"[" * depth + b"]" * depth + b', "sold_at": 1, "price": 1, "pieces": 1}'


BAD: dict[str, bytes | None] = {
    "tombstone": None,
    "empty": b"",
    "a zero byte": b"\0",
    "framed for a registry": b"\0" + struct.pack(">I", 12) + sale(),
    "random bytes": bytes(range(256)),
    "broken UTF-8": sale().replace(b"z", b"\xff"),
    "half of a surrogate pair": sale().replace(b"z", b"\\ud800"),
    "cut off": sale()[:-5],
    "two objects": sale() + sale(),
    "two objects on two lines": sale() + b"\n" + sale(),
    "a list": b"[" + sale() + b"]",
    "a number": b"1",
    "null": b"null",
    "a string": b'"sale"',
    "a number of 5,000 digits": sale(pieces=0).replace(b'"pieces": 0', b'"pieces": ' + b"9" * 5_000),
    "an integer past 64 bits": sale(pieces=2**63),
    "an integer below 64 bits": sale(pieces=-(2**63) - 1),
    "a fraction for an integer": sale(pieces=1.5),
    "NaN for an integer": sale(pieces=0).replace(b'"pieces": 0', b'"pieces": NaN'),
    "a price that is text": sale(price="much"),
    "no shop": sale(shop=None),
    "nothing": b"{}",
    "100,000 brackets": b"[" * 100_000,
    "100,000 objects": b'{"a":' * 100_000,
    "nested 10,000 deep": nested(10_000),
    "a time past the calendar": sale(sold_at="99999-01-01T00:00:00Z"),
    "a time in microseconds": sale(sold_at=SECOND * 1_000_000),
    "a time in nanoseconds": sale(sold_at=SECOND * 1_000_000_000),
    "a time of 400 digits": sale(sold_at=10**400),
    "a time without a zone": sale(sold_at="2023-11-14T22:13:20"),
    "a time before the calendar in UTC": sale(sold_at="0001-01-01T00:00:00+14:00"),
    "a time that is a boolean": sale(sold_at=True),
    "the 30th of February": sale(sold_at="2024-02-30T00:00:00Z"),
    "an event of 3 MB without a price": sale(shop="z" * 3_000_000, price=None),
    "a million fields": b"{" + b",".join(b'"f%d":1' % n for n in range(100_000)) + b"}",
}
GOOD: dict[str, bytes] = {
    "a shop of 100 kB": sale(shop="y" * 100_000),
    "a shop with a zero byte": sale(shop="\0"),
    "a shop without letters": sale(shop=""),
    "a shop beyond the plane": sale(shop="🦓\u202e\ufffe"),
    "a field twice": sale()[:-1] + b', "pieces": 5}',
    "more fields": sale(more={"a": [1, {"b": None}]}, extra="x" * 10_000),
    "spaces around": b" \r\n\t" + sale() + b"\n ",
    "escapes": sale().replace(b'"shop"', b'"\\u0073hop"'),
    "a price of NaN": sale(shop="nan", price=float("nan")),
    "a price without end": sale(shop="inf", price=float("inf")),
    "a price of 1e308": sale(shop="large", price=1e308),
    "a price as small as can be": sale(shop="small", price=5e-324),
    "minus zero": sale(shop="zero", price=-0.0),
    "the largest integer": sale(shop="largest", pieces=2**63 - 1),
    "the least integer": sale(shop="least", pieces=-(2**63)),
    "the year 1": sale(sold_at="0001-01-01T00:00:00Z"),
    "the year 1900": sale(sold_at="1900-01-01T00:00:00Z"),
    "the beginning of time": sale(sold_at=0),
    "a time before it": sale(sold_at=-1),
}


@pytest.fixture(params=["memory", "lmdb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[OnlineStore]:
    opened = MemoryStore() if request.param == "memory" else open_store(f"lmdb:{tmp_path / 'online'}", writable=True)
    with opened:
        yield opened


@pytest.fixture(params=["Arrow", "pydantic"])
def decoder(request: pytest.FixtureRequest) -> EventDecoder:
    made = EventDecoder(SOURCE, Sale if request.param == "Arrow" else CheckedSale)
    assert made.calls_no_user_code == (request.param == "Arrow")
    return made


def pipeline_of(
    store: OnlineStore, log: EventLog, letters: KeptLetters, decoder: EventDecoder, clock: Clock
) -> Pipeline:
    new_pipeline(store, log, letters, clock)  # notes what the store holds
    return Pipeline(PLAN, {"sales": decoder}, store, {"sales": log}, clock, letters)


@pytest.mark.slow
@pytest.mark.parametrize("clock", list(Clock))
@pytest.mark.parametrize("together", [True, False])
def test_good_events_around_a_zoo_of_records_count(
    store: OnlineStore, decoder: EventDecoder, tmp_path: Path, clock: Clock, *, together: bool
) -> None:
    log, letters = EventLog(tmp_path / "log", SOURCE), KeptLetters()
    pipeline = pipeline_of(store, log, letters, decoder, clock)
    zoo = [*BAD.items(), *GOOD.items()]
    plain: list[Any] = []
    offset = 0
    rounds: list[list[Any]] = []
    offsets: dict[str, int] = {}
    for name, value in zoo:
        around = [record(offset + n, "a", (offset + n) / 1_000) for n in range(101)]  # enough for Arrow
        animal = raw(offset + 101, value)
        offsets[name] = offset + 101
        plain += around
        rounds += [[*around[:50], animal, *around[50:]]] if together else [around, [animal]]
        offset += 102
    for one in rounds:
        pipeline.process(one_round(*sorted(one, key=lambda found: found.offset)))
    assert pipeline.flush() == {SourcePartition("sales", 0): offset}
    assert {letter.offset for letter in letters.stored} == {offsets[name] for name in BAD}
    assert sum(rows.num_rows for rows in log.scan()) == len(plain) + len(GOOD)
    if clock is Clock.RECORD:
        assert looked_up(store, ["a"], 60) == brute_force(plain, ["a"], 60)


@pytest.mark.parametrize("timestamp", [-1, 0, 9_400_000_000_000_000, 2**63 - 1])
def test_record_timestamp_of_any_kind_moves_no_clock_off_the_calendar(
    store: OnlineStore, decoder: EventDecoder, tmp_path: Path, timestamp: int
) -> None:
    log, letters = EventLog(tmp_path / "log", SOURCE), KeptLetters()
    pipeline = pipeline_of(store, log, letters, decoder, Clock.RECORD)
    odd = record(1, "a", 1)
    odd.timestamp = timestamp
    good = [record(0, "a", 1), record(2, "a", 2)]
    pipeline.process(one_round(good[0], odd, good[1]))
    pipeline.flush()
    assert [letter.offset for letter in letters.stored] == [1]
    assert store.positions()[SourcePartition("sales", 0)].record_ts_us == good[1].timestamp * 1_000
    assert looked_up(store, ["a"], 3) == brute_force(good, ["a"], 3)
