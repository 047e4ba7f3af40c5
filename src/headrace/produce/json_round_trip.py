"""Which JSON of an event the stream reads as the values that the event has here.

A model may convert what it takes: euros to cents, a name to its hash, local time to UTC. The worker validates what was
sent once more, so the JSON of converted values can mean something else there. Here each form is read back, as the
worker will read it, before one is sent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from headrace.errors import EventChangesError
from headrace.events.json_names import json_names

__all__ = ["ReadBack"]


class ReadBack:
    """Finds a form of an event that reads back to its values.

    Args:
        model: The model.
        name: What it is called in messages.
    """

    def __init__(self, model: type[BaseModel], name: str) -> None:
        self._model = model
        self._name = name
        self._fields = list(model.model_fields)
        self._keys = json_names(model)
        self._validate: Callable[[bytes], BaseModel] = model.__pydantic_validator__.validate_json

    def form_of(self, values: Mapping[str, Any], written: bytes, given: Mapping[str, Any] | None) -> bytes:
        """The JSON to send.

        Args:
            values: By field, the values that the event has.
            written: What the model writes of it.
            given: What the model made it from; None where that is not known.

        Returns:
            What the model writes, or else what it was given, or its values by name: the first that reads back to its
            values.

        Raises:
            EventChangesError: None of them does.
        """
        changed = self._changed(written, values)
        if not changed:
            return written
        for form in self._others(values, given):
            if form is None:
                continue
            changed = self._changed(form, values)
            if not changed:
                return form
        raise self._refusal(values, changed, by_mapping=given is not None)

    def _others(self, values: Mapping[str, Any], given: Mapping[str, Any] | None) -> Iterator[bytes | None]:
        if given is None:
            # Without the author's serializers, computed fields and other names for writing.
            yield _json({self._keys[field]: values[field] for field in self._fields if field in values})
            return
        form = _json(given)
        yield form
        if form is None:
            return
        # What was not given got a default, which may be another one at each reading (an id, the time).
        missing = {self._keys[field] for field in self._changed(form, values) if field in values} - given.keys()
        by_key = {self._keys[field]: value for field, value in values.items() if field in self._keys}
        yield _json({**given, **{key: by_key[key] for key in missing}})

    def _changed(self, form: bytes, values: Mapping[str, Any]) -> dict[str, object]:
        """The fields that do not read back to their values, with what they read as; an error if nothing is read."""
        try:
            read = self._validate(form).__dict__
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False)[0]
            field = str(first["loc"][0]) if first["loc"] else ""
            named = (
                field if field in values else next((name for name, key in self._keys.items() if key == field), field)
            )
            return {named: _Refused(str(first["msg"]), form)}
        except Exception as error:  # noqa: BLE001 a validator can raise anything
            return {"": _Refused(f"{type(error).__name__}: {error}", form)}
        return {
            field: read.get(field, _MISSING)
            for field in self._fields
            if not same_value(values.get(field, _MISSING), read.get(field, _MISSING))
        }

    def _refusal(
        self, values: Mapping[str, Any], changed: Mapping[str, object], *, by_mapping: bool
    ) -> EventChangesError:
        field, read = next(iter(changed.items()))
        instead = (
            "Make its validators and serializers such that validating the model's own JSON changes nothing"
            if by_mapping
            else "Send the mapping that the instance was made from, or make the model's validators leave their own "
            "results alone"
        )
        hint = f"{instead}. This event was not sent."
        if isinstance(read, _Refused):
            where = f" at {field}" if field else ""
            json_text = _shown(read.form.decode())
            msg = f"{self._name} does not accept the JSON that it writes{where}: {read.why}. The JSON: {json_text}"
            return EventChangesError(msg, hint=hint)
        more = f" (and {len(changed) - 1} more)" if len(changed) > 1 else ""
        msg = (
            f"{self._name}.{field} is {_shown(values.get(field, _MISSING))} here, and would be {_shown(read)} for the "
            "stream, "
            f"which validates the event again{more}."
        )
        return EventChangesError(msg, hint=hint)


class _Refused:
    """Why a form does not read at all."""

    def __init__(self, why: str, form: bytes) -> None:
        self.why, self.form = why, form


class _Missing:
    def __repr__(self) -> str:
        return "missing"


_MISSING = _Missing()


def same_value(one: object, other: object) -> bool:
    """Whether two values of a field mean the same: equal ones of one type, NaNs, or what is the same in JSON.

    Args:
        one: The one.
        other: The other.
    """
    if one is other:
        return True
    try:
        if type(one) is type(other) and bool(one == other):
            return True
    except Exception:  # noqa: BLE001 the values may be of any class
        return False
    text = _json(one)
    return text is not None and text == _json(other)


def _json(value: object) -> bytes | None:
    """A value as JSON; None where it has none."""
    try:
        return to_json(dict(value) if isinstance(value, Mapping) else value, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, TypeError):
        return None


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
