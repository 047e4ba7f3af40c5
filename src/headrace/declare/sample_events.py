"""Events made from a model, to try transforms before a real event comes.

They are made from the model's JSON schema, which has constraints, enums, nested models and unions. A field's `examples`
are used where it has any. A schema does not say what a string means, so each event writes all its strings in one style:
digits, words, dates, JSON and so on. So a function that parses a string works on at least a few events.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel

__all__ = ["sample_events"]

_START = datetime(2026, 1, 5, 12, tzinfo=UTC)
_STYLES = (
    "7", "word", "2026-01-05", "1.5", "2026-01-05T12:30:00+00:00", "12", "DE", '{"a": 1, "b": "x"}', "ana@example.com",
    "https://example.com/a/b?c=1", "20260105", "2026-01-05 12:30:00", "12:30:00", "12:30", "[1, 2]", "3, 4, 5",
    "a-b-c-1", "true", "6d0f2f39-0c15-4b3c-9d53-8f5b1ff3f2f1", "192.168.0.1", "05/01/2026", "05.01.2026", "0a1b2c3d",
    "Some words, and more.", "x=1;y=2", "100",
)  # fmt: skip
_INTEGERS = (7, 1, 42, 1000, 2, 0, 1_767_614_400, 1_767_614_400_000, 10, 3, -1, 100, 24, 5)
_NUMBERS = (1.5, 10.0, 0.25, 99.9, 3.0, 1000.0, 0.0, 42.5, -1.5, 0.5)
_FORMATS = {
    "email": "ana@example.com",
    "uri": "https://example.com/a/b?c=1",
    "uuid": "6d0f2f39-0c15-4b3c-9d53-8f5b1ff3f2f1",
    "uuid4": "6d0f2f39-0c15-4b3c-9d53-8f5b1ff3f2f1",
    "ipv4": "192.168.0.1",
    "ipv6": "2001:db8::1",
    "duration": "PT1H",
    "time": "12:30:00",
    "binary": "bytes",
    "base64": "Ynl0ZXM=",
    "json-string": '{"a": 1}',
}
_DEPTH = 6


def sample_events(model: type[BaseModel], count: int = 52) -> list[bytes]:
    """Events as JSON, as a producer could send them. The model's validators may refuse some.

    Args:
        model: The model.
        count: How many to make.

    Returns:
        The events; none where no value can be made for a field.
    """
    try:
        schema = model.model_json_schema(mode="validation")
    except Exception:  # noqa: BLE001 a user's type can raise anything here; then its values are not known
        return []
    made: list[bytes] = []
    for row in range(count):
        try:
            made.append(json.dumps(_Maker(schema, row).value(schema, 0)).encode())
        except _NoValueError:
            continue
    return made


class _NoValueError(Exception):
    """No value of a schema can be made."""


class _Maker:
    """Makes one event.

    Args:
        schema: The whole schema, with the definitions that references name.
        row: The number of the event.
    """

    def __init__(self, schema: dict[str, Any], row: int) -> None:
        self._definitions = schema.get("$defs", {})
        self._row = row

    def value(self, schema: dict[str, Any], field: int, depth: int = 0) -> Any:
        """A value of a schema, for the field with this number."""
        if "$ref" in schema:
            schema = {**self._definitions[schema["$ref"].rpartition("/")[2]], **schema}
        if depth > _DEPTH:
            raise _NoValueError
        if schema.get("examples"):
            return self._one_of(schema["examples"])
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self._one_of(schema["enum"])
        for many in ("anyOf", "oneOf"):
            if many in schema:
                return self._any_of(schema[many], field, depth)
        if len(schema.get("allOf", ())) == 1:
            return self.value(schema["allOf"][0], field, depth)
        makers = {
            "object": self._object,
            "array": self._array,
            "string": self._string,
            "integer": self._integer,
            "number": self._number,
        }
        kind = schema.get("type")
        if kind in makers:
            return makers[kind](schema, field, depth)
        return {"boolean": self._turn(field) % 2 == 0, "null": None}.get(str(kind), "word")

    def _turn(self, field: int) -> int:
        """Which value to take: in the first events the same for all fields, later another one for each field."""
        return self._row if self._row < len(_STYLES) else self._row + 3 * field

    def _one_of(self, values: Sequence[Any]) -> Any:
        return values[self._row % len(values)]

    def _any_of(self, options: Sequence[dict[str, Any]], field: int, depth: int) -> Any:
        some = [option for option in options if option.get("type") != "null"]
        if len(some) < len(options) and self._turn(field) % 5 == 4:
            return None
        for option in some:
            try:
                return self.value(option, field, depth)
            except _NoValueError:
                continue
        if len(some) < len(options):
            return None
        raise _NoValueError

    def _object(self, schema: dict[str, Any], field: int, depth: int) -> Any:
        properties: dict[str, Any] = schema.get("properties", {})
        found: dict[str, Any] = {}
        for number, (name, one) in enumerate(properties.items()):
            try:
                found[name] = self.value(one, field + number, depth + 1)
            except _NoValueError:
                if name in schema.get("required", ()):
                    raise
        further = schema.get("additionalProperties")
        if isinstance(further, dict) and not properties:
            found["a"] = self.value(further, field, depth + 1)
        return found

    def _array(self, schema: dict[str, Any], field: int, depth: int) -> Any:
        if "prefixItems" in schema:
            return [self.value(one, field, depth + 1) for one in schema["prefixItems"]]
        count = min(max(2, schema.get("minItems", 0)), schema.get("maxItems", 100))
        return [self.value(schema.get("items", {}), field + number, depth + 1) for number in range(count)]

    def _string(self, schema: dict[str, Any], field: int, depth: int) -> Any:
        moment = _START + timedelta(minutes=self._row)
        form = schema.get("format")
        if form in ("date-time", "date"):
            return moment.isoformat() if form == "date-time" else moment.date().isoformat()
        if form in _FORMATS:
            return _FORMATS[form]
        return self._fitting(
            _STYLES, field, lambda text: self._fits(text, schema), lambda text: _stretched(text, schema)
        )

    @staticmethod
    def _fits(text: str, schema: dict[str, Any]) -> bool:
        pattern = schema.get("pattern")
        try:
            matches = pattern is None or re.search(pattern, text) is not None
        except re.error:  # pydantic's regular expressions are Rust's
            matches = False
        return matches and schema.get("minLength", 0) <= len(text) <= schema.get("maxLength", math.inf)

    def _integer(self, schema: dict[str, Any], field: int, depth: int) -> Any:
        return self._fitting(
            _INTEGERS, field, lambda one: _within(one, schema), lambda one: int(_moved(one, schema, 1))
        )

    def _number(self, schema: dict[str, Any], field: int, depth: int) -> Any:
        return self._fitting(_NUMBERS, field, lambda one: _within(one, schema), lambda one: _moved(one, schema, 0.01))

    def _fitting(self, pool: Sequence[Any], field: int, fits: Any, adapted: Any) -> Any:
        turn = self._turn(field)
        in_turn = [pool[(turn + number) % len(pool)] for number in range(len(pool))]
        found = next((one for one in in_turn if fits(one)), None)
        if found is None:
            found = next((other for one in in_turn if fits(other := adapted(one))), None)
        if found is None:
            raise _NoValueError
        return found


def _within(number: float, schema: dict[str, Any]) -> bool:
    step = schema.get("multipleOf")
    return bool(
        schema.get("minimum", -math.inf) <= number <= schema.get("maximum", math.inf)
        and schema.get("exclusiveMinimum", -math.inf) < number < schema.get("exclusiveMaximum", math.inf)
        and (step is None or math.isclose(number % step, 0, abs_tol=1e-9) or math.isclose(number % step, step))
    )


def _moved(number: float, schema: dict[str, Any], step: float) -> Any:
    """A number moved into the range that the schema allows."""
    step = schema.get("multipleOf", step)
    low = schema.get("minimum", schema.get("exclusiveMinimum", -math.inf) + step)
    high = schema.get("maximum", schema.get("exclusiveMaximum", math.inf) - step)
    moved = min(max(number, low), high)
    if low > -math.inf and high < math.inf and low < high:  # not always the same end
        moved = low + (abs(number) % (high - low))
    return math.ceil(moved / step) * step if "multipleOf" in schema or step == 1 else moved


def _stretched(text: str, schema: dict[str, Any]) -> str:
    """A text with a length that the schema allows."""
    least, most = schema.get("minLength", 0), schema.get("maxLength", len(text))
    repeated = text * (-(-least // max(1, len(text)))) if len(text) < least else text
    return repeated[: max(least, most)][:most]
