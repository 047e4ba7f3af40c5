"""Dead letters: records that are no events, kept for people to look at.

A dead letter has the original key, value, headers and record timestamp. Headers of headrace's own say where the record
was and why it was refused. It goes to the topic that `dead_letter_topic` names. Where the broker does not take all of
it, it is cut, and says how much there was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from headrace.errors import EventError
from headrace.events.raw_records import Headers

__all__ = ["DeadLetter", "Whole", "dead_letter_topic"]

_TOPIC = "headrace.topic"
_PARTITION = "headrace.partition"
_OFFSET = "headrace.offset"
_REASON = "headrace.reason"
_FIELD = "headrace.field"
_MODEL = "headrace.model"
_RECORDED_AT = "headrace.timestamp"
_VALUE, _KEY = "headrace.value", "headrace.key"
_HEADERS_BYTES = "headrace.headers.bytes"
_REPLAYED_AT = "headrace.replayed"

_OWN = "headrace."
_ESCAPE = "headrace.original."
"""Goes before the name of an original header that begins like headrace's own."""

_MOST_TEXT = 2_000
"""Characters of a header: a producer's field names and a validator's messages can have any length."""
_MOST_DIGITS = 19

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def dead_letter_topic(topic: str) -> str:
    """The topic that takes a topic's dead letters.

    Args:
        topic: The topic of events.
    """
    return f"{topic}.dlq"


