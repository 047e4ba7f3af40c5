"""From the bytes of a fetch to columns: every record is validated by the source's model, and what fails becomes a dead letter.

A fetch of a plain model (`events.plain`) that has nothing out of the ordinary is parsed by Arrow as a whole (`events.arrowjson`). Else records are
validated one by one: joined into one JSON array they are not validated faster, and two malformed ones could mend each other across the comma.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Context, Decimal
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ValidationError
from pydantic_core import from_json

from headrace.events.column_kinds import kind_of
from headrace.events.columns import IntArray
from headrace.events.dead_letter import DeadLetter
from headrace.events.decode_hints import looks_like, record_time_hint, time_hint
from headrace.events.event_batch import ARROW_TYPES, EventBatch, column_values
from headrace.events.formats.json_arrow import PlainReader
from headrace.events.formats.plain_models import plain_model
from headrace.events.gc_pause import without_collector
from headrace.events.raw_records import RawRecord, RawRecords
from headrace.plan import DType, Source
from headrace.times import iso_time, us_of

__all__ = ["EventDecoder", "RawRecord", "RawRecords"]

_FEW = 100
"""Fetches of fewer records are validated one by one: asking Arrow costs more."""

_FIRST_US = us_of(datetime(1, 1, 1, tzinfo=UTC))
_LAST_US = us_of(datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC))
"""The ends of the calendar: 0001-01-01T00:00+14:00 is before it in UTC, and nothing could show it again."""

_CANNOT: dict[DType, str] = {
    DType.INT64: "is no integer of 64 bits",
    DType.FLOAT64: "is no float",
    DType.BOOL: "is no bool",
    DType.STRING: "is no text in UTF-8",
    DType.TIMESTAMP: "is no time on the calendar in UTC",
    DType.DATE: "is no date",
    DType.JSON: "is no text in UTF-8",
} | {dtype: "is no decimal of 64 bits" for dtype in DType if dtype.scale is not None}

_WIDE = Context(prec=60)


class EventDecoder:
    """Turns the records of one source into a batch of events and dead letters.

    Args:
        source: The source.
        model: Its pydantic model.
    """

    def __init__(self, source: Source, model: type[BaseModel]) -> None:
        self._source = source
        self._model = model
        # A record without a value is refused by pydantic like any other malformed one.
        self._validate: Callable[[Any], BaseModel] = model.__pydantic_validator__.validate_json
        kinds = {name: kind_of(info) for name, info in model.model_fields.items()}
        self._cell_of = {name: kind.cell for name, kind in kinds.items() if kind.cell is not None}
        plain = plain_model(model, source.columns)
        self._reader = None if plain is None else PlainReader(plain)
        self._table([])  # the first conversion makes Arrow import pandas where it is installed: not in the first fetch

    @property
    def calls_nobody(self) -> bool:
        """Whether the model is plain: decoding calls none of the author's functions, and may as well be done early or in vain."""
        return self._reader is not None

    def decode(self, records: RawRecords, known_us: int | None = None) -> tuple[EventBatch, list[DeadLetter]]:
        """Validate records and lay the good ones out as columns.

        Args:
            records: Records of this source's topic, those of each partition in offset order.
            known_us: The `known_at` to note for now, in µs; None takes each record's own timestamp, as under the record clock.

        Returns:
            The events that hold, in order, and a dead letter for each record that does not.
        """
        dead: list[DeadLetter] = []
        records = self._dated(records, dead)
        table = self._reader.table(records.values) if self._reader is not None and len(records) >= _FEW else None
        good = records
        if table is None:
            good, table = self._by_pydantic(records, dead)
        batch = self._batch(good, table, known_us)
        future = batch.ts_us > batch.record_ts_us + self._source.max_future_us
        if future.any():
            field = self._source.timestamp_field
            dead += [
                self._dead(good, row, self._too_far(batch, good, row), field) for row in np.flatnonzero(future).tolist()
            ]
            batch = batch.where(~future)
        return batch, dead

    def _dated(self, records: RawRecords, dead: list[DeadLetter]) -> RawRecords:
        """The records whose own timestamps are on the calendar; others could be shown by nothing, and would not fit microseconds."""
        times = records.timestamps
        if not len(times) or (times.min() >= _FIRST_US // 1000 and times.max() <= _LAST_US // 1000):
            return records
        on_calendar = (times >= _FIRST_US // 1000) & (times <= _LAST_US // 1000)
        for row in np.flatnonzero(~on_calendar).tolist():
            why = f"The record's timestamp, {int(times[row])} ms since 1970, is no time on the calendar. Kafka takes milliseconds."
            dead.append(self._dead(records, row, why, None))
        return records.take(np.flatnonzero(on_calendar).tolist())

    def _by_pydantic(self, records: RawRecords, dead: list[DeadLetter]) -> tuple[RawRecords, pa.Table]:
        """The records that hold, with their columns."""
        try:
            good, rows = records, self._all_at_once(records.values)
        except Exception:  # one of them does not hold: find out which
            good, rows = self._one_by_one(records, dead)
        table = self._table_or_none(rows)
        return (good, table) if table is not None else self._what_columns_hold(good, rows, dead)

    def _all_at_once(self, values: Sequence[bytes | None]) -> list[dict[str, Any]]:
        """Each record's values; an exception where one of them does not hold."""
        validate = self._validate
        with without_collector():
            return [validate(value).__dict__ for value in values]

    def _one_by_one(self, records: RawRecords, dead: list[DeadLetter]) -> tuple[RawRecords, list[dict[str, Any]]]:
        """Validate records apart: those that hold, with their values; for each that does not, a dead letter."""
        good: list[int] = []
        rows: list[dict[str, Any]] = []
        for row, value in enumerate(records.values):
            try:
                rows.append(self._validate(value).__dict__)
                good.append(row)
            except ValidationError as error:
                dead.append(self._dead(records, row, *self._failure(error, records, row)))
            except Exception as error:  # noqa: BLE001 a user's validator broke; one event must not stop the partition
                why = f"The model's validation raised {type(error).__name__}: {error}"
                dead.append(self._dead(records, row, why, None))
        return records.take(good), rows

    def _failure(self, error: ValidationError, records: RawRecords, row: int) -> tuple[str, str | None]:
        """Why a record was refused, and its field that is to blame."""
        looks = looks_like(records.values[row])
        if looks is not None:
            return looks, None
        reason, field, given = _first_failure(error)
        is_time = any(column.name == field and column.dtype is DType.TIMESTAMP for column in self._source.columns)
        hint = time_hint(given, int(records.timestamps[row]) * 1000) if is_time else None
        return reason if hint is None else f"{reason}. {hint}", field

    def _table_or_none(self, rows: list[dict[str, Any]]) -> pa.Table | None:
        """The columns; None where a row does not fit them."""
        try:
            table = self._table(rows)
        except Exception:  # noqa: BLE001 what a user's validator returned can be anything; `_misfit` says what is wrong
            return None
        for column in self._source.columns:
            values = table.column(column.name)
            if values.null_count and not column.nullable:
                return None
            if column.dtype.scale is not None and not _in_64_bits(values):
                return None
            if column.dtype is DType.TIMESTAMP and not self._times_hold(column.name, values, rows):
                return None
        return table

    def _times_hold(self, name: str, values: pa.ChunkedArray, rows: list[dict[str, Any]]) -> bool:
        """Whether all times have a zone (Arrow takes a naive one for UTC) and are on the calendar in UTC too."""
        us, valid = column_values(values)
        if not _on_calendar(us[valid]):
            return False
        return all((value := row[name]) is None or getattr(value, "tzinfo", None) is not None for row in rows)

    def _what_columns_hold(
        self, records: RawRecords, rows: list[dict[str, Any]], dead: list[DeadLetter]
    ) -> tuple[RawRecords, pa.Table]:
        """Take out what the model accepts and the columns cannot hold: naive times, integers beyond 64 bits and the like."""
        keep: list[int] = []
        for n, row in enumerate(rows):
            why = self._misfit(row)
            if why is None:
                keep.append(n)
            else:
                dead.append(self._dead(records, n, *why))
        return records.take(keep), self._table([rows[n] for n in keep])

    def _misfit(self, row: dict[str, Any]) -> tuple[str, str] | None:
        """Why the columns cannot hold a row, and which of them; None where they can."""
        for column in self._source.columns:
            value = row.get(column.name)
            if value is None:
                if column.name in row and column.nullable:
                    continue
                return "The model's validation left no value, and the field is not optional", column.name
            try:
                value = self._cell(column.name, value)
            except Exception as error:  # noqa: BLE001 a value can be of any class
                return f"{_shown(value)} cannot be kept: {type(error).__name__}: {error}", column.name
            if column.dtype is DType.TIMESTAMP and getattr(value, "tzinfo", None) is None:
                return f"{_shown(value)} has no time zone; send UTC, such as {_shown(value)}Z", column.name
            if not _fits(value, column.dtype):
                return f"{_shown(value)} {_CANNOT[column.dtype]}", column.name
        return None

    def _table(self, rows: list[dict[str, Any]]) -> pa.Table:
        return pa.table(
            {
                column.name: pa.array(self._cells(column.name, rows), type=ARROW_TYPES[column.dtype])
                for column in self._source.columns
            }
        )

    def _cells(self, name: str, rows: list[dict[str, Any]]) -> list[Any]:
        """A field's values as its column has them."""
        values = list(map(itemgetter(name), rows))
        return [self._cell(name, value) for value in values] if name in self._cell_of else values

    def _cell(self, name: str, value: Any) -> Any:
        cell = self._cell_of.get(name)
        return value if cell is None or value is None else cell(value)

    def _batch(self, records: RawRecords, table: pa.Table, known_us: int | None) -> EventBatch:
        ts = table.column(self._source.timestamp_field).combine_chunks().cast(pa.int64()).to_numpy(zero_copy_only=False)
        record_ts = records.timestamps * 1000
        known = record_ts if known_us is None else np.full(len(records), known_us, np.int64)
        return EventBatch(self._source, table, ts, records.partitions, records.offsets, record_ts, known)

    def _too_far(self, batch: EventBatch, records: RawRecords, row: int) -> str:
        event, record = (iso_time(int(us)) for us in (batch.ts_us[row], batch.record_ts_us[row]))
        allowed = self._source.max_future_us / 1e6
        why = f"{event} is more than {allowed:g} s past the record's timestamp, {record} (max_future of the source)."
        try:
            given = from_json(records.values[row] or b"").get(self._source.timestamp_field)
        except (ValueError, AttributeError):  # a model may read other things than objects
            given = None
        hint = record_time_hint(int(records.timestamps[row]), int(batch.ts_us[row])) or time_hint(
            given, int(batch.record_ts_us[row])
        )
        return why if hint is None else f"{why} {hint}."

    def _dead(self, records: RawRecords, row: int, reason: str, field: str | None) -> DeadLetter:
        return DeadLetter(
            topic=self._source.topic,
            partition=int(records.partitions[row]),
            offset=int(records.offsets[row]),
            reason=reason,
            field=field,
            model=self._source.model,
            key=records.keys[row],
            value=records.values[row],
            recorded_at_ms=int(records.timestamps[row]),
        )


def _first_failure(error: ValidationError) -> tuple[str, str | None, object]:
    """What pydantic says first, of which field, given what."""
    failures = error.errors(include_url=False, include_context=False)
    first = failures[0]
    field = ".".join(str(part) for part in first["loc"]) or None
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"{first['msg']}; got {_shown(first.get('input'))}{more}", field, first.get("input")


def _fits(value: object, dtype: DType) -> bool:
    try:
        column = pa.chunked_array([pa.array([value], type=ARROW_TYPES[dtype])])
    except Exception:  # noqa: BLE001 Arrow has many
        return False
    if dtype.scale is not None:
        return _in_64_bits(column)
    return dtype is not DType.TIMESTAMP or _on_calendar(column_values(column).data)


def _in_64_bits(decimals: pa.ChunkedArray) -> bool:
    """Whether decimals fit 64 bits, in units of their last digit."""
    extremes = pc.min_max(decimals)
    found = [Decimal(0) if one is None else one for one in (extremes["min"].as_py(), extremes["max"].as_py())]
    units = [int(one.scaleb(decimals.type.scale, _WIDE)) for one in found]
    return units[0] >= -(2**63) and units[1] < 2**63


def _on_calendar(us: IntArray) -> bool:
    return not len(us) or (us.min() >= _FIRST_US and us.max() <= _LAST_US)


def _shown(value: object) -> str:
    try:
        shown = value.isoformat() if isinstance(value, datetime) else repr(value)
    except Exception:  # noqa: BLE001 Python writes no int of more than 4,300 digits, and what an author's class does can be anything
        shown = f"a value of type {type(value).__name__}"
    return shown if len(shown) <= 200 else f"{shown[:200]}…"
