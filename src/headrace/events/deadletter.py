"""Dead letters: what becomes of an event that cannot be used.

A dead letter keeps the original key, value and record timestamp, and says in headers where the event was and why it
was refused. It goes to the topic that `dead_letter_topic` names.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from headrace.errors import EventError

__all__ = ["DeadLetter", "dead_letter_topic"]

_TOPIC = "headrace.topic"
_PARTITION = "headrace.partition"
_OFFSET = "headrace.offset"
_REASON = "headrace.reason"
_FIELD = "headrace.field"
_MODEL = "headrace.model"

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def dead_letter_topic(topic: str) -> str:
    """The topic that takes a topic's dead letters.

    Args:
        topic: The topic of events.
    """
    return f"{topic}.dlq"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """An event that was refused, with its original bytes.

    Attributes:
        topic: The topic it came from.
        partition: Its partition there.
        offset: Its offset there.
        reason: Why it was refused, in words.
        field: The field that is to blame, or None where it is the whole event.
        model: ``module:Class`` of the model that refused it.
        key: Its original key.
        value: Its original value.
        recorded_at_ms: Its original record timestamp, in milliseconds since 1970 UTC.
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

    def to_headers(self) -> list[tuple[str, bytes]]:
        """The headers of the record that goes to the dead-letter topic, beside the original key, value and timestamp.

        Returns:
            Names and UTF-8 values.
        """
        values = {
            _TOPIC: self.topic,
            _PARTITION: str(self.partition),
            _OFFSET: str(self.offset),
            _REASON: self.reason,
            _FIELD: self.field or "",
            _MODEL: self.model,
        }
        return [(name, text.encode("utf-8", "backslashreplace")) for name, text in values.items()]

    @classmethod
    def from_record(
        cls, *, key: bytes | None, value: bytes | None, headers: Iterable[tuple[str, bytes | None]], timestamp_ms: int
    ) -> DeadLetter:
        """Read a record of a dead-letter topic.

        Args:
            key: The record's key.
            value: The record's value.
            headers: The record's headers.
            timestamp_ms: The record's timestamp.

        Returns:
            The dead letter.

        Raises:
            EventError: The headers are not those of a dead letter.
        """
        found = {name: (text or b"").decode("utf-8", "replace") for name, text in headers}
        missing = [name for name in (_TOPIC, _PARTITION, _OFFSET, _REASON) if name not in found]
        wrong = [name for name in (_PARTITION, _OFFSET) if name in found and not found[name].isdecimal()]
        if missing or wrong:
            what = f"has no header {missing[0]}" if missing else f"has {found[wrong[0]]!r} as header {wrong[0]}"
            cure = "Only headrace should write to a dead-letter topic."
            msg = f"A record that should be a dead letter {what}."
            raise EventError(msg, cure=cure)
        return cls(
            topic=found[_TOPIC],
            partition=int(found[_PARTITION]),
            offset=int(found[_OFFSET]),
            reason=found[_REASON],
            field=found.get(_FIELD) or None,
            model=found.get(_MODEL, ""),
            key=key,
            value=value,
            recorded_at_ms=timestamp_ms,
        )
