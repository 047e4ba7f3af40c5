"""Events as JSON objects, one per record, validated by the source's pydantic model.

Arrow parses a whole fetch where the model is plain (`plain_models`) and the fetch has nothing unusual (`json_arrow`).
All other records are validated one by one. Joining them into one JSON array would not be faster, and two malformed
records could complete each other across the comma.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from headrace.events.decode_hints import looks_like, time_hint
from headrace.events.formats.base import Decoded, Failure
from headrace.events.formats.json_arrow import PlainReader
from headrace.events.formats.plain_models import plain_model
from headrace.events.gc_pause import without_collector
from headrace.events.raw_records import RawRecords
from headrace.events.row_columns import RowColumns, shown
from headrace.plan import DType, Source

__all__ = ["JsonFormat"]

ARROW_FROM = 100
"""Smaller fetches are validated one by one: Arrow has a fixed cost per call."""


class JsonFormat:
    """Reads the JSON events of one source.

    Args:
        source: The source.
        model: Its pydantic model.
        arrow_from: The fewest records that Arrow is asked to read.
    """

    def __init__(self, source: Source, model: type[BaseModel], *, arrow_from: int = ARROW_FROM) -> None:
        self._source = source
        # A record without a value is refused by pydantic like any other malformed one.
        self._validate: Callable[[Any], BaseModel] = model.__pydantic_validator__.validate_json
        self._columns = RowColumns(source, model)
        plain = plain_model(model, source.columns)
        self._reader = None if plain is None else PlainReader(plain)
        self._arrow_from = max(arrow_from, 1)
        self._columns.table(
            []
        )  # in the first conversion Arrow imports pandas, where it is installed: not in the first fetch

    @property
    def calls_no_user_code(self) -> bool:
        """Whether the model is plain."""
        return self._reader is not None

    def read(self, records: RawRecords) -> Decoded:
        """Read a fetch.

        Args:
            records: The records.
        """
        if self._reader is not None and len(records) >= self._arrow_from:
            table = self._reader.table(records.values)
            if table is not None:
                return Decoded(table)
        return self._by_pydantic(records)

    def written(self, records: RawRecords, row: int, name: str) -> object:
        """What a record's JSON has in a field; None where the value is no object.

        Args:
            records: The records.
            row: The record's row.
            name: The field.
        """
        try:
            found = from_json(records.values[row] or b"")
        except ValueError:
            return None
        return found.get(name) if isinstance(found, dict) else None

    def _by_pydantic(self, records: RawRecords) -> Decoded:
        good: Sequence[int] = range(len(records))
        failures: list[Failure] = []
        try:
            rows = self._all_at_once(records.values)
        except Exception:  # a record is not valid: find out which
            good, rows, failures = self._one_by_one(records)
        table, misfits = self._columns.fitting(rows)
        failures += [Failure(good[at], *why) for at, why in misfits.items()]
        return Decoded(table, failures)

    def _all_at_once(self, values: Sequence[bytes | None]) -> list[dict[str, Any]]:
        """Each record's fields; an exception where one of them is not valid."""
        validate = self._validate
        with without_collector():
            return [validate(value).__dict__ for value in values]

    def _one_by_one(self, records: RawRecords) -> tuple[Sequence[int], list[dict[str, Any]], list[Failure]]:
        """The rows of the valid records, their fields, and why the others are not valid."""
        good: list[int] = []
        rows: list[dict[str, Any]] = []
        failures: list[Failure] = []
        for row, value in enumerate(records.values):
            try:
                rows.append(self._validate(value).__dict__)
                good.append(row)
            except ValidationError as error:
                failures.append(Failure(row, *self._reason(error, records, row)))
            except Exception as error:  # noqa: BLE001 a user's validator broke; one event must not stop the partition
                why = f"The model's validation raised {type(error).__name__}: {error}"
                failures.append(Failure(row, why, None))
        return good, rows, failures

    def _reason(self, error: ValidationError, records: RawRecords, row: int) -> tuple[str, str | None]:
        """Why a record was refused, and its field that is wrong."""
        looks = looks_like(records.values[row])
        if looks is not None:
            return looks, None
        reason, field, given = _first_failure(error)
        is_time = any(column.name == field and column.dtype is DType.TIMESTAMP for column in self._source.columns)
        hint = time_hint(given, int(records.timestamps[row]) * 1000) if is_time else None
        return reason if hint is None else f"{reason}. {hint}", field


def _first_failure(error: ValidationError) -> tuple[str, str | None, object]:
    """Pydantic's first complaint, its field, and the value that was given."""
    failures = error.errors(include_url=False, include_context=False)
    first = failures[0]
    field = ".".join(str(part) for part in first["loc"]) or None
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"{first['msg']}; got {shown(first.get('input'))}{more}", field, first.get("input")
