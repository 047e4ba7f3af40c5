"""What people send instead of events is named in the dead letter, with what to do."""

from __future__ import annotations

import gzip
import struct
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import AwareDatetime, BaseModel

from headrace.events.dead_letter import DeadLetter
from headrace.events.decode import EventDecoder
from headrace.events.model_schema import columns_of
from headrace.events.raw_records import RawRecords
from headrace.plan import Source

AT = datetime(2024, 5, 1, 12, tzinfo=UTC)
AT_S = int(AT.timestamp())


class Ride(BaseModel):
    """A ride."""

    driver: str
    at: AwareDatetime
    paid_at: AwareDatetime | None = None
    fare: int = 0


SOURCE = Source(
    name="rides", topic="rides", model="m:Ride", key="driver", timestamp_field="at", columns=columns_of(Ride)
)


def letter_of(value: bytes | None, *, timestamp_ms: int = AT_S * 1000) -> DeadLetter:
    record: Any = SimpleNamespace(partition=0, offset=7, timestamp=timestamp_ms, key=b"k", value=value)
    batch, (letter,) = EventDecoder(SOURCE, Ride).decode(RawRecords.of([record]))
    assert len(batch) == 0
    assert (letter.offset, letter.value, letter.recorded_at_ms) == (7, value, timestamp_ms)
    return letter


def ride(at: object, **more: object) -> bytes:
    import json

    return json.dumps({"driver": "d", "at": at, **more}).encode()


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (None, "tombstone(?s:.*)headrace forget"),
        (b"", "empty"),
        (b"\0" + struct.pack(">I", 4711) + b"\x02\x06abc", "magic byte 0, schema id 4711(?s:.*)Avro(?s:.*)plain JSON"),
        (b"\0" + struct.pack(">I", 3) + ride(AT_S), "schema id 3(?s:.*)JSON Schema(?s:.*)plain JSON"),
        (b"\x03\0" + b"0123456789abcdef" + b"\x02", "Glue"),
        (b"\xef\xbb\xbf" + ride(AT_S), "byte order mark"),
        (ride(AT_S).decode().encode("utf-16"), "UTF-16"),
        (gzip.compress(ride(AT_S), mtime=0), "gzip"),
        (b"\0\0", "Invalid JSON"),
        (b"nonsense", "Invalid JSON"),
    ],
)
def test_what_is_no_json_is_named(value: bytes | None, said: str) -> None:
    import re

    letter = letter_of(value)
    assert re.search(said, letter.reason), letter.reason
    assert letter.field is None


@pytest.mark.parametrize(
    ("at", "unit"),
    [
        (AT_S * 1_000_000, "microseconds"),
        (AT_S * 1_000_000_000, "nanoseconds"),
        (str(AT_S * 1_000_000), "microseconds"),
        (AT_S * 1_000_000.0 + 0.5, "microseconds"),
    ],
)
def test_number_of_another_unit_is_hinted_at(at: object, unit: str) -> None:
    letter = letter_of(ride(at))
    assert letter.field == "at"
    assert f"In {unit} it would be 2024-05-01T12:00:00" in letter.reason


def test_other_times_than_the_events_own_are_hinted_at_too() -> None:
    letter = letter_of(ride(AT_S, paid_at=AT_S * 1_000_000))
    assert letter.field == "paid_at"
    assert "In microseconds" in letter.reason


@pytest.mark.parametrize("number", [86_400_000, 15_000_000_000])
def test_number_of_milliseconds_that_is_small_enough_for_seconds_is_hinted_at(number: int) -> None:
    letter = letter_of(ride(number), timestamp_ms=number)
    assert letter.field == "at"
    assert "In milliseconds it would be 1970-0" in letter.reason


@pytest.mark.parametrize("at", [True, "soon", None, [], 10**400, "1e400"])
def test_what_is_no_number_has_no_hint(at: object) -> None:
    assert "it would be" not in letter_of(ride(at)).reason


def test_record_timestamp_in_seconds_is_hinted_at() -> None:
    assert "looks like seconds: Kafka takes milliseconds" in letter_of(ride(AT_S), timestamp_ms=AT_S).reason


def test_record_without_a_timestamp_is_named() -> None:
    assert "has no timestamp" in letter_of(ride(AT_S), timestamp_ms=-1).reason


@pytest.mark.parametrize("timestamp_ms", [9_400_000_000_000_000, 2**63 - 1, 253_402_300_800_000, -(2**62)])
def test_record_timestamp_off_the_calendar_is_a_dead_letter(timestamp_ms: int) -> None:
    letter = letter_of(ride(AT_S), timestamp_ms=timestamp_ms)
    assert (f"{timestamp_ms} ms since 1970, is no time on the calendar" in letter.reason, letter.field) == (True, None)
