"""From an event to the key and bytes of a Kafka record, validated by the source's model first."""

from __future__ import annotations

import types
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any, NamedTuple, cast

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from headrace.errors import EventError
from headrace.events.formats.plain_models import plain_model
from headrace.events.gc_pause import without_collector
from headrace.plan import DType, Source
from headrace.produce.json_round_trip import ReadBack

__all__ = ["EncodedEvent", "EventEncoder"]

_NOT_SENT = "This event was not sent."
_KEYS_KEPT = 262_144
_AT_ONCE = 100
_LEAST, _GREATEST = -(2**63), 2**63 - 1


class EncodedEvent(NamedTuple):
    """An event, ready to send.

    Attributes:
        key: The Kafka key; None for a source without one, or where the key's field is null.
        value: JSON in UTF-8.
        time: The event's own time.
    """

    key: bytes | None
    value: bytes
    time: datetime


class EventEncoder:
    """Validates events of one source and encodes them as the stream will read them.

    Args:
        source: The source.
        model: Its pydantic model.

    Raises:
        EventError: The model lacks the source's key or time field.
    """

    def __init__(self, source: Source, model: type[BaseModel]) -> None:
        for role, field in (("key", source.key), ("timestamp_field", source.timestamp_field)):
            if field is not None and field not in model.model_fields:
                hint = (
                    f"It has: {', '.join(model.model_fields)}. Fix the source or the model, and run `headrace apply`."
                )
                msg = f"{source.model} has no field {field!r}, the {role} of source {source.name!r}."
                raise EventError(msg, hint=hint)
        self._source = source
        self._model = model
        self._wire = _wire_model(model)
        self._wire_list: TypeAdapter[list[Any]] = TypeAdapter(list[self._wire])  # type: ignore[name-defined]
        self._timestamps = [column.name for column in source.columns if column.dtype is DType.TIMESTAMP]
        self._integers = [column.name for column in source.columns if column.dtype is DType.INT64]
        self._to_json = self._wire.__pydantic_serializer__.to_json
        self._time, self._key = source.timestamp_field, source.key
        self._keys: dict[str, bytes] = {}
        plain = plain_model(model, source.columns)
        self._read_back = None if plain is not None and plain.reads_back else ReadBack(model, source.model)

    def encode(self, event: BaseModel | Mapping[str, Any]) -> EncodedEvent:
        """Validate one event and encode it.

        Args:
            event: A mapping that the model accepts, or an instance of the source's model (validated again, as it may
                have changed since).

        Returns:
            The event, ready to send.

        Raises:
            EventChangesError: The stream, which validates what is sent once more, would read other values.
            EventError: The model refuses it; the message names the model, the field, the value and what to do.
        """
        if isinstance(event, BaseModel) and not isinstance(event, self._model):
            kind = type(event).__name__
            msg = f"A {kind} was sent to source {self._source.name!r}, whose model is {self._source.model}."
            raise EventError(msg, hint=f"Send a {self._model.__name__}, or send to the source of {kind}.")
        try:
            if isinstance(event, BaseModel):
                valid = self._wire.model_validate(_fields_of(event), by_name=True, by_alias=False)
                return self._encode(valid, None, event.__dict__)
            valid = self._wire.model_validate(dict(event))  # a copy, as a validator may write to it
        except ValidationError as error:
            raise self._refusal(error) from error
        return self._encode(valid, event)

    def encode_many(self, events: Sequence[BaseModel | Mapping[str, Any]]) -> list[EncodedEvent]:
        """Validate many events and encode them.

        Args:
            events: What `encode` takes.

        Returns:
            The events, in order.

        Raises:
            EventChangesError: As `encode`.
            EventError: The model refuses one.
        """
        if all(type(event) is dict for event in events):
            return self.encode_rows(cast("list[dict[str, Any]]", events), range(len(events)))
        return [self.encode(event) for event in events]

    def encode_rows(self, rows: Sequence[dict[str, Any]], numbers: Sequence[int]) -> list[EncodedEvent]:
        """Validate many events in one call and encode them.

        Args:
            rows: What `encode` takes, as dicts.
            numbers: The row number of each, for messages.

        Returns:
            The events, in order.

        Raises:
            EventChangesError: As `encode`.
            EventError: The model refuses one; the message says which.
        """
        found: list[EncodedEvent] = []
        with without_collector():
            # A few at a time stay in the processor's cache from one step to the next.
            for first in range(0, len(rows), _AT_ONCE):
                given = rows[first : first + _AT_ONCE]
                try:
                    valid = self._wire_list.validate_python(
                        given if self._read_back is None else [dict(row) for row in given]
                    )
                except ValidationError as error:
                    raise self._refusal(error, numbers[first:]) from error
                found += map(self._encode, valid, given)
        return found

    def _encode(
        self, event: BaseModel, given: Mapping[str, Any] | None, values: Mapping[str, Any] | None = None
    ) -> EncodedEvent:
        """Encode what the model has made of an event.

        Args:
            event: The event.
            given: What it was made from; None where it came as an instance.
            values: The values that the event has, where they may be others.
        """
        fields = event.__dict__
        for name in self._timestamps:
            at = fields[name]
            if at is not None and at.tzinfo is not UTC:
                fields[name] = self._settled(name, at)
        for name in self._integers:
            number = fields[name]
            if isinstance(number, int) and not _LEAST <= number <= _GREATEST:
                msg = f"{self._model.__name__}.{name} is {number}, which does not fit 64 bits."
                raise EventError(msg, hint=f"Send a smaller number, or make the field a str. {_NOT_SENT}")
        time = fields[self._time]
        if time is None:
            msg = f"{self._model.__name__}.{self._time} is missing: it is the event time."
            raise EventError(msg, hint=f"Give every event its time. {_NOT_SENT}")
        try:
            value = self._to_json(event, by_alias=True)
        except PydanticSerializationError as error:
            msg = f"{self._source.model} cannot be written as JSON: {error}"
            raise EventError(
                msg, hint=f"Send text that UTF-8 can hold, and values that JSON has. {_NOT_SENT}"
            ) from error
        if self._read_back is not None:
            value = self._read_back.form_of(fields if values is None else values, value, given)
        if self._key is None:
            return EncodedEvent(None, value, time)
        key = fields[self._key]
        return EncodedEvent((self._keys.get(key) if type(key) is str else None) or self._key_bytes(key), value, time)

    def _key_bytes(self, key: object) -> bytes | None:
        if key is None:
            return None
        found = str(key.value if isinstance(key, Enum) else key).encode()
        if type(key) is str and len(self._keys) < _KEYS_KEPT:
            self._keys[key] = found
        return found

    def _settled(self, name: str, at: datetime) -> datetime:
        """A time as JSON holds it: the offset of its zone is written in minutes, and some old ones have seconds."""
        offset = at.utcoffset()
        if offset is None:
            msg = f"{self._model.__name__}.{name} is {at.isoformat()}, which has no time zone."
            hint = f"Send UTC, such as {at.isoformat()}Z; AwareDatetime in the model asks for it. {_NOT_SENT}"
            raise EventError(msg, hint=hint)
        if not offset:
            return at
        try:
            utc = at.astimezone(UTC)
        except OverflowError:
            msg = f"{self._model.__name__}.{name} is {at.isoformat()}, which is no time on the calendar in UTC."
            raise EventError(msg, hint=f"Send a time from year 1 to 9999. {_NOT_SENT}") from None
        return utc if offset.seconds % 60 or offset.microseconds else at

    def _refusal(self, error: ValidationError, numbers: Sequence[int] | None = None) -> EventError:
        failures = error.errors(include_url=False, include_context=False)
        first = failures[0]
        place = list(first["loc"])
        which = "" if numbers is None else f" of row {numbers[int(place.pop(0))]:,}"
        field = ".".join(str(part) for part in place) or "(the whole event)"
        value = "is missing" if first["type"] == "missing" else f"is {_shown(first['input'])}"
        more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
        hint = f"Send what {self._source.model} accepts, or change the model and run `headrace apply`. {_NOT_SENT}"
        return EventError(f"{self._model.__name__}.{field}{which} {value}: {first['msg']}{more}.", hint=hint)


def _wire_model(model: type[BaseModel]) -> type[BaseModel]:
    """The model, writing NaN and infinity as such.

    Pydantic writes null unless it is configured otherwise, which would change the event without a message.
    """
    config = {} if "ser_json_inf_nan" in model.model_config else {"ser_json_inf_nan": "constants"}
    return types.new_class(model.__name__, (model,), config)


def _fields_of(event: BaseModel) -> dict[str, Any]:
    values = event.__dict__
    fields = {name: values[name] for name in type(event).model_fields if name in values}
    return fields | (event.model_extra or {})


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
