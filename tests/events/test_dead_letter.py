from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from headrace.errors import EventError
from headrace.events.dead_letter import DeadLetter, Whole, dead_letter_topic

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
        "headrace.timestamp": b"1356998400123",
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


def test_timestamp_of_the_original_record_is_read_from_the_headers() -> None:
    again = DeadLetter.from_record(
        key=LETTER.key, value=LETTER.value, headers=LETTER.to_headers(), timestamp_ms=1_900_000_000_000
    )
    assert again == LETTER
    older = [(name, text) for name, text in LETTER.to_headers() if name != "headrace.timestamp"]
    assert DeadLetter.from_record(key=None, value=None, headers=older, timestamp_ms=7).recorded_at_ms == 7


@pytest.mark.parametrize(
    ("key", "value", "size", "cut_key", "cut_value"),
    [
        (b"k" * 3, b"v" * 100, 50, b"k" * 3, b"v" * 47),
        (b"k" * 100, b"v" * 3, 50, b"k" * 47, b"v" * 3),
        (b"k" * 100, b"v" * 100, 50, b"k" * 25, b"v" * 25),
        (None, b"v" * 100, 50, None, b"v" * 50),
        (b"k" * 100, None, 50, b"k" * 50, None),
        (b"k", b"v", 0, b"", b""),
        (b"k", b"v", 2, b"k", b"v"),
        (None, None, 0, None, None),
    ],
)
def test_cut_letter_says_what_there_was(
    key: bytes | None, value: bytes | None, size: int, cut_key: bytes | None, cut_value: bytes | None
) -> None:
    letter = replace(LETTER, key=key, value=value)
    cut = letter.cut_to(size)
    assert (cut.key, cut.value) == (cut_key, cut_value)
    for original, kept, whole in ((key, cut_key, cut.whole_key), (value, cut_value, cut.whole_value)):
        if kept == original:
            assert whole is None
        else:
            assert whole == Whole(len(original or b""), hashlib.sha256(original or b"").hexdigest())
    assert cut.is_cut == ((key, value) != (cut_key, cut_value))
    assert read(cut) == cut


def test_headers_are_short_whatever_a_producer_sends() -> None:
    letter = replace(LETTER, reason="r" * 10_000_000, field="f" * 10_000_000)
    assert sum(len(text or b"") for _, text in letter.to_headers()) < 5_000


HEADERS: list[tuple[str, bytes | None]] = [
    ("traceparent", b"00-4bf9"),
    ("traceparent", b"\xff"),
    ("", None),
    ("headrace.offset", b"7"),
    ("headrace.replayed", b"7"),
    ("headrace.original.headrace.offset", b""),
]


def test_original_headers_are_kept_in_order_beside_headraces_own_whatever_their_names() -> None:
    letter = replace(LETTER, headers=tuple(HEADERS))
    assert read(letter) == letter
    assert letter.to_headers()[: len(HEADERS)] == [
        *HEADERS[:3],
        ("headrace.original.headrace.offset", b"7"),
        ("headrace.original.headrace.replayed", b"7"),
        ("headrace.original.headrace.original.headrace.offset", b""),
    ]


@pytest.mark.parametrize(("size", "kept"), [(4_000, True), (400, True), (390, False), (0, False)])
def test_letter_that_is_cut_keeps_headers_of_a_quarter_of_the_size_and_says_what_is_left_out(
    size: int, kept: bool
) -> None:
    letter = replace(LETTER, value=b"v" * 5_000, headers=(("trace", b"t" * 95),))
    cut = letter.cut_to(size)
    assert cut.headers == (letter.headers if kept else ())
    assert (cut.dropped_headers, cut.size) == (0 if kept else 100, size)
    assert cut.is_cut
    assert read(cut) == cut


def test_letter_is_cut_where_its_headers_alone_are_too_large() -> None:
    letter = replace(LETTER, headers=(("trace", b"t" * 5_000),))
    cut = letter.cut_to(1_000)
    assert (cut.key, cut.value, cut.headers) == (LETTER.key, LETTER.value, ())
    assert cut.is_cut


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"headrace.offset": None}, "no header headrace.offset"),
        ({"headrace.reason": None}, "no header headrace.reason"),
        ({"headrace.partition": b"two"}, "'two' as header headrace.partition"),
        ({"headrace.offset": b"-1"}, "'-1' as header headrace.offset"),
        ({"headrace.offset": b"9" * 5_000}, "as header headrace.offset"),
    ],
)
def test_foreign_record_is_no_dead_letter(change: dict[str, bytes | None], said: str) -> None:
    headers = {name: value for name, value in {**dict(LETTER.to_headers()), **change}.items() if value is not None}
    with pytest.raises(EventError, match=said):
        DeadLetter.from_record(key=None, value=b"", headers=headers.items(), timestamp_ms=0)


def test_dead_letters_have_a_topic_beside_the_events() -> None:
    assert dead_letter_topic("departures") == "departures.dlq"