@dataclass(frozen=True, slots=True)
class Whole:
    """What a cut key or value was before.

    Attributes:
        size: Its size in bytes.
        sha256: Its SHA-256, as hex digits.
    """

    size: int
    sha256: str

    @classmethod
    def of(cls, given: bytes) -> Whole:
        """Describe bytes that will be cut."""
        return cls(len(given), hashlib.sha256(given).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A record that was refused, with its original bytes.

    Attributes:
        topic: The topic it came from.
        partition: Its partition there.
        offset: Its offset there.
        reason: Why it was refused.
        field: The field that is wrong, or None where it is the whole event.
        model: ``module:Class`` of the model that refused it.
        key: Its original key.
        value: Its original value.
        recorded_at_ms: Its original record timestamp, in milliseconds since 1970 UTC.
        whole_key: What the key was before it was cut; None where it is whole.
        whole_value: What the value was before it was cut; None where it is whole.
        headers: Its original headers.
        dropped_headers: How many bytes of original headers were left out; 0 where they are all there.
        replayed_at_ms: When it was sent back to its topic, in milliseconds since 1970 UTC; None where it was not.
    """

    topic: str
    partition: int
    offset: int
    reason: str
    field: str | None
    model: str
    key: bytes | None
    value: bytes | None
    recorded_at_ms: int
    whole_key: Whole | None = None
    whole_value: Whole | None = None
    headers: Headers = ()
    dropped_headers: int = 0
    replayed_at_ms: int | None = None

    @property
    def is_cut(self) -> bool:
        """Whether a part of the original is missing."""
        return self.whole_key is not None or self.whole_value is not None or self.dropped_headers > 0

    @property
    def size(self) -> int:
        """The bytes of its key, value and original headers."""
        return len(self.key or b"") + len(self.value or b"") + _size(self.headers)

    def cut_to(self, size: int) -> DeadLetter:
        """The same letter, cut to a number of bytes of key, value and original headers; itself where it is no larger.

        Headers are kept whole or not at all: they are left out where they take more than a quarter of the bytes.

        Args:
            size: The bytes.
        """
        if self.size <= size:
            return self
        dropped = _size(self.headers) if _size(self.headers) > size // 4 else 0
        headers = () if dropped else self.headers
        size -= _size(headers)
        key, value = self.key or b"", self.value or b""
        # A key is usually short: it is cut only where it is the larger part.
        room = max(size - len(value), size // 2)
        kept = key[:room]
        rest = value[: size - len(kept)]
        return replace(
            self,
            headers=headers,
            dropped_headers=self.dropped_headers + dropped,
            key=self.key if kept == key else kept,
            value=self.value if rest == value else rest,
            whole_key=self.whole_key if kept == key else Whole.of(key),
            whole_value=self.whole_value if rest == value else Whole.of(value),
        )

    @property
    def position(self) -> tuple[str, int, int]:
        """Where the event was: topic, partition, offset."""
        return self.topic, self.partition, self.offset

    @property
    def recorded_at(self) -> datetime | None:
        """The original record timestamp in UTC; None where no calendar has that date."""
        try:
            return _EPOCH + timedelta(milliseconds=self.recorded_at_ms)
        except OverflowError:
            return None

    def to_headers(self) -> list[tuple[str, bytes | None]]:
        """The headers of the record that goes to the dead-letter topic with the original key, value and timestamp.

        Returns:
            The original headers in order, then headrace's own, in UTF-8. An original name that begins with `headrace.`
            gets `headrace.original.` before it.
        """
        values = {
            _TOPIC: self.topic,
            _PARTITION: str(self.partition),
            _OFFSET: str(self.offset),
            _REASON: self.reason,
            _FIELD: self.field or "",
            _MODEL: self.model,
            _RECORDED_AT: str(self.recorded_at_ms),
        }
        if self.replayed_at_ms is not None:
            values[_REPLAYED_AT] = str(self.replayed_at_ms)
        for name, whole in ((_KEY, self.whole_key), (_VALUE, self.whole_value)):
            if whole is not None:
                values |= {f"{name}.bytes": str(whole.size), f"{name}.sha256": whole.sha256}
        if self.dropped_headers:
            values[_HEADERS_BYTES] = str(self.dropped_headers)
        kept = [(f"{_ESCAPE}{name}" if name.startswith(_OWN) else name, text) for name, text in self.headers]
        return [*kept, *((name, _short(text).encode("utf-8", "backslashreplace")) for name, text in values.items())]

    @classmethod
    def from_record(
        cls, *, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]], timestamp_ms: int
    ) -> DeadLetter:
        """Read a record of a dead-letter topic.

        Args:
            key: The record's key.
            value: The record's value.
            headers: The record's headers.
            timestamp_ms: The record's timestamp, taken where no header has the original one.

        Returns:
            The dead letter.

        Raises:
            EventError: The headers are not those of a dead letter.
        """
        found: dict[str, str] = {}
        kept: list[tuple[str, bytes | None]] = []
        for name, text in headers:
            if name.startswith(_OWN) and not name.startswith(_ESCAPE):
                found[name] = (text or b"").decode("utf-8", "replace")
            else:
                kept.append((name.removeprefix(_ESCAPE), text))
        missing = [name for name in (_TOPIC, _PARTITION, _OFFSET, _REASON) if name not in found]
        wrong = [name for name in (_PARTITION, _OFFSET) if name in found and not _is_number(found[name])]
        if missing or wrong:
            what = f"has no header {missing[0]}" if missing else f"has {found[wrong[0]]!r} as header {wrong[0]}"
            hint = "Only headrace should write to a dead-letter topic."
            msg = f"A record that should be a dead letter {what}."
            raise EventError(msg, hint=hint)
        return cls(
            topic=found[_TOPIC],
            partition=int(found[_PARTITION]),
            offset=int(found[_OFFSET]),
            reason=found[_REASON],
            field=found.get(_FIELD) or None,
            model=found.get(_MODEL, ""),
            key=key,
            value=value,
            recorded_at_ms=int(at)
            if _is_number((at := found.get(_RECORDED_AT, "")).removeprefix("-"))
            else timestamp_ms,
            whole_key=_whole(found, _KEY),
            whole_value=_whole(found, _VALUE),
            headers=tuple(kept),
            dropped_headers=int(dropped) if _is_number(dropped := found.get(_HEADERS_BYTES, "")) else 0,
            replayed_at_ms=int(again) if _is_number(again := found.get(_REPLAYED_AT, "")) else None,
        )


def _short(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]}…"


def _size(headers: Headers) -> int:
    return sum(len(name.encode("utf-8", "surrogatepass")) + len(value or b"") for name, value in headers)


def _is_number(text: str) -> bool:
    return text.isdecimal() and len(text) <= _MOST_DIGITS


def _whole(found: dict[str, str], name: str) -> Whole | None:
    size = found.get(f"{name}.bytes", "")
    return Whole(int(size), found.get(f"{name}.sha256", "")) if _is_number(size) else None
