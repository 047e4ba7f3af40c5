"""From rows to events: each row is validated as JSON by the decoder of the stream."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import AwareDatetime, TypeAdapter, ValidationError
from pydantic_core import from_json, to_json

from headrace.events.columns import IntArray
from headrace.events.decode import EventDecoder
from headrace.events.event_batch import EventBatch
from headrace.events.raw_records import RawRecords
from headrace.ingest.column_mapping import KNOWN_AT, Field, Fields
from headrace.ingest.input_reader import Block
from headrace.log.log_columns import FIRST_IMPORT
from headrace.plan import DType
from headrace.tabular.time_columns import TimeReader
from headrace.times import iso_time, us_of

__all__ = ["BadRow", "Validator"]

_ANY_TIME_MS = us_of(datetime(9999, 12, 31, tzinfo=UTC)) // 1000
_NO_ZONE = "has no time zone: say it, --zone UTC (or Europe/Berlin …)"
_NO_TIME = (
    "; other times are read by --zone or --epoch, or by a query: "
    '--query "SELECT * REPLACE (strptime(\\"x\\", \'%d-%b-%Y %H:%M:%S\') AT TIME ZONE \'UTC\' AS \\"x\\") '
    "FROM 'file'\""
)


@dataclass(frozen=True)
class BadRow:
    """A row that is not an event.

    Attributes:
        part: Its file, or "the query".
        row: Its number there, from 1.
        line: The line of the file that it begins on, from 1; None if the input has no lines.
        field: The field at fault; None where it is the whole row.
        reason: What is wrong with it.
        values: The row as JSON.
    """

    part: str
    row: int
    line: int | None
    field: str | None
    reason: str
    values: str

    def to_json(self) -> dict[str, str | int | None]:
        """The row as it is written to the file of bad rows."""
        return asdict(self)

    def __str__(self) -> str:
        where = f"row {self.row:,}" if self.line is None else f"line {self.line:,} (row {self.row:,})"
        return f"{self.part}, {where}, {self.field or 'the whole row'}: {self.reason}"


class Validator:
    """Turns blocks into batches of events.

    Args:
        decoder: The source's decoder.
        fields: The fields of its model.
        now_us: Now by the wall clock, in µs: nothing was known later.
        max_future_us: How far past it an event may be, in µs.
        moments: How times are read.
    """

    def __init__(
        self, decoder: EventDecoder, fields: Fields, now_us: int, max_future_us: int, moments: TimeReader
    ) -> None:
        self._decoder = decoder
        self._fields = fields.all
        self._latest_us = now_us + max_future_us
        self._moments = moments
        self._times = {
            name for field in self._fields if field.dtype is DType.TIMESTAMP for name in (field.name, field.key)
        }
        self._moment: TypeAdapter[datetime] = TypeAdapter(AwareDatetime)

    def events(self, block: Block) -> tuple[EventBatch, list[BadRow]]:
        """The events of a block; their offsets are the rows' numbers in it, from 0.

        Args:
            block: The block.

        Returns:
            The events, and the rows that are none.
        """
        bad: dict[int, tuple[str | None, str]] = {}
        values = self._json(block.table, bad)
        known = self._known(block.table, bad)
        batch, dead = self._decoder.decode(
            _records(values, known, [row for row in range(len(values)) if row not in bad])
        )
        for letter in dead:
            reason = letter.reason.replace("the record's timestamp", "its known_at")
            if "time zone" in reason or "timezone" in reason:
                reason = f"{reason}; it {_NO_ZONE}"
            elif letter.field in self._times and "datetime" in reason:
                reason += _NO_TIME
            bad[letter.offset] = letter.field, reason
        known_us = batch.ts_us.copy() if known is None else known[batch.offset]
        late = known_us > self._latest_us
        for row in batch.offset[late].tolist():
            bad[row] = None, f"it would be known only at {iso_time(int(known_us[batch.offset == row][0]))}, after now"
        batch = replace(batch, record_ts_us=known_us, known_us=known_us, _values={})
        found = [
            BadRow(
                block.part,
                int(block.rows[row]),
                None if block.lines is None else int(block.lines[row]),
                *why,
                values[row].decode("utf-8", "replace"),
            )
            for row, why in bad.items()
        ]
        found += [BadRow(block.part, *one) for one in block.bad]
        return batch.where(~late), sorted(found, key=attrgetter("row"))

    def _json(self, table: pa.Table, bad: dict[int, tuple[str | None, str]]) -> list[bytes]:
        columns: list[tuple[Field, list[Any]]] = [
            (field, self._values(table.column(name), field, bad))
            for name in table.column_names
            if name != KNOWN_AT
            for field in (self._fields[int(name)],)
        ]
        found: list[bytes] = []
        for row in range(table.num_rows):
            # What is null was not sent, unless null is a value of the field: then its default counts, or it is missing.
            event = {
                field.key: value
                for field, values in columns
                if (value := values[row]) is not None or (field.nullable and field.required)
            }
            try:
                found.append(to_json(event, inf_nan_mode="constants", fallback=str))
            except ValueError as error:  # pydantic's serialization error is one: bytes that are not text
                bad[row] = None, f"it cannot be written as JSON: {error}"
                found.append(repr(event).encode("utf-8", "replace"))
        return found

    def _values(self, column: pa.ChunkedArray, field: Field, bad: dict[int, tuple[str | None, str]]) -> list[Any]:
        """A column's values as they go into JSON."""
        if field.dtype is DType.TIMESTAMP:
            values, why = self._moments.read(column)
            bad.update({row: (field.name, reason) for row, reason in why.items()})
            return values
        values = _plain(column, field.dtype)
        if field.dtype is DType.JSON:
            return [_parsed(value) if isinstance(value, str) else value for value in values]
        if field.dtype is not DType.STRING and "" in values:
            # "" is a text; of a number it can only say that there is none.
            values = [None if isinstance(value, str) and not value else value for value in values]
        return values

    def _known(self, table: pa.Table, bad: dict[int, tuple[str | None, str]]) -> IntArray | None:
        """When each row was known, in µs; None where that is its event time."""
        if KNOWN_AT not in table.column_names:
            return None
        moments = np.zeros(table.num_rows, np.int64)
        values, why = self._moments.read(table.column(KNOWN_AT))
        bad.update({row: (KNOWN_AT, reason) for row, reason in why.items()})
        for row, value in enumerate(values):
            if row in bad:
                continue
            try:
                if value is None:
                    bad[row] = KNOWN_AT, "it is null, and every event needs one"
                    continue
                moments[row] = us_of(self._moment.validate_python(value))
            except ValidationError as error:
                said = error.errors(include_url=False)[0]["msg"]
                shown = value.isoformat() if isinstance(value, datetime) else repr(value)
                bad[row] = KNOWN_AT, f"{said}; got {shown}; a time that {_NO_ZONE}"
        return moments


