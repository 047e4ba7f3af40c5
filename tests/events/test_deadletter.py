from __future__ import annotations

from datetime import UTC, datetime

import pytest

from headrace.errors import EventError
from headrace.events.deadletter import DeadLetter, dead_letter_topic

LETTER = DeadLetter(
    topic="departures",
    partition=2,
    offset=41,
    reason="Input should be „EWR“, 'JFK' or 'LGA'",
    field="origin",
    model="events:Departure",
    key=b"BOS",
    value=b'{"origin": "BOS"}',
    recorded_at_ms=1_356_998_400_123,
)


def read(letter: DeadLetter) -> DeadLetter:
    return DeadLetter.from_record(
        key=letter.key, value=letter.value, headers=letter.to_headers(), timestamp_ms=letter.recorded_at_ms
    )


def test_dead_letter_reads_back_from_its_record() -> None:
    assert read(LETTER) == LETTER
    whole = DeadLetter(
        topic="t", partition=0, offset=0, reason="", field=None, model="m:M", key=None, value=None, recorded_at_ms=-1
    )
    assert read(whole) == whole


def test_headers_have_fixed_names_and_are_utf8() -> None:
    headers = dict(LETTER.to_headers())
    assert headers == {
        "headrace.topic": b"departures",
        "headrace.partition": b"2",
        "headrace.offset": b"41",
        "headrace.reason": "Input should be „EWR“, 'JFK' or 'LGA'".encode(),
        "headrace.field": b"origin",
        "headrace.model": b"events:Departure",
    }


def test_reason_that_no_encoding_holds_is_escaped() -> None:
    letter = DeadLetter(
        topic="t",
        partition=0,
        offset=0,
        reason="got '\ud800'",
        field=None,
        model="m:M",
        key=None,
        value=b"x",
        recorded_at_ms=0,
    )
    assert read(letter).reason == "got '\\ud800'"


def test_record_timestamp_is_a_time_where_a_calendar_has_it() -> None:
    assert LETTER.recorded_at == datetime(2013, 1, 1, 0, 0, 0, 123_000, tzinfo=UTC)
    absurd = DeadLetter(
        topic="t", partition=0, offset=0, reason="", field=None, model="", key=None, value=None, recorded_at_ms=2**62
    )
    assert absurd.recorded_at is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"headrace.offset": None}, "no header headrace.offset"),
        ({"headrace.reason": None}, "no header headrace.reason"),
        ({"headrace.partition": b"two"}, "'two' as header headrace.partition"),
        ({"headrace.offset": b"-1"}, "'-1' as header headrace.offset"),
    ],
)
def test_foreign_record_is_no_dead_letter(change: dict[str, bytes | None], said: str) -> None:
    headers = {name: value for name, value in {**dict(LETTER.to_headers()), **change}.items() if value is not None}
    with pytest.raises(EventError, match=said):
        DeadLetter.from_record(key=None, value=b"", headers=headers.items(), timestamp_ms=0)


def test_dead_letters_have_a_topic_beside_the_events() -> None:
    assert dead_letter_topic("departures") == "departures.dlq"
