"""Hints for records that are no events, beyond pydantic's message: what they look like, and what to do."""

from __future__ import annotations

from headrace.times import iso_time

__all__ = ["looks_like", "record_time_hint", "time_hint"]

_NEAR_US = 20 * 366 * 86_400_000_000
"""A number is read in another unit only where that time is within twenty years of its record's timestamp."""

_PRESENT_US = 946_684_800_000_000, 4_102_444_800_000_000
"""From 2000 to 2100. An event time outside is more likely to be wrong than the record's timestamp."""

_UNITS_US = {"seconds": 1e6, "milliseconds": 1e3, "microseconds": 1.0, "nanoseconds": 1e-3}

_MOST_SECONDS = 20_000_000_000
"""pydantic reads numbers up to this one as seconds, and larger ones as milliseconds."""

_FRAME_BYTES = 5
"""A schema registry puts a magic byte and a schema id of 4 bytes before a value."""

_BEGINNINGS: dict[bytes, str] = {
    b"\xef\xbb\xbf": "It begins with a byte order mark, which JSON must not have: write it as UTF-8 without one.",
    b"\xff\xfe": "It looks like UTF-16: write JSON as UTF-8.",
    b"\xfe\xff": "It looks like UTF-16: write JSON as UTF-8.",
    b"\x1f\x8b": "It looks like gzip: send plain JSON, and let the producer compress (compression.type).",
    b"\x28\xb5\x2f\xfd": "It looks like zstd: send plain JSON, and let the producer compress (compression.type).",
    b"Obj\x01": "It looks like an Avro file: headrace reads JSON.",
}
_GLUE = b"\x03\x00", b"\x03\x05"


def looks_like(value: bytes | None) -> str | None:
    """What a record's value looks like, where it is something that people send instead of JSON; else None.

    Args:
        value: The value.
    """
    if value is None:
        return (
            "The record has no value: it is a tombstone, which deletes a key of a compacted topic. headrace counts "
            "events and does not take them back; to erase an entity use `headrace forget`."
        )
    if not value:
        return "The record's value is empty: an event is a JSON object."
    if value[0] == 0 and len(value) > _FRAME_BYTES:
        number = int.from_bytes(value[1:_FRAME_BYTES], "big")
        content = "JSON (JSON Schema)" if value[_FRAME_BYTES:].lstrip()[:1] == b"{" else "Avro or Protobuf"
        return (
            f"The record is framed for a schema registry (magic byte 0, schema id {number}), followed by {content}: "
            "headrace reads plain JSON. Send it with a plain JSON serializer."
        )
    if value[:2] in _GLUE:
        return (
            "The record is framed for AWS Glue's schema registry: headrace reads plain JSON. "
            "Send it with a plain JSON serializer."
        )
    return next((hint for beginning, hint in _BEGINNINGS.items() if value.startswith(beginning)), None)


def time_hint(given: object, record_us: int) -> str | None:
    """The time that a number probably means, where pydantic reads it in another unit; None where that is not known.

    Args:
        given: What the event has in a field for a time.
        record_us: Its record's timestamp in µs; the time should be near it.
    """
    number = _number(given)
    if number is None:
        return None
    taken = "seconds" if abs(number) <= _MOST_SECONDS else "milliseconds"
    for unit, scale in _UNITS_US.items():
        us = number * scale
        if unit != taken and abs(us - record_us) < _NEAR_US and (shown := iso_time(int(us))):
            return (
                f"In {unit} it would be {shown}. A number is read as seconds since 1970 up to {_MOST_SECONDS:,}, "
                "and as milliseconds above: send one of these, or text such as 2024-05-01T12:00:00Z"
            )
    return None


def record_time_hint(record_ms: int, event_us: int) -> str | None:
    """What is probably wrong with a record's timestamp that is far before its event; None where that is not known.

    Args:
        record_ms: The timestamp as Kafka has it, in ms.
        event_us: The event's time in µs.
    """
    if record_ms == -1:
        return (
            "The record has no timestamp: its producer, or the topic's setting message.timestamp.type=LogAppendTime, "
            "must give it one"
        )
    if _PRESENT_US[0] < event_us < _PRESENT_US[1] and abs(record_ms * 1_000_000 - event_us) < _NEAR_US:
        return "The record's timestamp looks like seconds: Kafka takes milliseconds"
    return None


def _number(given: object) -> float | None:
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        return None
    try:
        number = float(given)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < float("inf") else None  # no NaN either
