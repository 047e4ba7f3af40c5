"""From rows to events: each goes through the model as JSON, by the decoder of the stream, so that the same constraints hold."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import AwareDatetime, TypeAdapter, ValidationError
from pydantic_core import to_json

from headrace.events.batch import EventBatch
from headrace.events.columns import IntArray
from headrace.events.decode import EventDecoder
from headrace.events.raw import RawRecords
from headrace.ingest.fields import KNOWN_AT, Field, Fields
from headrace.ingest.reader import Block
from headrace.log.schema import FIRST_IMPORT
from headrace.times import iso_time, us_of

__all__ = ["BadRow", "Validator"]

_ANY_TIME_MS = us_of(datetime(9999, 12, 31, tzinfo=UTC)) // 1000
_NO_ZONE = "has no time zone: say it in a query, `--query \"SELECT * REPLACE (x AT TIME ZONE 'UTC' AS x) FROM 'file'\"`"


@dataclass(frozen=True)
class BadRow:
    """A row that is no event.

    Attributes:
        part: Its file, or "the query".
        row: Its number there, from 1.
        field: The field at fault; None where it is the whole row.
        reason: What is wrong with it.
        values: The row as JSON.
    """

    part: str
    row: int
    field: str | None
    reason: str
    values: str

    def to_json(self) -> dict[str, str | int | None]:
        """The row as it is written to the file of bad rows."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.part}, row {self.row:,}, {self.field or 'the whole row'}: {self.reason}"


class Validator:
    """Turns blocks into batches of events.

    Args:
        decoder: The source's decoder.
        fields: The fields of its model.
        now_us: Now by the wall clock, in µs: nothing was known later.
        max_future_us: How far past it an event may be, in µs.
    """

    def __init__(self, decoder: EventDecoder, fields: Fields, now_us: int, max_future_us: int) -> None:
        self._decoder = decoder
        self._fields = fields.all
        self._latest_us = now_us + max_future_us
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
                reason = f"{reason}; a time that {_NO_ZONE}"
            bad[letter.offset] = letter.field, reason
        known_us = batch.ts_us.copy() if known is None else known[batch.offset]
        late = known_us > self._latest_us
        for row in batch.offset[late].tolist():
            bad[row] = None, f"it would be known only at {iso_time(int(known_us[batch.offset == row][0]))}, after now"
        batch = replace(batch, record_ts_us=known_us, known_us=known_us, _values={})
        found = [
            BadRow(block.part, block.first_row + row, *why, values[row].decode("utf-8", "replace"))
            for row, why in sorted(bad.items())
        ]
        return batch.where(~late), found

    def _json(self, table: pa.Table, bad: dict[int, tuple[str | None, str]]) -> list[bytes]:
        held: list[tuple[Field, list[Any]]] = [
            (self._fields[int(name)], _plain(table.column(name))) for name in table.column_names if name != KNOWN_AT
        ]
        found: list[bytes] = []
        for row in range(table.num_rows):
            # What is null was not sent, unless null is a value of the field: then its default counts, or it is missing.
            event = {
                field.key: value
                for field, values in held
                if (value := values[row]) is not None or (field.nullable and field.required)
            }
            try:
                found.append(to_json(event, inf_nan_mode="constants", fallback=str))
            except ValueError as error:  # pydantic's serialization error is one: bytes that are no text
                bad[row] = None, f"it cannot be written as JSON: {error}"
                found.append(repr(event).encode("utf-8", "replace"))
        return found

    def _known(self, table: pa.Table, bad: dict[int, tuple[str | None, str]]) -> IntArray | None:
        """When each row was known, in µs; None where that is its event time."""
        if KNOWN_AT not in table.column_names:
            return None
        moments = np.zeros(table.num_rows, np.int64)
        for row, value in enumerate(_plain(table.column(KNOWN_AT))):
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


def _plain(column: pa.ChunkedArray) -> list[Any]:
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.unit == "ns":
        column = column.cast(pa.timestamp("us", kind.tz), safe=False)  # events have times in µs
    values: list[Any] = column.to_pylist()
    if pa.types.is_decimal(kind):
        return [_number(value) for value in values]
    return values


def _number(value: Decimal | None) -> int | float | None:
    if value is None:
        return None
    return int(value) if value == value.to_integral_value() else float(value)