def _records(values: list[bytes], known: IntArray | None, rows: list[int]) -> RawRecords:
    """Some of the rows, as the decoder takes them."""
    offsets = np.array(rows, np.int64)
    times = np.full(len(rows), _ANY_TIME_MS) if known is None else -(-known[offsets] // 1000)
    return RawRecords(
        np.full(len(rows), FIRST_IMPORT, np.int64),
        offsets,
        times.astype(np.int64),
        [None] * len(rows),
        [values[row] for row in rows],
    )


def _parsed(text: str) -> Any:
    """What a text stands for where a list or an object is written as JSON, as in a CSV file; else the text."""
    if text.lstrip()[:1] in ("[", "{"):
        with contextlib.suppress(ValueError):
            return from_json(text)
    return text


def _plain(column: pa.ChunkedArray, dtype: DType) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)  # events have times in µs
    values: list[Any] = column.to_pylist()
    if pa.types.is_decimal(kind):
        return [_number(value, dtype) for value in values]
    return values


def _number(value: Decimal | None, dtype: DType) -> int | float | str | None:
    if value is None:
        return None
    if dtype is DType.JSON:
        return str(value)
    if value == value.to_integral_value():
        return int(value)
    return float(value) if dtype is DType.FLOAT64 else str(value)  # of others, JSON's text keeps every digit
